/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Tables: chunks and snapshots, read and written whole.  The blocks of the lowest
 * level have entries of one size each, one behind the other; a block above has an
 * entry for each of those below, whose key is the number of entries before it.
 */

#ifndef FOLIO_THIN_TABLE_H
#define FOLIO_THIN_TABLE_H

#include "fs/thin/lists.h"
#include "fs/thin/meta-impl.h"

/* Bytes of a block for entries. */
#define THIN_TABLE_BYTES (THIN_BLOCK - sizeof (struct thin_block_header))

/* No table has more blocks. */
#define THIN_TABLE_MAX 65536

/* How many blocks a table of n entries takes, and its level. */
extern uint64_t thin_table_blocks (size_t n, size_t entry_size,
                                   unsigned *level);

/* Read a table: *entries is to be freed, blocks gets their places.  Blocks.  -EIO: it
 * is not valid, and has been complained of.
 */
extern int thin_table_read (struct thin_meta *m, enum thin_table kind,
                            const struct thin_root *root, size_t entry_size,
                            void **entries, size_t *n,
                            struct thin_places *blocks);

#endif /* FOLIO_THIN_TABLE_H */
