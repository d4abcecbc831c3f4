/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a transaction does to each of the trees.
 */

#ifndef FOLIO_THIN_TREES_H
#define FOLIO_THIN_TREES_H

#include "fs/thin/txn-impl.h"

/* What is in t->takes is not free any more, what is in t->frees is; chunks that are
 * owed are taken out.  -EIO: something is free that should not be, or the reverse.
 */
extern int thin_free_apply (struct thin_txn *t);

/* There is one reference more, or less, to these blocks, of data or one node. */
extern int thin_refs_add (struct thin_txn *t, uint64_t start, uint64_t length,
                          int change);

/* Have that done.  What nothing refers to any more is in t->frees. */
extern int thin_refs_apply (struct thin_txn *t);

/* References to a block that is in use, as of what has been applied.  Blocks. */
extern int thin_refs_count (struct thin_txn *t, uint64_t block, uint64_t end,
                            uint64_t *count, uint64_t *until);

/* May what was written with this generation have more than one? */
static inline bool
thin_refs_maybe (const struct thin_txn *t, uint64_t generation)
{
  return t->super.refs.address && generation <= t->super.snapshot_generation;
}

/* Do what t->ops say. */
extern int thin_extents_apply (struct thin_txn *t);

#endif /* FOLIO_THIN_TREES_H */
