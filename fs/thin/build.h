/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks that a transaction writes.  They are written many at a time, and are not to be
 * read before thin_build_drain.
 */

#ifndef FOLIO_THIN_BUILD_H
#define FOLIO_THIN_BUILD_H

#include "fs/thin/node.h"
#include "fs/thin/txn-impl.h"

/* Write a node of these items; *ref becomes the entry that its parent has of it. */
extern int thin_build_node (struct thin_txn *t, enum thin_tree tree,
                            unsigned level, const struct thin_item *items,
                            unsigned n, struct thin_item *ref);

/* Have at least n blocks in places. */
extern int thin_build_places (struct thin_txn *t, struct thin_places *places,
                              uint64_t n);

/* Write a table of n entries on blocks, which are as many as it takes, or more. */
extern int thin_build_table (struct thin_txn *t, enum thin_table kind,
                             const void *entries, size_t n, size_t size,
                             const struct thin_places *blocks,
                             struct thin_root *root);

/* Wait until all is written. */
extern int thin_build_drain (struct thin_txn *t);

#endif /* FOLIO_THIN_BUILD_H */
