/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of a transaction.  commit makes attempts until one succeeds, each of them
 * from what is committed:
 *
 *   extents --> refs --> free tree --> chunks --> flush --> superblocks
 *
 * Each tree is made in one pass over sorted operations (merge.h), and what one pass
 * finds out is an operation of the next: what is not referenced any more, and what is
 * free or not.  The chunks come last, since all that is written takes blocks of them.
 */

#ifndef FOLIO_THIN_TXN_IMPL_H
#define FOLIO_THIN_TXN_IMPL_H

#include "fs/thin/lists.h"
#include "fs/thin/meta-impl.h"
#include "fs/thin/range-map.h"

/* What is kept of each at most before it is applied. */
#define THIN_MAX_EVENTS (1u << 19)
#define THIN_MAX_FREES (1u << 18)

/* Blocks that are to be written. */
#define THIN_BUILD_BLOCKS 256
struct thin_build {
  uint8_t *blocks; /* of THIN_BLOCK bytes */
  uint64_t address[THIN_BUILD_BLOCKS];
  unsigned n;
  uint64_t written; /* nodes, in this attempt */
};

struct thin_txn {
  struct thin_meta *m;

  /* What is to be done. */
  struct range_nodes nodes;
  struct range_map ops;
  uint64_t disk_bytes, store_blocks;
  const struct thin_log_position *log;
  int (*apply) (struct thin_txn *t,
                void *opaque); /* optional: more, in an attempt */
  void *opaque;
  bool report; /* what is freed */

  /* The attempt. */
  struct thin_super super; /* being made */
  uint64_t tree_free;
  uint64_t undone;
  struct thin_build build;
  struct thin_events events;
  struct thin_ranges takes, frees; /* for the free tree */
  struct thin_ranges freed;        /* all of them, if to be reported */
  struct thin_places table;        /* blocks of the new table of chunks */
};

#endif /* FOLIO_THIN_TXN_IMPL_H */
