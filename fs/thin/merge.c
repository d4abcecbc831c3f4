/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The merge: the old tree is walked from left to right, and the new one grows behind,
 * level by level.  What is to become a node waits in levels[], of the leaves in
 * levels[0]: up to two nodes' worth, so that what is left at last can be halved.
 *
 * An old node without anything to do in it can become the new tree's only when nothing
 * waits on the levels below its entry.  What waits there is made a node; unless that
 * would be too small: then the old one is opened, and its entries join those.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/build.h"
#include "fs/thin/chunks.h"
#include "fs/thin/merge.h"

/* Entries of a full node, and of one that is not too small. */
static unsigned
full (const struct thin_merge *mg)
{
  return mg->t->m->fan;
}

static unsigned
enough (const struct thin_merge *mg)
{
  return full (mg) / 2;
}

/* --- the new tree */

static void push_entry (struct thin_merge *mg, unsigned level,
                        const struct thin_item *item);

/* The first n entries of a level become a node. */
static void
make_node (struct thin_merge *mg, unsigned level, unsigned n)
{
  struct thin_level *l = &mg->levels[level];
  struct thin_item ref;
  int r;

  *mg->entries += level == 0 ? n : 0;
  r = mg->error
        ? mg->error
        : thin_build_node (mg->t, mg->ops->tree, level, l->items, n, &ref);
  l->n -= n;
  memmove (l->items, l->items + n, l->n * sizeof *l->items);
  if (r < 0)
    thin_merge_error (mg, r);
  else
    push_entry (mg, level + 1, &ref);
}

static void
push_entry (struct thin_merge *mg, unsigned level, const struct thin_item *item)
{
  struct thin_level *l = &mg->levels[level];

  if (level > THIN_MAX_LEVEL) {
    thin_merge_error (mg, -EFBIG);
    return;
  }
  if (l->n >= 2 * full (mg))
    make_node (mg, level, full (mg));
  l->items[l->n++] = *item;
}

/* All entries of a level become one node or two. */
static void
flush_level (struct thin_merge *mg, unsigned level)
{
  unsigned n = mg->levels[level].n;

  if (n > full (mg))
    make_node (mg, level, n / 2);
  make_node (mg, level, mg->levels[level].n);
}

/* Have nothing wait up to this level; false if that would make a small node. */
static bool
settle (struct thin_merge *mg, unsigned level)
{
  unsigned i;

  for (i = 0; i <= level; i++) {
    if (mg->levels[i].n == 0)
      continue;
    if (mg->levels[i].n < enough (mg))
      return false;
    flush_level (mg, i);
  }
  return true;
}

static bool
all_empty_above (const struct thin_merge *mg, unsigned level)
{
  while (++level <= THIN_MAX_LEVEL)
    if (mg->levels[level].n > 0)
      return false;
  return true;
}

/* Everything that waits becomes nodes, up to a root. */
static void
finish (struct thin_merge *mg, struct thin_root *root)
{
  unsigned i;

  *root = (struct thin_root) { 0 };
  for (i = 0; i <= THIN_MAX_LEVEL && mg->error == 0; i++) {
    struct thin_level *l = &mg->levels[i];

    if (all_empty_above (mg, i) && l->n <= (i > 0)) {
      if (l->n == 1)
        *root = (struct thin_root) { l->items->length, l->items->value, i - 1 };
      return;
    }
    if (l->n > 0)
      flush_level (mg, i);
  }
  thin_merge_error (mg, -EFBIG);
}

void
thin_merge_push (struct thin_merge *mg, uint64_t start, uint64_t length,
                 uint64_t value)
{
  struct thin_level *l = &mg->levels[0];
  struct thin_item *last = l->n > 0 ? &l->items[l->n - 1] : NULL;

  if (last && last->start + last->length == start &&
      value == last->value + (mg->ops->tree == THIN_EXTENTS ? last->length : 0))
    last->length += length;
  else
    push_entry (mg, 0, &(struct thin_item) { start, length, value });
}

/* --- leaves */

static void
next_op (struct thin_merge *mg)
{
  mg->done = mg->op->end;
  mg->op++;
  if (mg->op < mg->end)
    mg->at = mg->op->start;
}

/* Operations in the gap up to end. */
static void
merge_gap (struct thin_merge *mg, uint64_t end)
{
  while (mg->op < mg->end && mg->at < end) {
    uint64_t b = thin_min (mg->op->end, end);

    mg->ops->gap (mg, mg->op, mg->at, b);
    mg->at = b;
    if (b < mg->op->end)
      return;
    next_op (mg);
  }
}

/* Blocks [a, b) of an item. */
static struct thin_item
part (const struct thin_merge *mg, const struct thin_item *x, uint64_t a,
      uint64_t b)
{
  uint64_t skip = mg->ops->tree == THIN_EXTENTS ? a - x->start : 0;

  return (struct thin_item) { a, b - a, x->value + skip };
}

static void
keep (struct thin_merge *mg, const struct thin_item *x, uint64_t a, uint64_t b)
{
  struct thin_item kept;

  if (a == b)
    return;
  kept = part (mg, x, a, b);
  if (mg->ops->keep_item)
    mg->ops->keep_item (mg, &kept);
  thin_merge_push (mg, kept.start, kept.length, kept.value);
}

static void
merge_item (struct thin_merge *mg, const struct thin_item *x)
{
  uint64_t end = x->start + x->length, from = x->start;

  while (mg->op < mg->end && mg->at < end) {
    uint64_t b = thin_min (mg->op->end, end);
    struct thin_item old = part (mg, x, mg->at, b);

    keep (mg, x, from, mg->at);
    mg->ops->over (mg, mg->op, &old);
    mg->at = from = b;
    if (b < mg->op->end)
      return;
    next_op (mg);
  }
  keep (mg, x, from, end);
}

static void
merge_leaf (struct thin_merge *mg, const struct thin_node *node, uint64_t high)
{
  unsigned i, n = thin_get16 (node->h.count);

  *mg->entries -= n;
  for (i = 0; i < n && mg->error == 0; i++) {
    struct thin_item x = thin_item_get (&node->entries[i]);

    merge_gap (mg, x.start);
    merge_item (mg, &x);
  }
  merge_gap (mg, high);
}

/* --- the old tree */

/* Is there something to do in [low, high), or next to it, where it may be joined?
 * op: the first that does not end before.
 */
static bool
is_touched (const struct thin_merge *mg, const struct thin_op *op, uint64_t low,
            uint64_t high)
{
  return (op < mg->end && op->start <= high) || (low > 0 && mg->done == low);
}

/* Read the children from the i-th on that will be opened. */
static void
prefetch (struct thin_merge *mg, const struct thin_node *node,
          const struct thin_ref *ref, unsigned i)
{
  unsigned k = 0, n = thin_get16 (node->h.count), end = i + THIN_PREFETCH;
  struct thin_ref refs[THIN_PREFETCH];
  const struct thin_op *op = mg->op;

  for (; i < n && i < end; i++) {
    refs[k] = thin_child_ref (node, ref, i);
    while (op < mg->end && op->end < refs[k].low)
      op++;
    k += is_touched (mg, op, refs[k].low, refs[k].high);
  }
  thin_node_prefetch (mg->t->m, refs, k);
}

static bool
open_node (struct thin_merge *mg, const struct thin_ref *ref, bool shared)
{
  int r;

  if (mg->ops->open && mg->ops->open (mg, ref, shared))
    return true;
  thin_cache_retire (mg->t->m->cache, ref->address, ref->generation);
  r = thin_chunks_release (mg->t->m, ref->address);
  if (r < 0)
    thin_merge_error (mg, r);
  return false;
}

/* A node and all below; low: where its range begins. */
static void
walk (struct thin_merge *mg, const struct thin_ref *ref, uint64_t low,
      bool shared)
{
  struct thin_node *node = &mg->nodes[ref->level];
  unsigned i;
  int r = thin_node_read (mg->t->m, ref, node);

  if (r < 0) {
    thin_merge_error (
      mg, r == -EIO ? thin_bad_block (mg->t->m, "node", ref->address) : r);
    return;
  }
  shared = open_node (mg, ref, shared);
  if (ref->level == 0) {
    mg->shared = shared;
    mg->generation = ref->generation;
    merge_leaf (mg, node, ref->high);
    return;
  }
  for (i = 0; i < thin_get16 (node->h.count) && mg->error == 0; i++) {
    struct thin_ref child = thin_child_ref (node, ref, i);
    struct thin_item entry = thin_item_get (&node->entries[i]);

    if (i % THIN_PREFETCH == 0)
      prefetch (mg, node, ref, i);
    if (i > 0)
      low = child.low;
    if (is_touched (mg, mg->op, low, child.high) || !settle (mg, child.level)) {
      walk (mg, &child, low, shared);
      continue;
    }
    if (shared)
      mg->ops->keep_child (mg, child.address);
    push_entry (mg, ref->level, &entry);
  }
}

static uint64_t *
entries_of (struct thin_txn *t, enum thin_tree tree)
{
  return tree == THIN_EXTENTS ? &t->super.extents_entries
         : tree == THIN_FREE  ? &t->super.free_entries
                              : &t->super.refs_entries;
}

int
thin_merge (struct thin_txn *t, const struct thin_merge_ops *ops,
            struct thin_root *root, const struct thin_op *list, size_t n,
            void *opaque)
{
  struct thin_merge *mg;
  struct thin_ref ref = thin_root_ref (ops->tree, root);
  int r;

  if (n == 0)
    return 0;
  mg = malloc (sizeof *mg);
  if (mg == NULL)
    return -ENOMEM;
  memset (mg, 0, offsetof (struct thin_merge, levels));
  for (unsigned i = 0; i <= THIN_MAX_LEVEL; i++)
    mg->levels[i].n = 0;
  mg->t = t;
  mg->ops = ops;
  mg->opaque = opaque;
  mg->entries = entries_of (t, ops->tree);
  mg->op = list;
  mg->end = list + n;
  mg->at = list->start;
  if (root->address)
    walk (mg, &ref, 0, false);
  else
    merge_gap (mg, UINT64_MAX);
  if (mg->error == 0)
    finish (mg, root);
  r = mg->error ? mg->error : thin_build_drain (t);
  free (mg);
  return r;
}
