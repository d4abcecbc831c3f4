/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pending zeroes: the ranges, in order of place and in their queues.
 */

#include "fs/raw/pending-impl.h"

/* Disjoint, so order by end is order by start; by end, "the first that reaches
 * beyond pos" is one RB_NFIND.
 */
static int
compare (const struct pending_zero *a, const struct pending_zero *b)
{
  return a->end < b->end ? -1 : a->end > b->end;
}

RB_GENERATE_INTERNAL (pending_tree, pending_zero, link, compare,
                      static __attribute__ ((unused)))

struct pending_zero *
pending_after (struct pending_zero *x)
{
  return RB_NEXT (pending_tree, NULL, x);
}

struct pending_zero *
pending_before (struct pending_zero *x)
{
  return RB_PREV (pending_tree, NULL, x);
}

void
pending_enqueue (struct pending *p, struct pending_zero *x,
                 struct pending_queue *queue)
{
  x->queue = queue;
  TAILQ_INSERT_TAIL (queue, x, entry);
  if (queue == &p->active && p->unwanted == NULL && x->order > p->wanted)
    p->unwanted = x;
}

/* It goes before all others. */
void
pending_enqueue_first (struct pending *p, struct pending_zero *x)
{
  x->order = 0;
  x->error = 0;
  x->queue = &p->active;
  TAILQ_INSERT_HEAD (&p->active, x, entry);
}

void
pending_dequeue (struct pending *p, struct pending_zero *x)
{
  if (p->unwanted == x)
    p->unwanted = TAILQ_NEXT (x, entry);
  TAILQ_REMOVE (x->queue, x, entry);
}

/* So many bytes of the range more, or less. */
void
pending_count (struct pending *p, const struct pending_zero *x, uint64_t bytes)
{
  p->bytes += bytes;
  if (x->state == PENDING_DONE)
    p->done_bytes += bytes;
}

void
pending_drop (struct pending *p, struct pending_zero *x)
{
  pending_count (p, x, x->start - x->end);
  p->nr_done -= x->state == PENDING_DONE;
  RB_REMOVE (pending_tree, &p->tree, x);
  pending_dequeue (p, x);
  TAILQ_INSERT_HEAD (&p->unused, x, entry);
  p->count--;
}

/* A copy of x, or a new one like x, which is in no queue, in its place. */
struct pending_zero *
pending_new (struct pending *p, const struct pending_zero *x)
{
  struct pending_zero *y = TAILQ_FIRST (&p->unused);

  TAILQ_REMOVE (&p->unused, y, entry);
  *y = *x;
  RB_INSERT (pending_tree, &p->tree, y);
  p->count++;
  p->nr_done += y->state == PENDING_DONE;
  return y;
}

/* Cut x in two at pos, inside; x stays the first.  False without a node. */
bool
pending_split (struct pending *p, struct pending_zero *x, uint64_t pos)
{
  struct pending_zero rest = *x, *y;

  if (TAILQ_EMPTY (&p->unused))
    return false;
  rest.start = pos;
  x->end = pos;
  y = pending_new (p, &rest);
  TAILQ_INSERT_AFTER (x->queue, x, y, entry);
  return true;
}

struct pending_zero *
pending_reaching (struct pending *p, uint64_t pos)
{
  struct pending_zero key = { .end = pos + 1 };

  return pos == UINT64_MAX ? NULL : RB_NFIND (pending_tree, &p->tree, &key);
}

struct pending_zero *
pending_next_in (struct pending_zero *x, uint64_t end)
{
  x = pending_after (x);
  return x && x->start < end ? x : NULL;
}

struct pending_zero *
pending_first_in (struct pending *p, uint64_t start, uint64_t end)
{
  struct pending_zero *x = pending_reaching (p, start);

  return x && x->start < end ? x : NULL;
}

/* Make a range of its own of x's part in [start, end).  NULL without a node. */
struct pending_zero *
pending_split_off (struct pending *p, struct pending_zero *x, uint64_t start,
                   uint64_t end)
{
  if (x->end > end && !pending_split (p, x, end))
    return NULL;
  if (x->start < start) {
    if (!pending_split (p, x, start))
      return NULL;
    x = pending_after (x);
  }
  return x;
}

struct pending_zero *
pending_join (struct pending *p, struct pending_zero *left,
              struct pending_zero *right)
{
  bool older = left->order <= right->order;
  struct pending_zero *stays = older ? left : right;
  struct pending_zero *goes = older ? right : left;
  uint64_t start = left->start, end = right->end;

  stays->since = min_u64 (stays->since, goes->since);
  pending_drop (p, goes);
  pending_count (p, stays, end - start - (stays->end - stays->start));
  stays->start = start;
  stays->end = end;
  return stays;
}
