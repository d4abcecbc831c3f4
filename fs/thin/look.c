/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: what stands where.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Who was told to ask again, or waits for what comes no more, is woken. */
void
thin_break (struct thin *t, int error)
{
  atomic_store (&t->state, error);
  fs_ring (&t->fs);
  thin_changed (t);
}

void
thin_changed (struct thin *t)
{
  struct env *env = t->fs.store->env;

  atomic_fetch_add (&t->fs.changes, 1);
  env->wake (env, &t->fs.changes);
}

void
thin_give_up_place (void *opaque, const struct range_entry *e)
{
  struct thin *t = opaque;

  space_give_up (&t->space, e->physical, e->physical + (e->end - e->start));
}

/* --- looking --- */

/* As the layers have it.  False: they don't.  Lock held. */
static bool
find_in_layers (struct thin *t, uint64_t b, uint64_t end, bool place,
                struct thin_where *w)
{
  struct range_entry e;
  bool found = place ? layers_find_place (&t->layers, b, end, &e)
                     : layers_find (&t->layers, b, end, &e);

  *w = (struct thin_where) { .kind = e.kind,
                             .physical = e.physical,
                             .end = e.end };
  return found;
}

static bool
look_at_layers (struct thin *t, uint64_t b, uint64_t end, bool place,
                struct thin_where *w)
{
  bool found;

  pthread_mutex_lock (&t->lock);
  found = find_in_layers (t, b, end, place, w);
  pthread_mutex_unlock (&t->lock);
  return found;
}

static int
look_at_trees (struct thin *t, uint64_t b, bool nowait, struct thin_where *w)
{
  struct thin_extent e;
  int r =
    thin_meta_lookup (t->meta, thin_root_of (t), b, w->end - b, nowait, &e);

  if (r == -EAGAIN) {
    pthread_mutex_lock (&t->lock);
    r = thin_want_load (t, b);
    pthread_mutex_unlock (&t->lock);
    thin_wake (t);
  }
  if (r < 0)
    return r;
  w->kind = e.type == IOMAP_MAPPED      ? RANGE_MAPPED
            : e.type == IOMAP_UNWRITTEN ? RANGE_UNWRITTEN
                                        : RANGE_HOLE;
  w->physical = e.physical;
  w->shared = e.shared;
  w->end = b + e.length;
  return 0;
}

/* The layers first: what leaves them is in the trees by then. */
int
thin_look (struct thin *t, uint64_t b, uint64_t end, bool nowait,
           struct thin_where *w)
{
  return look_at_layers (t, b, end, false, w) ? 0
                                              : look_at_trees (t, b, nowait, w);
}

int
thin_look_locked (struct thin *t, uint64_t b, uint64_t end, bool nowait,
                  struct thin_where *w)
{
  int r = 0;

  if (!find_in_layers (t, b, end, false, w)) {
    pthread_mutex_unlock (&t->lock);
    r = look_at_trees (t, b, nowait, w);
    pthread_mutex_lock (&t->lock);
  }
  return r;
}

int
thin_look_place (struct thin *t, uint64_t b, uint64_t end, bool nowait,
                 struct thin_where *w)
{
  bool zero;
  int r;

  zero = look_at_layers (t, b, end, true, w);
  if (zero && w->kind != RANGE_ZERO_KEEP)
    return 0;
  r = look_at_trees (t, b, nowait, w);
  if (r < 0)
    return r;
  if (w->shared)
    w->kind = RANGE_HOLE;
  else if (zero && w->kind == RANGE_MAPPED)
    w->kind = RANGE_UNWRITTEN;
  return 0;
}

/* Not what the log does not have yet; all else is durable. */
bool
thin_is_placed (struct fs *fs, uint64_t start, uint64_t end)
{
  struct thin *t = thin_of (fs);
  uint64_t b = thin_first_block (start);
  struct range_entry *e;
  unsigned layer;
  bool placed = true;

  end = thin_end_block (end);
  pthread_mutex_lock (&t->lock);
  for (layer = LAYER_FRESH; layer <= LAYER_RECORDING && placed; layer++) {
    e = range_map_find (&t->layers.map[layer], b);
    placed = e == NULL || e->start >= end;
  }
  pthread_mutex_unlock (&t->lock);
  return placed;
}

/* --- is it still so? --- */

struct still {
  const struct iomap *iomap;
  bool ok;
};

static void
compare_part (void *opaque, const struct range_entry *e)
{
  struct still *still = opaque;
  const struct iomap *iomap = still->iomap;
  uint64_t addr = iomap->addr + (e->start * THIN_BLOCK - iomap->offset);

  if (iomap->type != IOMAP_MAPPED)
    still->ok &= e->kind != RANGE_MAPPED;
  else
    still->ok &= e->kind == RANGE_MAPPED && e->physical * THIN_BLOCK == addr;
}

/* What the uppermost layer says of each part must be what the iomap says; of what none
 * says anything the trees say what they did, in the same epoch.
 */
bool
thin_still (struct thin *t, const struct iomap *iomap)
{
  uint64_t now = atomic_load (&t->cookie);
  uint64_t b = iomap->offset / THIN_BLOCK;
  uint64_t end = thin_end_block (iomap->offset + iomap->length);
  struct still still = { .iomap = iomap, .ok = true };
  struct range_entry e;

  if (now == iomap->cookie)
    return true;
  if (now / THIN_EPOCH != iomap->cookie / THIN_EPOCH)
    return false;
  for (; b < end && still.ok; b = e.end)
    if (layers_find (&t->layers, b, end, &e))
      compare_part (&still, &e);
  return still.ok;
}

bool
thin_valid (struct fs *fs, const struct iomap *iomap)
{
  struct thin *t = thin_of (fs);
  bool ok;

  if (atomic_load (&t->cookie) == iomap->cookie)
    return true;
  pthread_mutex_lock (&t->lock);
  ok = thin_still (t, iomap);
  pthread_mutex_unlock (&t->lock);
  return ok;
}

/* (ZERO_KEEP with nothing below in the layers is over what the trees had then.) */
bool
thin_has_place (struct thin *t, uint64_t b, uint64_t end)
{
  struct range_entry e;

  for (; b < end; b = e.end)
    if (layers_find_place (&t->layers, b, end, &e) && e.kind == RANGE_HOLE)
      return false;
  return true;
}
