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
 * What is UNWRITTEN has its place, and is likewise in converts instead, as its becoming
 * MAPPED is a change of the trees (room.c).
 *
 * Writes in the iterator claim their range.  What is zeroed under a claim, and so loses
 * its place, is MAYBE at once, whether there is room or not: the write may have looked
 * for the last time already.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Nodes that reserving one piece, or a claim, may take. */
#define CLAIM_NODES 6

/* --- reserving --- */

/* Is block b not in the map, nor counted otherwise for what the map is for, and up to
 * where, at most *end?  Of what is being written to a place that it keeps no space is
 * needed; but a direct write may fail, and then what is UNWRITTEN still is.
 */
static bool
is_needed (struct thin *t, struct range_map *map, uint64_t b, uint64_t *end)
{
  struct range_map *maps[] = { map, &t->reserved, &t->again, &t->flying };
  struct range_entry *e;
  bool keeps;
  unsigned i;

  for (i = 0; i < 4; i++) {
    e = range_map_find (maps[i], b);
    if (e == NULL || e->start >= *end)
      continue;
    if (e->start > b) {
      *end = e->start;
      continue;
    }
    *end = e->end < *end ? e->end : *end;
    keeps = i < 3 || !(e->flags & FLYING_DIRECT) || (e->flags & FLYING_AGAIN) ||
            (map == &t->reserved && !(e->flags & LAYER_OWN));
    if (keeps)
      return false;
  }
  return true;
}

static void
note (struct range_map *map, uint64_t start, uint64_t end, enum range_kind kind)
{
  struct range_entry e = { .start = start, .end = end, .kind = kind };

  range_map_set (map, &e);
}

/* Note in the map what of [b, end) needs it, as far as there is room.  Returns where that
 * is.
 */
static int64_t
note_needed (struct thin *t, struct range_map *map, uint64_t b, uint64_t end)
{
  uint64_t start = b, next, n;

  for (; b < end; b = next) {
    next = end;
    if (!is_needed (t, map, b, &next))
      continue;
    n = map == &t->reserved ? thin_room (t, next - b)
                            : thin_room_to_convert (t, next - b);
    if (n == 0)
      break;
    if (!range_nodes_promise (&t->nodes, CLAIM_NODES))
      return b > start ? (int64_t) b : -ENOMEM;
    range_nodes_redeem (&t->nodes, CLAIM_NODES);
    range_map_remove (&t->converts, b, b + n, NULL, NULL);
    note (map, b, b + n, RESERVED_MAYBE);
    next = b + n;
  }
  return b > start ? (int64_t) b : -ENOSPC;
}

/* [start, end) is dirty now: what is noted of it stays so. */
static void
make_sure (struct range_map *map, uint64_t start, uint64_t end)
{
  struct range_entry *e;
  uint64_t last;

  for (; start < end; start = last) {
    e = range_map_find (map, start);
    if (e == NULL || e->start >= end)
      break;
    if (e->start > start)
      start = e->start;
    last = e->end < end ? e->end : end;
    if (e->kind != RESERVED_SURE)
      note (map, start, last, RESERVED_SURE);
  }
}

/* Give back what is MAYBE of [start, end), but for what other writes claim. */
static void
give_back (struct thin *t, struct range_map *map, uint64_t start, uint64_t end)
{
  struct iomap_claim *claim;
  struct range_entry *e;
  uint64_t last;

  for (; start < end; start = last) {
    e = range_map_find (map, start);
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
      range_map_remove (map, start, last, NULL, NULL);
  }
}

void
thin_placed (struct thin *t, uint64_t start, uint64_t end)
{
  range_map_remove (&t->reserved, start, end, NULL, NULL);
  range_map_remove (&t->converts, start, end, NULL, NULL);
}

void
thin_unplaced (struct thin *t, uint64_t start, uint64_t end)
{
  note (&t->converts, start, end, RESERVED_SURE);
}

uint64_t
thin_claimed (struct thin *t, uint64_t start, uint64_t end)
{
  struct iomap_claim *claim;
  uint64_t blocks = 0, from, to;

  for (claim = t->claims; claim; claim = claim->next) {
    from = claim->start > start ? claim->start : start;
    to = claim->end < end ? claim->end : end;
    if (from < to)
      blocks += to - from - range_set_count (&t->reserved, from, to);
  }
  return blocks;
}

void
thin_unreserve (struct thin *t, uint64_t start, uint64_t end)
{
  struct iomap_claim *claim;

  thin_placed (t, start, end);
  for (claim = t->claims; claim; claim = claim->next)
    if (claim->start < end && claim->end > start)
      note (&t->reserved, claim->start > start ? claim->start : start,
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

  if (!thin_still (t, iomap) || (placed && !thin_has_place (t, b, w->end)))
    return -ESTALE;
  if (!range_nodes_promise (&t->nodes, CLAIM_NODES))
    return -ENOMEM;
  range_nodes_redeem (&t->nodes, CLAIM_NODES);
  if (!placed)
    end = note_needed (t, &t->reserved, b, w->end);
  else if (w->kind == RANGE_UNWRITTEN)
    end = note_needed (t, &t->converts, b, w->end);
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
  if (written > 0) {
    make_sure (&t->reserved, thin_first_block (pos), taken);
    make_sure (&t->converts, thin_first_block (pos), taken);
  }
  if (taken < claim->end) {
    give_back (t, &t->reserved, taken, claim->end);
    give_back (t, &t->converts, taken, claim->end);
  }
  pthread_mutex_unlock (&t->lock);
}
