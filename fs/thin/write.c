/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: space is reserved when a write begins, for what will need a new place.
 *
 *   a block of the disk is   because                                   then
 *   (not reserved)           it has its place, or nothing dirty        begin: MAYBE
 *   MAYBE                    a write in the iterator may make it       end, taken: SURE;
 *                            dirty                                     not: none, if no
 *                                                                      other write claims it
 *   SURE                     it is dirty in memory                     mapped, or zeroed:
 *                                                                      none
 *
 * Writes in the iterator claim their range.  What is zeroed under a claim, and so loses
 * its place, is MAYBE at once, whether there is room or not: the write may have looked
 * for the last time already.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Nodes that reserving one piece, or a claim, may take. */
#define CLAIM_NODES 4

/* How long a write waits for room, and between two looks: ns. */
#define PATIENCE (5 * NSEC_PER_SEC)
#define LOOK (20 * NSEC_PER_MSEC)

/* --- room --- */

/* Ranges that may be trimmed when there is no room for anything else. */
#define TRIMS 64

/* Changes of the trees that there may be, in ranges. */
static uint64_t
nr_ops (const struct thin *t)
{
  return layers_count (&t->layers) + t->reserved.blocks + t->again.blocks +
         t->flying.count + TRIMS;
}

uint64_t
thin_room (struct thin *t, uint64_t n)
{
  uint64_t left = space_left (&t->space), cost;

  left = left > t->reserved.blocks ? left - t->reserved.blocks : 0;
  for (; n > 0; n /= 2) {
    if (n > left)
      n = left;
    cost = thin_meta_cost (t->meta, nr_ops (t) + n);
    if (cost <= left - n)
      break;
  }
  return n;
}

/* --- reserving --- */

/* Does block b need space, and up to where, at most *end?  Not what has some, or keeps
 * the place that it is being written to.
 */
static bool
needs_space (struct thin *t, uint64_t b, uint64_t *end)
{
  struct range_map *maps[] = { &t->reserved, &t->again, &t->flying };
  struct range_entry *e;
  bool keeps;
  unsigned i;

  for (i = 0; i < 3; i++) {
    e = range_map_find (maps[i], b);
    if (e == NULL || e->start >= *end)
      continue;
    if (e->start > b) {
      *end = e->start;
      continue;
    }
    *end = e->end < *end ? e->end : *end;
    keeps = maps[i] != &t->flying || !(e->flags & FLYING_DIRECT) ||
            (e->flags & FLYING_AGAIN) || !(e->flags & LAYER_OWN);
    if (keeps)
      return false;
  }
  return true;
}

static void
reserve (struct thin *t, uint64_t start, uint64_t end, enum range_kind kind)
{
  struct range_entry e = { .start = start, .end = end, .kind = kind };

  range_map_set (&t->reserved, &e);
}

/* Reserve what [b, end) needs, as far as there is room.  Returns where that is. */
static int64_t
reserve_needed (struct thin *t, uint64_t b, uint64_t end)
{
  uint64_t start = b, next, n;

  for (; b < end; b = next) {
    next = end;
    if (!needs_space (t, b, &next))
      continue;
    n = thin_room (t, next - b);
    if (n == 0)
      break;
    if (!range_nodes_promise (&t->nodes, CLAIM_NODES))
      return b > start ? (int64_t) b : -ENOMEM;
    range_nodes_redeem (&t->nodes, CLAIM_NODES);
    reserve (t, b, b + n, RESERVED_MAYBE);
    next = b + n;
  }
  return b > start ? (int64_t) b : -ENOSPC;
}

/* [start, end) is dirty now: what is reserved of it stays so. */
static void
make_sure (struct thin *t, uint64_t start, uint64_t end)
{
  struct range_entry *e;
  uint64_t last;

  for (; start < end; start = last) {
    e = range_map_find (&t->reserved, start);
    if (e == NULL || e->start >= end)
      break;
    if (e->start > start)
      start = e->start;
    last = e->end < end ? e->end : end;
    if (e->kind != RESERVED_SURE)
      reserve (t, start, last, RESERVED_SURE);
  }
}

/* Give back what is MAYBE of [start, end), but for what other writes claim. */
static void
give_back (struct thin *t, uint64_t start, uint64_t end)
{
  struct iomap_claim *claim;
  struct range_entry *e;
  uint64_t last;

  for (; start < end; start = last) {
    e = range_map_find (&t->reserved, start);
    if (e == NULL || e->start >= end)
      break;
    if (e->start > start)
      start = e->start;
    last = e->end < end ? e->end : end;
    if (e->kind == RESERVED_SURE)
      continue;
    for (claim = t->claims; claim; claim = claim->next) {
      if (claim->start >= last || claim->end <= start)
        continue;
      if (claim->start <= start)
        break;
      last = claim->start;
    }
    if (claim) /* it may be longer: the rest is looked at again */
      last = claim->end < last ? claim->end : last;
    else
      range_map_remove (&t->reserved, start, last, NULL, NULL);
  }
}

void
thin_unreserve (struct thin *t, uint64_t start, uint64_t end)
{
  struct iomap_claim *claim;

  range_map_remove (&t->reserved, start, end, NULL, NULL);
  for (claim = t->claims; claim; claim = claim->next)
    if (claim->start < end && claim->end > start)
      reserve (t, claim->start > start ? claim->start : start,
               claim->end < end ? claim->end : end, RESERVED_MAYBE);
}

/* --- begin and end --- */

static enum iomap_type
type_of (const struct thin_where *w)
{
  if (w->kind == RANGE_MAPPED)
    return IOMAP_MAPPED;
  return w->kind == RANGE_UNWRITTEN ? IOMAP_UNWRITTEN : IOMAP_DELALLOC;
}

static void
fill_in (struct iomap *iomap, uint64_t b, const struct thin_where *w)
{
  iomap->type = type_of (w);
  iomap->offset = b * THIN_BLOCK;
  iomap->length = (w->end - b) * THIN_BLOCK;
  iomap->addr = iomap->type == IOMAP_MAPPED ? w->physical * THIN_BLOCK : 0;
}

/* Reserve for the iomap, if it holds still, and claim it.  -ESTALE: it does not. */
static int
claim_iomap (struct thin *t, uint64_t b, struct thin_where *w,
             struct iomap *iomap)
{
  bool placed =
    !w->shared && (w->kind == RANGE_MAPPED || w->kind == RANGE_UNWRITTEN);
  int64_t end = (int64_t) w->end;

  if (!thin_still (t, iomap))
    return -ESTALE;
  if (!range_nodes_promise (&t->nodes, CLAIM_NODES))
    return -ENOMEM;
  range_nodes_redeem (&t->nodes, CLAIM_NODES);
  if (!placed)
    end = reserve_needed (t, b, w->end);
  if (end < 0)
    return (int) end;
  w->end = (uint64_t) end;
  fill_in (iomap, b, w);
  iomap->claim =
    (struct iomap_claim) { .next = t->claims, .start = b, .end = w->end };
  t->claims = &iomap->claim;
  return 0;
}

int
thin_begin_write (struct thin *t, uint64_t pos, uint64_t length, bool nowait,
                  struct iomap *iomap)
{
  uint64_t b = thin_first_block (pos), end = thin_end_block (pos + length);
  struct thin_where w;
  int r;

  if (t->fs.readonly)
    return -EROFS;
  pthread_mutex_lock (&t->lock);
  do {
    iomap->cookie = atomic_load (&t->cookie);
    r = thin_look_locked (t, b, end, nowait, &w);
    if (r == 0) {
      fill_in (iomap, b, &w);
      r = claim_iomap (t, b, &w, iomap);
    }
  } while (r == -ESTALE);
  pthread_mutex_unlock (&t->lock);
  return r;
}

void
thin_end_write (struct thin *t, uint64_t pos, uint64_t length, uint64_t written,
                const struct iomap *iomap)
{
  const struct iomap_claim *claim = &iomap->claim;
  struct iomap_claim **p = &t->claims;
  uint64_t taken = written > 0 ? thin_end_block (pos + written) : claim->start;

  (void) length;
  pthread_mutex_lock (&t->lock);
  while (*p != claim)
    p = &(*p)->next;
  *p = claim->next;
  if (written > 0)
    make_sure (t, thin_first_block (pos), taken);
  if (taken < claim->end)
    give_back (t, taken, claim->end);
  pthread_mutex_unlock (&t->lock);
}

/* --- making room --- */

/* Is there anything that may be free soon? */
static bool
may_gain (const struct thin *t)
{
  return t->space.given_up.count + t->space.going.count > 0 || t->space.first ||
         layers_count (&t->layers) > 0 || t->reserved.count > 0;
}

int
thin_make_room (struct fs *fs, uint64_t since)
{
  struct thin *t = thin_of (fs);
  struct env *env = fs->store->env;
  uint64_t now = env->now (env);
  uint32_t seen = atomic_load (&fs->changes);
  bool gain;

  pthread_mutex_lock (&t->lock);
  gain = thin_usable (t) == 0 && may_gain (t);
  if (gain)
    thin_want_checkpoint (t);
  pthread_mutex_unlock (&t->lock);
  if (!gain || now - since >= PATIENCE)
    return -ENOSPC;
  atomic_store (&fs->wants_flush, true);
  fs_ring (fs);
  thin_wake (t);
  env->wait (env, &fs->changes, seen, now + LOOK);
  return 0;
}
