/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of the metadata.  Files, each over those before it:
 *
 *   lists       of places and ranges
 *   io          blocking I/O
 *   super       headers of blocks, superblocks
 *   node-cache  nodes in memory
 *   node        nodes as they are read and verified; finding a key in a tree
 *   lookup      what a key's extent is, and who shares it
 *   table       chunks and snapshots as tables
 *   cost        what commits may take
 *   chunks      metadata's own space
 *   free-space  free space as data sees it
 *   build       nodes and tables that a transaction writes
 *   merge       a tree and sorted operations become another tree
 *   free-tree, refs, extents  what an operation means in each
 *   txn         the ranges of a transaction, and its commit
 *   snapshot, check, create, meta (open)
 */

#ifndef FOLIO_THIN_META_IMPL_H
#define FOLIO_THIN_META_IMPL_H

#include <pthread.h>

#include "fs/thin/lists.h"
#include "fs/thin/meta.h"
#include "fs/thin/node-cache.h"

/* A chunk of metadata's space: three bitmaps, bit i of which is block start + i.
 *
 *   committed   in use by what was committed last
 *   used        in use by what the transaction makes; the same if there is none
 *   hold        not to be written to: in use by what was committed last, or written
 *               already
 */
struct thin_chunk {
  uint64_t start;
  uint32_t length;
  bool owed;           /* the free tree has it still, in what is being made */
  bool committed_owed; /* in what was committed last, or it is new since */
  bool fresh;          /* that: it is in nothing that was committed */
  bool gone;           /* in what is being made its space is data's */
  uint64_t used[4], committed[4], hold[4];
};

struct thin_chunks {
  struct thin_chunk *list; /* in order */
  size_t n, room;
  size_t hand;              /* where to look for a block first */
  uint64_t available;       /* blocks that can be taken */
  uint64_t blocks;          /* of all chunks, in what is being made */
  uint64_t in_use;          /* of these */
  struct thin_places table; /* the blocks of the table committed last */
  bool loaded;
};

struct thin_meta {
  struct store *store;
  bool readonly;
  uint8_t uuid[16];
  uint64_t limit; /* blocks of the store */
  unsigned fan;   /* entries of a full node: THIN_MAX_ENTRIES but in tests */
  struct thin_cache *cache;
  _Atomic uint64_t last_bad; /* block that was complained of */

  pthread_mutex_t lock;    /* leaf; of what follows */
  struct thin_super super; /* committed; changed by the transaction's thread */
  uint64_t in_use, available; /* blocks of metadata, as of chunks */
  uint64_t nr_chunks;
  uint64_t
    promised; /* ranges for which the cost was asked since thin_meta_expect */

  /* Of the transaction's thread. */
  bool mend_a, mend_b; /* these superblocks are to be written before all else */
  uint64_t last_generation; /* that anything was written with */
  struct thin_chunks chunks;
  uint64_t tree_free; /* blocks in the free tree */
  struct thin_space space;
  uint64_t take_cursor, take_start; /* of thin_meta_take */
  bool take_wrapped;
  struct thin_txn *txn;
};

/* The superblock as committed, for whom is not the transaction's thread. */
static inline void
thin_meta_roots (struct thin_meta *m, struct thin_super *super)
{
  pthread_mutex_lock (&m->lock);
  *super = m->super;
  pthread_mutex_unlock (&m->lock);
}

static inline uint64_t
thin_min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
thin_max (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

#endif /* FOLIO_THIN_META_IMPL_H */
