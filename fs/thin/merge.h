/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A tree and sorted operations on ranges become another tree, in one pass.  Only nodes
 * with something to do in them are read and written anew (and a neighbour, where one
 * would become too small); the others become the new tree's as they are.
 */

#ifndef FOLIO_THIN_MERGE_H
#define FOLIO_THIN_MERGE_H

#include "fs/thin/node.h"
#include "fs/thin/txn-impl.h"

/* An operation: the tree's own kind and value. */
struct thin_op {
  uint64_t start, end;
  uint64_t value;
  unsigned kind;
};

struct thin_merge;

/* What operations mean.  Each is called for part after part of it, in order. */
struct thin_merge_ops {
  enum thin_tree tree;

  /* There is nothing in [a, b), which is part of the operation. */
  void (*gap) (struct thin_merge *mg, const struct thin_op *op, uint64_t a,
               uint64_t b);

  /* There is this: a part of an item that is wholly in the operation.  It goes, unless
   * it is pushed again.
   */
  void (*over) (struct thin_merge *mg, const struct thin_op *op,
                const struct thin_item *old);

  /* A node is about to be replaced.  shared: what refers to it stays.  Returns whether it
   * stays itself.  NULL: none is shared.
   */
  bool (*open) (struct thin_merge *mg, const struct thin_ref *ref, bool shared);

  /* In a node that stays: this child becomes the new tree's as well. */
  void (*keep_child) (struct thin_merge *mg, uint64_t address);

  /* This item, or part of one, becomes the new tree's.  May change its value.
   * Optional.
   */
  void (*keep_item) (struct thin_merge *mg, struct thin_item *item);
};

/* Entries of one level that are in no node yet. */
struct thin_level {
  unsigned n;
  struct thin_item items[2 * THIN_MAX_ENTRIES];
};

struct thin_merge {
  struct thin_txn *t;
  const struct thin_merge_ops *ops;
  void *opaque;
  int error;           /* the first */
  uint64_t *entries;   /* of all leaves of the tree */
  bool shared;         /* of the leaf that is being merged: it stays */
  uint64_t generation; /* of that */
  const struct thin_op *op, *end; /* those left; of the first from `at' on */
  uint64_t at;
  uint64_t done; /* where the one before ended */
  struct thin_level levels[THIN_MAX_LEVEL + 1];
  struct thin_node nodes[THIN_MAX_LEVEL + 1]; /* that are being read */
};

/* Have n operations done, disjoint and in order, on the tree whose root it is. */
extern int thin_merge (struct thin_txn *t, const struct thin_merge_ops *ops,
                       struct thin_root *root, const struct thin_op *list,
                       size_t n, void *opaque);

/* An item of the new tree, in order; it is joined to the last one if it can be. */
extern void thin_merge_push (struct thin_merge *mg, uint64_t start,
                             uint64_t length, uint64_t value);

static inline void
thin_merge_error (struct thin_merge *mg, int error)
{
  if (mg->error == 0)
    mg->error = error;
}

#endif /* FOLIO_THIN_MERGE_H */
