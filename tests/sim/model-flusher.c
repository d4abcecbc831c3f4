/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The flusher of a model world, in the place of cache/writeback/flusher.c: the loop's
 * steps are the scheduler's, and a step is taken only when the real one would
 * be: after a kick, a completion, or at the deadline.  So a kick that is
 * forgotten shows, as all waiting for ever.
 */

#include <stdlib.h>

#include "cache/writeback/flusher.h"
#include "cache/writeback/help.h"
#include "cache/request/mapping.h"
#include "model-world.h"

struct flusher {
  struct writeback *wb;
  struct world *world;
  struct model_loop loop;
  bool helped;
  bool fs_ended;
};

static bool
step (void *opaque)
{
  struct flusher *flusher = opaque;

  return writeback_step (flusher->wb);
}

static uint64_t
deadline (void *opaque)
{
  struct flusher *flusher = opaque;
  uint64_t due = writeback_deadline (flusher->wb);

  if (flusher->helped && due > flusher->world->clock + NSEC_PER_SEC)
    due = flusher->world->clock + NSEC_PER_SEC;
  flusher->helped = false;
  return due;
}

static void
work_of_fs (void *opaque)
{
  struct flusher *flusher = opaque;
  struct fs *fs = flusher->wb->fs;

  fs->ops->work (fs);
  flusher->fs_ended = true;
}

static void
ring (void *opaque)
{
  struct flusher *flusher = opaque;

  flusher->loop.ready = true;
}

/* Is the loop asleep, or about to be? */
static bool
help_loop (struct flusher *flusher, bool again, struct store_req **own)
{
  struct world *w = flusher->world;
  bool wake = true;

  *own = NULL;
  if (w->helping || flusher->loop.ready || world_chance (w, 20))
    return true;
  w->helping = true;
  w->helper = w->current;
  if (again || help_wanted (flusher->wb))
    wake = help (flusher->wb, flusher->loop.due, own);
  flusher->helped = true;
  w->helping = false;
  return wake;
}

static void
work (void *opaque)
{
  struct flusher *flusher = opaque;
  struct store_req *own;
  bool again = false;

  do {
    if (help_loop (flusher, again, &own))
      ring (flusher);
    world_yield (flusher->world);
    again = true;
  } while (own && help_wait (flusher->wb, own));
}

int
flusher_start (struct writeback *wb, struct bell *bell, struct flusher **ret)
{
  struct flusher *flusher = xcalloc (1, sizeof *flusher);
  int r = fs_attach (wb->fs, NULL, wb->config.dirty_expire);

  if (r < 0) {
    free (flusher);
    return r;
  }
  flusher->wb = wb;
  flusher->world = world_of (wb->env);
  flusher->loop = (struct model_loop) {
    .step = step,
    .deadline = deadline,
    .opaque = flusher,
    .ready = true,
  };
  flusher->world->loop = &flusher->loop;
  if (wb->fs->ops->work)
    fiber_start (flusher->world, "fs", work_of_fs, flusher);
  *bell = (struct bell) {
    .ring = ring,
    .work = work,
    .opaque = flusher,
  };
  *ret = flusher;
  return 0;
}

void
flusher_stop (struct flusher *flusher)
{
  struct fs *fs = flusher->wb->fs;
  struct world *w = flusher->world;

  if (fs->ops->work)
    fs->ops->stop_work (fs);
  while (fs->ops->work && !flusher->fs_ended)
    world_turn (w);
  ring (flusher);
  while (flusher->loop.ready || !writeback_idle (flusher->wb))
    world_turn (w);
  fs_detach (fs);
  w->loop = NULL;
}

void
flusher_free (struct flusher *flusher)
{
  free (flusher);
}
