/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The tree of references: blocks of the store, of data and of nodes, that more than one
 * refers to.  What is in use and not in it has one.
 *
 * Changes are collected as events: from this block on one more, from that one on one
 * less; sorted, they are ranges with a change each.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/chunks.h"
#include "fs/thin/merge.h"
#include "fs/thin/trees.h"

static void
wrong (struct thin_merge *mg, uint64_t start)
{
  thin_merge_error (mg, thin_bad_block (mg->t->m, "referenced one", start));
}

/* Nothing refers to these blocks any more. */
static void
unreferenced (struct thin_merge *mg, uint64_t start, uint64_t length)
{
  struct thin_txn *t = mg->t;
  int r;

  if (thin_chunks_of (&t->m->chunks, start)) { /* nodes are not freed so */
    wrong (mg, start);
    return;
  }
  r = thin_ranges_add (&t->frees, start, length);
  if (r == 0 && t->report)
    r = thin_ranges_add (&t->freed, start, length);
  if (r < 0)
    thin_merge_error (mg, r);
}

static void
change (struct thin_merge *mg, const struct thin_op *op, uint64_t start,
        uint64_t length, uint64_t count)
{
  int64_t by = (int64_t) op->value;

  if (by < 0 && count < (uint64_t) -by) {
    wrong (mg, start);
    return;
  }
  count += by;
  if (count == 0)
    unreferenced (mg, start, length);
  else if (count >= 2)
    thin_merge_push (mg, start, length, count);
}

static void
gap (struct thin_merge *mg, const struct thin_op *op, uint64_t a, uint64_t b)
{
  change (mg, op, a, b - a, 1);
}

static void
over (struct thin_merge *mg, const struct thin_op *op,
      const struct thin_item *old)
{
  change (mg, op, old->start, old->length, old->value);
}

static const struct thin_merge_ops refs_ops = {
  .tree = THIN_REFS,
  .gap = gap,
  .over = over,
};

/* Ranges with a change, of sorted events: at most as many. */
static size_t
sum_up (const struct thin_events *events, struct thin_op *ops)
{
  int64_t sum = 0;
  size_t i, n = 0;

  for (i = 0; i < events->n; i++) {
    const struct thin_event *e = &events->list[i];

    if (sum != 0 && e->at > e[-1].at) {
      if (n > 0 && ops[n - 1].end == e[-1].at &&
          ops[n - 1].value == (uint64_t) sum)
        ops[n - 1].end = e->at;
      else
        ops[n++] = (struct thin_op) { .start = e[-1].at,
                                      .end = e->at,
                                      .value = (uint64_t) sum };
    }
    sum += e->change;
  }
  return n;
}

int
thin_refs_apply (struct thin_txn *t)
{
  struct thin_events *events = &t->events;
  struct thin_op *ops;
  int r;

  if (events->n == 0)
    return 0;
  ops = malloc (events->n * sizeof *ops);
  if (ops == NULL)
    return -ENOMEM;
  thin_events_sort (events);
  r =
    thin_merge (t, &refs_ops, &t->super.refs, ops, sum_up (events, ops), NULL);
  events->n = 0;
  free (ops);
  if (r == 0 && t->frees.n > THIN_MAX_FREES)
    r = thin_free_apply (t);
  return r;
}

int
thin_refs_add (struct thin_txn *t, uint64_t start, uint64_t length, int by)
{
  int r = thin_events_add (&t->events, start, by);

  if (r == 0)
    r = thin_events_add (&t->events, start + length, -by);
  if (r == 0 && t->events.n >= THIN_MAX_EVENTS)
    r = thin_refs_apply (t);
  return r;
}

int
thin_refs_count (struct thin_txn *t, uint64_t block, uint64_t end,
                 uint64_t *count, uint64_t *until)
{
  int r = thin_count (t->m, &t->super.refs, block, end, false, count, until);

  return r == -EIO ? thin_bad_block (t->m, "referenced one", block) : r;
}
