/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pending zeroes: who waits for them, what is sent, and what becomes of it.
 */

#include <errno.h>

#include "fs/raw/pending-impl.h"

/* --- who waits --- */

void
pending_want_all (struct pending *p)
{
  p->wanted = p->order;
  p->unwanted = NULL;
}

uint64_t
pending_want (struct pending *p, uint64_t start, uint64_t end)
{
  struct pending_zero *x, *next;

  if (start == 0 && end == UINT64_MAX) {
    pending_want_all (p);
    pending_retry (p);
    return p->order;
  }
  for (x = pending_first_in (p, start, end); x; x = next) {
    next = pending_next_in (x, end);
    x->awaited = x->state == PENDING_COVERED;
    if (x->state != PENDING_UNSENT)
      continue;
    if (x->end > end)
      pending_split (p, x, end);
    if (x->start < start && pending_split (p, x, start))
      x = pending_after (x);
    pending_dequeue (p, x);
    pending_enqueue_first (p, x);
  }
  return p->order;
}

/* 0, -EAGAIN or an error, for one who waits for x. */
static int
settled_one (const struct pending_zero *x, uint64_t ticket)
{
  if (x->state == PENDING_DONE || x->order > ticket)
    return 0;
  return x->error ? x->error : x->failed > ticket ? x->why : -EAGAIN;
}

static int
settled_all (struct pending *p, uint64_t ticket)
{
  const struct pending_zero *x;
  int r, error = 0;

  TAILQ_FOREACH (x, &p->active, entry) {
    r = settled_one (x, ticket);
    if (r == 0)
      break;
    if (r == -EAGAIN)
      return r;
    error = r;
  }
  TAILQ_FOREACH (x, &p->failed, entry)
    if (x->order <= ticket)
      return x->error;
  return error;
}

int
pending_settled (struct pending *p, uint64_t start, uint64_t end,
                 uint64_t ticket)
{
  struct pending_zero *x;
  int r, error = 0;

  if (start == 0 && end == UINT64_MAX)
    return settled_all (p, ticket ? ticket : p->wanted);
  for (x = pending_first_in (p, start, end); x; x = pending_next_in (x, end)) {
    r = settled_one (x, ticket);
    if (r == -EAGAIN)
      return r;
    error = error ? error : r;
  }
  return error;
}

/* --- the store --- */

/* The first part of x, from *start on and up to *end, that nothing is written to;
 * false: there is none.
 */
static bool
find_quiet (struct pending *p, const struct pending_zero *x, uint64_t *start,
            uint64_t *end)
{
  const struct pending_write *w;
  bool moved;

  *start = x->start;
  do {
    moved = false;
    for (w = p->writing; w; w = w->next)
      if (w->start <= *start && *start < w->end) {
        *start = w->end;
        moved = true;
      }
  } while (moved);
  *end = x->end;
  for (w = p->writing; w; w = w->next)
    if (w->start > *start)
      *end = min_u64 (*end, w->start);
  return *start < *end;
}

/* Where a part ends: in line with those of the store, as far as that is worth it. */
static uint64_t
part_end (uint64_t start, uint64_t most)
{
  uint64_t end = start + most;

  return most >= PENDING_LARGE ? end & ~(PENDING_LARGE - 1) : end;
}

/* May both be sent as one?  Not what has failed, lest it take others along. */
static bool
go_together (const struct pending *p, const struct pending_zero *left,
             const struct pending_zero *right)
{
  return left->end == right->start && left->keep == right->keep &&
         pending_is_wanted (p, right) && pending_is_wanted (p, left) &&
         left->failed == 0 && right->failed == 0;
}

/* They came in any order, and when they were wanted already: make x one with what
 * adjoins it, as far as it can be sent at once.
 */
static struct pending_zero *
gather (struct pending *p, struct pending_zero *x, uint64_t most)
{
  struct pending_zero *y;

  while (x->end - x->start < most && (y = pending_before (x)) != NULL &&
         go_together (p, y, x))
    x = pending_join (p, y, x);
  while (x->end - x->start < most && (y = pending_after (x)) != NULL &&
         go_together (p, x, y))
    x = pending_join (p, x, y);
  return x;
}

bool
pending_next (struct pending *p, uint64_t most, uint64_t *start, uint64_t *end,
              bool *keep)
{
  struct pending_zero *x;

  TAILQ_FOREACH (x, &p->active, entry) {
    if (x->order > p->wanted)
      break;
    if (x->state != PENDING_UNSENT)
      continue;
    x = gather (p, x, most);
    if (!find_quiet (p, x, start, end))
      continue;
    if (pending_has_nodes (p))
      *end = min_u64 (*end, part_end (*start, most));
    else if (*start > x->start || *end < x->end)
      continue;
    x = pending_split_off (p, x, *start, *end);
    x->state = PENDING_SENT;
    *keep = x->keep;
    return true;
  }
  return false;
}

/* x is DONE; so may be what adjoins it. */
static void
join_done (struct pending *p, struct pending_zero *x)
{
  struct pending_zero *left = pending_before (x);

  if (left && left->end == x->start && left->queue == &p->done &&
      x->queue == &p->done && left->keep == x->keep)
    pending_join (p, left, x);
}

static void
fail (struct pending *p, struct pending_zero *x, int error)
{
  x->error = x->why = error;
  x->failed = p->order;
  pending_dequeue (p, x);
  pending_enqueue (p, x, &p->failed);
}

static void
end_sent (struct pending *p, struct pending_zero *x, bool keep, int error)
{
  x->state = PENDING_UNSENT;
  if (error == 0 && x->keep == keep) {
    x->state = PENDING_DONE;
    p->nr_done++;
    p->done_bytes += x->end - x->start;
    pending_dequeue (p, x);
    pending_enqueue (p, x, &p->done);
    join_done (p, x);
  }
  else if (error == -ENOSPC && x->keep)
    x->keep = false;
  else if (error && error != -EAGAIN)
    fail (p, x, error);
}

void
pending_sent (struct pending *p, uint64_t start, uint64_t end, bool keep,
              int error)
{
  struct pending_zero *x, *next;

  p->order += error != 0;
  for (x = pending_first_in (p, start, end); x; x = next) {
    next = pending_next_in (x, end);
    end_sent (p, x, keep, error);
  }
  x = pending_reaching (p, end);
  if (x && x->start == end)
    join_done (p, x);
}

void
pending_fail (struct pending *p, int error)
{
  struct pending_zero *x, *next;

  p->order++;
  for (x = TAILQ_FIRST (&p->active); x && x->order <= p->wanted; x = next) {
    next = TAILQ_NEXT (x, entry);
    if (x->state == PENDING_UNSENT)
      fail (p, x, error);
  }
}

void
pending_retry (struct pending *p)
{
  struct pending_zero *x;

  while ((x = TAILQ_FIRST (&p->failed)) != NULL) {
    pending_dequeue (p, x);
    pending_enqueue_first (p, x);
  }
}

void
pending_flush_begin (struct pending *p)
{
  struct pending_zero *x;

  p->flushing |= p->written;
  p->written = false;
  while ((x = TAILQ_FIRST (&p->done)) != NULL) {
    pending_dequeue (p, x);
    pending_enqueue (p, x, &p->flushed);
  }
}

static void
redo (struct pending *p, struct pending_queue *queue)
{
  struct pending_zero *x;

  while ((x = TAILQ_FIRST (queue)) != NULL) {
    p->nr_done--;
    p->done_bytes -= x->end - x->start;
    x->state = PENDING_UNSENT;
    pending_dequeue (p, x);
    pending_enqueue_first (p, x);
  }
}

void
pending_flush_end (struct pending *p, int error)
{
  struct pending_zero *x;

  /* What the store lost meanwhile is no failure: the next flush will do. */
  p->flush_error = error == -ECONNRESET ? 0 : error;
  if (error) {
    pending_lost (p);
    return;
  }
  p->flushing = false;
  while ((x = TAILQ_FIRST (&p->flushed)) != NULL)
    pending_drop (p, x);
}

void
pending_lost (struct pending *p)
{
  p->doubts++;
  p->written = p->flushing = false; /* who wrote it is told, or does it again */
  redo (p, &p->flushed);
  redo (p, &p->done);
}

uint64_t
pending_since (struct pending *p)
{
  const struct pending_zero *x = p->unwanted;

  while (x && x->state != PENDING_UNSENT)
    x = TAILQ_NEXT (x, entry); /* few: data is at them now */
  return x ? x->since : UINT64_MAX;
}

const struct pending_zero *
pending_from (struct pending *p, uint64_t pos)
{
  return pending_reaching (p, pos);
}
