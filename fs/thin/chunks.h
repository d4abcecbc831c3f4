/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The space of metadata: chunks of up to 256 blocks, each with a bitmap.  It is apart
 * from that of data, so that what is written of a commit needs no entry in the free
 * tree that is being written.  A chunk that has just been taken is `owed': the free
 * tree has it until a commit takes it out there.
 *
 * All is of the transaction's thread.
 */

#ifndef FOLIO_THIN_CHUNKS_H
#define FOLIO_THIN_CHUNKS_H

#include "fs/thin/meta-impl.h"

/* Read the table, unless that has been done.  Blocks. */
extern int thin_chunks_load (struct thin_meta *m);
extern void thin_chunks_free (struct thin_meta *m);

/* The first chunk that ends behind a block: its index, or n. */
extern size_t thin_chunks_reaching (const struct thin_chunks *c,
                                    uint64_t block);

/* The chunk that has a block, or NULL. */
extern struct thin_chunk *thin_chunks_of (struct thin_chunks *c,
                                          uint64_t block);

/* Is the i-th block of a chunk in that bitmap? */
static inline bool
thin_chunk_bit (const uint64_t *bits, uint64_t i)
{
  return bits[i / 64] >> (i % 64) & 1;
}

/* A block to write to; takes another chunk if there is none, which may block.
 * -ENOSPC.
 */
extern int thin_chunks_alloc (struct thin_meta *m, uint64_t *block);

/* A block that is not used any more in what is being made.  -EIO: it was not.  What was
 * written in this attempt is written to again: in none of the trees, and drained.
 */
extern int thin_chunks_release (struct thin_meta *m, uint64_t block);

/* Take a chunk that is not used at all out, if there are more free blocks than are
 * worth keeping.
 */
extern bool thin_chunks_shrink (struct thin_meta *m, struct thin_range *range,
                                bool *owed);

/* What was being made is committed; or was given up: its blocks are written to again
 * only when the superblocks are as before.
 */
extern void thin_chunks_committed (struct thin_meta *m);
extern void thin_chunks_rollback (struct thin_meta *m);

/* For a repair, which makes the trees anew: of all chunks these blocks are in use and no
 * others; no chunk is owed, since free space is made without; but those are that have
 * been taken for what is being made.
 */
extern void thin_chunks_use_only (struct thin_meta *m,
                                  const struct thin_events *blocks);
extern void thin_chunks_settle_debts (struct thin_meta *m);
extern void thin_chunks_owe_fresh (struct thin_meta *m);

/* thin_meta_take as a thin_space's; opaque is the metadata. */
extern int thin_meta_take_any (void *opaque, uint64_t want,
                               struct thin_range *range);

/* The table's entries: n of them, to be freed.  NULL: no memory. */
extern struct thin_chunk_entry *
thin_chunks_encode (const struct thin_chunks *c);

#endif /* FOLIO_THIN_CHUNKS_H */
