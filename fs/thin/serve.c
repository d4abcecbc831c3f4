/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: what the fs's own thread was asked for, a piece at a time, also between two pieces
 * of a checkpoint.
 */

#include <string.h>

#include "fs/thin/thin-impl.h"

/* Those who were told to ask again. */
static void
tell (struct thin *t)
{
  fs_ring (&t->fs);
  thin_changed (t);
}

/* The oldest first, or one that is asked for again and again would be in the way of all
 * others.  What has failed is told at once, and until all that wait could have failed
 * likewise: who needs several of them would else never hear of all.
 */
static bool
load_next (struct thin *t)
{
  struct thin_work *work = &t->work;
  struct env *env = t->fs.store->env;
  struct thin_extent e;
  uint64_t b = 0, begun = env->now (env);
  unsigned others = 0;
  bool any;
  int r;

  pthread_mutex_lock (&t->lock);
  any = work->nr_loads > 0;
  if (any) {
    b = work->loads[0];
    others = --work->nr_loads;
    memmove (work->loads, work->loads + 1, others * sizeof work->loads[0]);
  }
  pthread_mutex_unlock (&t->lock);
  if (!any)
    return false;
  r = thin_meta_lookup (t->meta, thin_root_of (t), b, 1, false, &e);
  if (r < 0) {
    thin_note_failure (t, &work->failed[work->next_failed++ % THIN_FAILED], b,
                       r, 2 * (others + 1) * (env->now (env) - begun));
    tell (t);
  }
  return true;
}

static bool
fill (struct thin *t)
{
  bool wanted;

  pthread_mutex_lock (&t->lock);
  wanted = t->work.fill;
  t->work.fill = false;
  pthread_mutex_unlock (&t->lock);
  if (wanted)
    thin_note_failure (t, &t->work.failed_fill, 0, thin_fill_pool (t), 0);
  return wanted;
}

void
thin_serve (struct thin *t)
{
  bool any = false;

  while (load_next (t))
    any = true;
  any |= fill (t);
  if (any)
    tell (t);
}
