/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: what is looked up, set and learned.
 */

#include <stdlib.h>

#include "fs/extents-impl.h"
#include "fs/extents.h"
#include "fs/num.h"

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
  TAILQ_INIT (&e->queue);
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

/* What would become of the range if it were of this type: for CHANGE_QUIET
 * nobody has to be told.
 */
enum change { CHANGE_NONE, CHANGE_QUIET, CHANGE_TYPE };

static enum change
compare_type (int is, enum iomap_type type)
{
  if (is == (int) type)
    return CHANGE_NONE;
  if (is == UNKNOWN)
    return type == IOMAP_MAPPED ? CHANGE_QUIET : CHANGE_TYPE;
  return type == IOMAP_DELALLOC && is != IOMAP_MAPPED ? CHANGE_QUIET
                                                      : CHANGE_TYPE;
}

static enum change
compare_range (struct extents *e, uint64_t start, uint64_t end,
               enum iomap_type type)
{
  struct extent *x = extents_reaching (e, start);
  enum change change = CHANGE_NONE, here;

  while (start < end && change != CHANGE_TYPE) {
    bool known = x && x->start <= start;

    here = compare_type (known ? (int) x->type : UNKNOWN, type);
    change = here > change ? here : change;
    start = known ? x->end : x ? x->start : end;
    x = known ? extents_next (x) : x;
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
    extents_forgotten (e, start, end, type);
  if (change == CHANGE_TYPE)
    extents_bump_cookie (e);
}

/* The first part of [start, end) that the question may still teach: unknown, and
 * not forgotten meanwhile.  False if there is none.
 */
static bool
next_gap (struct extents *e, const struct extents_question *q, uint64_t *start,
          uint64_t *end)
{
  struct extent *x = extents_reaching (e, *start);

  for (; *start < *end; x = extents_reaching (e, *start)) {
    if (x && x->start <= *start)
      *start = x->end;
    else if (q->forgotten <= *start && *start < q->forgotten_until)
      *start = q->forgotten_until;
    else
      break;
  }
  if (x && x->start < *end)
    *end = x->start;
  if (q->forgotten > *start && q->forgotten < *end)
    *end = q->forgotten;
  return *start < *end;
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
    *length = min_u64 (*length, left);
    return false;
  }
  *length = left;
  *type = (enum iomap_type) found.type;
  return true;
}

size_t
extents_lookup_runs (struct extents *e, uint64_t offset, uint64_t end,
                     struct extents_run *runs, size_t n)
{
  struct extent *x;
  size_t i;

  pthread_mutex_lock (&e->lock);
  x = extents_reaching (e, offset);
  for (i = 0; i < n && (i == 0 || offset < end); i++) {
    bool known = x && x->start <= offset;

    if (known) {
      x->touched = true;
      runs[i] = (struct extents_run) { x->end, x->type, true };
      x = extents_next (x);
    }
    else
      runs[i].end = x && x->start < end ? x->start : end;
    runs[i].known = known;
    offset = runs[i].end;
  }
  pthread_mutex_unlock (&e->lock);
  return i;
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
    from = max_u64 (x->start, offset);
    to = min_u64 (x->end, end);
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
  extents_forgotten (e, offset, offset + length, IOMAP_HOLE);
  pthread_mutex_unlock (&e->lock);
}

void
extents_ask (struct extents *e, struct extents_question *q, uint64_t offset,
             uint64_t length)
{
  *q = (struct extents_question) { .start = offset, .end = offset + length };
  pthread_mutex_lock (&e->lock);
  q->next = e->questions;
  e->questions = q;
  pthread_mutex_unlock (&e->lock);
}

void
extents_learn (struct extents *e, struct extents_question *q, uint64_t offset,
               uint64_t length, enum iomap_type type)
{
  uint64_t end = offset + length, start, gap_end;

  pthread_mutex_lock (&e->lock);
  start = max_u64 (offset, q->start);
  end = min_u64 (end, q->end);
  while (start < end) {
    extents_make_room (e, EDIT_NODES, start, start);
    gap_end = end;
    if (!next_gap (e, q, &start, &gap_end) ||
        !extents_fill (e, start, gap_end, type))
      break;
    start = gap_end;
  }
  if (end > q->start)
    q->start = end;
  pthread_mutex_unlock (&e->lock);
}

void
extents_answered (struct extents *e, struct extents_question *q)
{
  struct extents_question **p;

  pthread_mutex_lock (&e->lock);
  for (p = &e->questions; *p != q; p = &(*p)->next)
    ;
  *p = q->next;
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
