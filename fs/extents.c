/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: what is looked up, set and learned.
 */

#include <stdlib.h>

#include "fs/extents-impl.h"

#define MIN_EXTENTS 8

struct extents *
extents_create (size_t max)
{
  struct extents *e = aligned_alloc (_Alignof(struct extents), sizeof *e);

  if (e == NULL)
    return NULL;
  *e = (struct extents) { 0 };
  pthread_mutex_init (&e->lock, NULL);
  RB_INIT (&e->tree);
  e->max = max < MIN_EXTENTS ? MIN_EXTENTS : max;
  atomic_init (&e->cookie, 1);
  return e;
}

void
extents_destroy (struct extents *e)
{
  if (e == NULL)
    return;
  extents_free_pool (e);
  pthread_mutex_destroy (&e->lock);
  free (e);
}

/* ------------------------------ below this line: the lock is held ---------- */

static void
bump_cookie (struct extents *e)
{
  atomic_fetch_add_explicit (&e->cookie, 1, memory_order_release);
}

/* What would become of the range if it were of this type. */
enum change { CHANGE_NONE, CHANGE_RESERVE, CHANGE_TYPE };

static enum change
compare_range (struct extents *e, uint64_t start, uint64_t end,
               enum iomap_type type)
{
  struct extent *x = extents_reaching (e, start);
  enum change change = CHANGE_NONE;

  for (; start < end; x = extents_next (x)) {
    if (x == NULL || x->start > start)
      return CHANGE_TYPE; /* unknown in part */
    if (x->type != type) {
      if (type != IOMAP_DELALLOC || x->type == IOMAP_MAPPED)
        return CHANGE_TYPE;
      change = CHANGE_RESERVE;
    }
    start = x->end;
  }
  return change;
}

static void
set_locked (struct extents *e, uint64_t start, uint64_t end,
            enum iomap_type type)
{
  enum change change = compare_range (e, start, end, type);

  if (change == CHANGE_NONE)
    return;
  extents_make_room (e, EDIT_NODES, start, end);
  extents_carve (e, start, end);
  if (!extents_fill (e, start, end, type))
    e->epoch++;
  if (change == CHANGE_TYPE)
    bump_cookie (e);
}

/* What there is at offset. */
static void
find (struct extents *e, uint64_t offset, struct found *found)
{
  struct extent *x = extents_reaching (e, offset), *left;

  if (x && x->start <= offset) {
    x->touched = true;
    *found = (struct found) { x->start, x->end, (int) x->type };
    return;
  }
  left = x ? extents_prev (x) : extents_last (e);
  *found =
    (struct found) { left ? left->end : 0, x ? x->start : UINT64_MAX, UNKNOWN };
}

/* -------------------- above this line: the lock is held -------------------- */

bool
extents_lookup (struct extents *e, uint64_t offset, uint64_t *length,
                enum iomap_type *type)
{
  struct found found;
  uint64_t left;

  if (!recent_read (&e->recent, offset, &found)) {
    pthread_mutex_lock (&e->lock);
    find (e, offset, &found);
    recent_set (&e->recent, &found);
    pthread_mutex_unlock (&e->lock);
  }
  left = found.end - offset;
  if (found.type == UNKNOWN) {
    *length = left < *length ? left : *length;
    return false;
  }
  *length = left;
  *type = (enum iomap_type) found.type;
  return true;
}

void
extents_set (struct extents *e, uint64_t offset, uint64_t length,
             enum iomap_type type)
{
  if (length == 0)
    return;
  pthread_mutex_lock (&e->lock);
  set_locked (e, offset, offset + length, type);
  pthread_mutex_unlock (&e->lock);
}

void
extents_reserve (struct extents *e, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length, from, to;
  struct extent *x;

  pthread_mutex_lock (&e->lock);
  while (offset < end && (x = extents_reaching (e, offset)) && x->start < end) {
    from = x->start > offset ? x->start : offset;
    to = x->end < end ? x->end : end;
    offset = to;
    if (x->type == IOMAP_HOLE || x->type == IOMAP_UNWRITTEN)
      set_locked (e, from, to, IOMAP_DELALLOC);
  }
  pthread_mutex_unlock (&e->lock);
}

void
extents_forget (struct extents *e, uint64_t offset, uint64_t length)
{
  if (length == 0)
    return;
  pthread_mutex_lock (&e->lock);
  extents_carve (e, offset, offset + length);
  e->epoch++;
  pthread_mutex_unlock (&e->lock);
}

/* Room is made here and not while learning: forgetting then would end the
 * epoch, and only the first run of a report would ever be learned.
 */
uint64_t
extents_epoch (struct extents *e)
{
  uint64_t epoch;

  pthread_mutex_lock (&e->lock);
  extents_make_room (e, e->max / 64 + EDIT_NODES, 0, 0);
  epoch = e->epoch;
  pthread_mutex_unlock (&e->lock);
  return epoch;
}

void
extents_learn (struct extents *e, uint64_t epoch, uint64_t offset,
               uint64_t length, enum iomap_type type)
{
  uint64_t end = offset + length, gap_end;
  struct extent *x;

  pthread_mutex_lock (&e->lock);
  while (offset < end && epoch == e->epoch) {
    x = extents_reaching (e, offset);
    if (x && x->start <= offset) {
      offset = x->end;
      continue;
    }
    gap_end = x && x->start < end ? x->start : end;
    if (!extents_fill (e, offset, gap_end, type))
      break;
    offset = gap_end;
  }
  pthread_mutex_unlock (&e->lock);
}

uint64_t
extents_cookie (struct extents *e)
{
  return atomic_load_explicit (&e->cookie, memory_order_acquire);
}

size_t
extents_count (struct extents *e)
{
  size_t count;

  pthread_mutex_lock (&e->lock);
  count = e->count;
  pthread_mutex_unlock (&e->lock);
  return count;
}
