/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The tree of free space.  That what is taken was free, and what is freed was not, is
 * checked.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/merge.h"
#include "fs/thin/trees.h"

enum { TAKE, FREE };

static void
wrong (struct thin_merge *mg, uint64_t start)
{
  thin_merge_error (mg, thin_bad_block (mg->t->m, "free or used one", start));
}

static void
gap (struct thin_merge *mg, const struct thin_op *op, uint64_t a, uint64_t b)
{
  if (op->kind == TAKE) {
    wrong (mg, a);
    return;
  }
  mg->t->tree_free += b - a;
  thin_merge_push (mg, a, b - a, 0);
}

static void
over (struct thin_merge *mg, const struct thin_op *op,
      const struct thin_item *old)
{
  if (op->kind == FREE)
    wrong (mg, old->start);
  mg->t->tree_free -= old->length;
}

static const struct thin_merge_ops free_ops = {
  .tree = THIN_FREE,
  .gap = gap,
  .over = over,
};

static int
by_start (const void *a, const void *b)
{
  const struct thin_op *x = a, *y = b;

  return x->start < y->start ? -1 : x->start > y->start;
}

static size_t
add_ranges (struct thin_op *ops, size_t n, struct thin_ranges *ranges,
            unsigned kind)
{
  size_t i;

  for (i = 0; i < ranges->n; i++)
    ops[n++] = (struct thin_op) {
      .start = ranges->list[i].start,
      .end = ranges->list[i].start + ranges->list[i].length,
      .kind = kind,
    };
  ranges->n = 0;
  return n;
}

static size_t
add_owed (struct thin_op *ops, size_t n, struct thin_chunks *c)
{
  size_t i;

  for (i = 0; i < c->n; i++) {
    struct thin_chunk *chunk = &c->list[i];

    if (!chunk->owed || chunk->gone)
      continue;
    chunk->owed = false;
    ops[n++] = (struct thin_op) {
      .start = chunk->start,
      .end = chunk->start + chunk->length,
      .kind = TAKE,
    };
  }
  return n;
}

int
thin_free_apply (struct thin_txn *t)
{
  struct thin_chunks *c = &t->m->chunks;
  struct thin_op *ops =
    malloc ((t->takes.n + t->frees.n + c->n + 1) * sizeof *ops);
  size_t n = 0, i;
  int r = 0;

  if (ops == NULL)
    return -ENOMEM;
  n = add_ranges (ops, n, &t->takes, TAKE);
  n = add_ranges (ops, n, &t->frees, FREE);
  n = add_owed (ops, n, c);
  qsort (ops, n, sizeof *ops, by_start);
  for (i = 1; i < n && r == 0; i++)
    if (ops[i].start < ops[i - 1].end)
      r = thin_bad_block (t->m, "block used once", ops[i].start);
  if (r == 0)
    r = thin_merge (t, &free_ops, &t->super.free, ops, n, NULL);
  free (ops);
  return r;
}
