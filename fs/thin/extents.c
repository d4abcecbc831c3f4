/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The tree of extents: where each block of the disk is.
 *
 * The references of the blocks of the store follow from three rules:
 *
 *   - a node that is replaced and has one reference goes; what it refers to and the new
 *     tree has, too, is referred to by that instead; the rest has one reference less;
 *   - one that has more loses one and stays.  What it refers to and the new tree has,
 *     too, has one more;
 *   - so does what nodes refer to that are below one which stays; to these nodes
 *     themselves nothing has changed.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/merge.h"
#include "fs/thin/trees.h"

static void
refer (struct thin_merge *mg, uint64_t start, uint64_t length, int by)
{
  int r = mg->error ? mg->error : thin_refs_add (mg->t, start, length, by);

  if (r < 0)
    thin_merge_error (mg, r);
}

/* --- what the merge asks */

static bool
open_node (struct thin_merge *mg, const struct thin_ref *ref, bool shared)
{
  uint64_t count = 1, until;
  int r;

  if (shared)
    return true;
  if (!thin_refs_maybe (mg->t, ref->generation))
    return false;
  r = thin_refs_count (mg->t, ref->address, ref->address + 1, &count, &until);
  if (r < 0)
    thin_merge_error (mg, r);
  if (count < 2)
    return false;
  refer (mg, ref->address, 1, -1);
  return true;
}

static void
keep_child (struct thin_merge *mg, uint64_t address)
{
  refer (mg, address, 1, 1);
}

/* Of an item in the leaf that is being merged: what its copy has to say, since the new
 * leaf is too young to be suspected.
 */
static uint64_t
shared_flag (struct thin_merge *mg, uint64_t value)
{
  return mg->shared || thin_refs_maybe (mg->t, mg->generation)
           ? THIN_SHARED
           : value & THIN_SHARED;
}

static void
keep_item (struct thin_merge *mg, struct thin_item *x)
{
  if (mg->shared)
    refer (mg, x->value & THIN_PHYSICAL, x->length, 1);
  x->value |= shared_flag (mg, x->value);
}

/* --- operations */

static uint64_t *
counter (struct thin_merge *mg, uint64_t value)
{
  return value & THIN_UNWRITTEN ? &mg->t->super.unwritten
                                : &mg->t->super.mapped;
}

static void
push (struct thin_merge *mg, uint64_t start, uint64_t length, uint64_t value)
{
  *counter (mg, value) += length;
  thin_merge_push (mg, start, length, value);
}

static uint64_t
new_value (const struct thin_op *op, uint64_t at)
{
  return op->value + (at - op->start) +
         (op->kind == RANGE_UNWRITTEN ? THIN_UNWRITTEN : 0);
}

/* Blocks [a, b) get a place that was free. */
static void
place (struct thin_merge *mg, const struct thin_op *op, uint64_t a, uint64_t b)
{
  uint64_t value = new_value (op, a);
  int r = thin_ranges_add (&mg->t->takes, value & THIN_PHYSICAL, b - a);

  if (r < 0)
    thin_merge_error (mg, r);
  push (mg, a, b - a, value);
}

static void
gap (struct thin_merge *mg, const struct thin_op *op, uint64_t a, uint64_t b)
{
  if (op->kind >= RANGE_UNWRITTEN)
    place (mg, op, a, b);
}

static void
unrefer (struct thin_merge *mg, const struct thin_item *old)
{
  if (!mg->shared)
    refer (mg, old->value & THIN_PHYSICAL, old->length, -1);
}

/* What is a snapshot's as well is let go, the rest stays and reads as zero. */
static void
zero_keep (struct thin_merge *mg, const struct thin_item *old)
{
  uint64_t at = old->value & THIN_PHYSICAL, end = at + old->length;
  uint64_t maybe = shared_flag (mg, old->value);

  if (mg->shared)
    return;
  while (at < end && mg->error == 0) {
    uint64_t count = 1, until = end;
    int r = maybe ? thin_refs_count (mg->t, at, end, &count, &until) : 0;

    if (r < 0)
      thin_merge_error (mg, r);
    else if (count >= 2)
      refer (mg, at, until - at, -1);
    else
      push (mg, old->start + (at - (old->value & THIN_PHYSICAL)), until - at,
            at | THIN_UNWRITTEN | maybe);
    at = until;
  }
}

static void
over (struct thin_merge *mg, const struct thin_op *op,
      const struct thin_item *old)
{
  uint64_t value;

  *counter (mg, old->value) -= old->length;
  if (op->kind == RANGE_ZERO_KEEP) {
    zero_keep (mg, old);
    return;
  }
  if (op->kind == RANGE_HOLE) {
    unrefer (mg, old);
    return;
  }
  value = new_value (op, old->start);
  if (((old->value ^ value) & THIN_PHYSICAL) != 0) {
    unrefer (mg, old);
    place (mg, op, old->start, old->start + old->length);
    return;
  }
  if (mg->shared) /* it is not the disk's alone to change */
    thin_merge_error (mg, -EINVAL);
  push (mg, old->start, old->length, value | shared_flag (mg, old->value));
}

static const struct thin_merge_ops extents_ops = {
  .tree = THIN_EXTENTS,
  .gap = gap,
  .over = over,
  .open = open_node,
  .keep_child = keep_child,
  .keep_item = keep_item,
};

int
thin_extents_apply (struct thin_txn *t)
{
  struct thin_op *ops = malloc ((t->ops.count + 1) * sizeof *ops);
  struct range_entry *e;
  size_t n = 0;
  int r;

  if (ops == NULL)
    return -ENOMEM;
  for (e = range_map_find (&t->ops, 0); e; e = range_map_next (e))
    ops[n++] = (struct thin_op) {
      .start = e->start,
      .end = e->end,
      .value = e->physical,
      .kind = e->kind,
    };
  r = thin_merge (t, &extents_ops, &t->super.extents, ops, n, NULL);
  free (ops);
  return r;
}
