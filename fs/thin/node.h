/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nodes: reading them, and the way from a root to a key.  Each is verified as it is
 * read: itself, and that it is what its parent says.
 */

#ifndef FOLIO_THIN_NODE_H
#define FOLIO_THIN_NODE_H

#include "fs/thin/meta-impl.h"

/* An entry in memory: of a leaf, or of a node above (then length is the child's
 * address, and value its generation).
 */
struct thin_item {
  uint64_t start, length, value;
};

static inline struct thin_item
thin_item_get (const struct thin_entry *e)
{
  return (struct thin_item) { thin_get64 (e->key), thin_get64 (e->length),
                              thin_get64 (e->value) };
}

/* What a node has to be. */
struct thin_ref {
  enum thin_tree tree;
  unsigned level;
  uint64_t address, generation;
  uint64_t low, high; /* its first key, and a key behind its last range */
  bool exact;         /* low is its first key; else not more than that */
};

/* What the root of a tree has to be. */
extern struct thin_ref thin_root_ref (enum thin_tree tree,
                                      const struct thin_root *root);

/* What the i-th child of a node that is ref has to be. */
extern struct thin_ref thin_child_ref (const struct thin_node *node,
                                       const struct thin_ref *ref, unsigned i);

/* Is it that?  store_blocks: known to the format. */
extern bool thin_node_valid (const struct thin_node *node,
                             const struct thin_ref *ref, const uint8_t *uuid,
                             uint64_t store_blocks);

/* Complain of a block, unless it was the last to be complained of.  Returns -EIO. */
extern int thin_bad_block (struct thin_meta *m, const char *what,
                           uint64_t address);

/* A copy of the node.  Blocks.  -EIO: the store failed, or it is not valid, which is
 * for the caller to complain of (thin_bad_block): it may be the tree that is old.
 */
extern int thin_node_read (struct thin_meta *m, const struct thin_ref *ref,
                           struct thin_node *node);

/* Have those of n nodes that are not in memory read there, side by side.  What goes
 * wrong is seen when they are read.  At most THIN_PREFETCH.
 */
#define THIN_PREFETCH 64
extern void thin_node_prefetch (struct thin_meta *m,
                                const struct thin_ref *refs, unsigned n);

/* The same of the children of a node from the i-th on. */
extern void thin_node_prefetch_children (struct thin_meta *m,
                                         const struct thin_node *node,
                                         const struct thin_ref *ref,
                                         unsigned i);

/* A copy of the leaf in which key is, or would be; *ref says what it is: from where to
 * where.  The tree is not empty.  As thin_node_read; of an error *ref says where.
 */
extern int thin_leaf_read (struct thin_meta *m, enum thin_tree tree,
                           const struct thin_root *root, uint64_t key,
                           struct thin_node *node, struct thin_ref *ref);

/* The way to a key. */
struct thin_path {
  struct thin_item item; /* the last that starts at or before the key */
  bool found;            /* there is one */
  uint64_t next;         /* where the next one starts, UINT64_MAX: nowhere */
  unsigned levels;       /* how many nodes there are on it, root first */
  struct {
    uint64_t address, generation;
  } nodes[THIN_MAX_LEVEL + 1];
};

/* Find key in a tree.  -EAGAIN: with nowait, a node is not in memory; -EIO, without a
 * word: see thin_node_read.
 */
extern int thin_find (struct thin_meta *m, enum thin_tree tree,
                      const struct thin_root *root, uint64_t key, bool nowait,
                      struct thin_path *path);

/* How many references there are to a block that is in use, and up to where (not more
 * than end) as many.
 */
extern int thin_count (struct thin_meta *m, const struct thin_root *refs,
                       uint64_t block, uint64_t end, bool nowait,
                       uint64_t *count, uint64_t *until);

#endif /* FOLIO_THIN_NODE_H */
