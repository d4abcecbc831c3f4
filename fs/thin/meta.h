/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The metadata of a thin image: the trees as they were committed last, and
 * transactions that make new ones of them.
 *
 * What is committed is only read; a transaction builds beside it, and nothing of
 * that is seen before it is durable.  So any number of threads may look things up at
 * any time, while one, the same or another, has a transaction.
 *
 * All addresses and lengths are in blocks of THIN_BLOCK bytes unless a name says
 * bytes: logical ones on the disk, physical ones on the store.  Errors are negative
 * errnos.  -EIO: the store failed, or a block of metadata is not what it has to be
 * (bad, misplaced, stale, of another image), which is logged once.  What blocks does
 * so in the store's I/O: not on the loop thread, and no lock is to be held.
 */

#ifndef FOLIO_THIN_META_H
#define FOLIO_THIN_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/iomap.h"
#include "fs/store.h"
#include "fs/thin/format.h"

struct thin_meta;
struct thin_txn;

struct thin_range {
  uint64_t start, length;
};

typedef void thin_range_fn (void *opaque, uint64_t start, uint64_t length);

/* The root of a tree. */
struct thin_root {
  uint64_t address; /* 0: the tree is empty */
  uint64_t generation;
  unsigned level;
};

/* From where the log is to be replayed. */
struct thin_log_position {
  uint64_t block;    /* of the ring: 0 is its first */
  uint64_t sequence; /* of the record that comes there */
  uint64_t chain;    /* checksum of the record before, 0 at first */
};

/* What the superblock says. */
struct thin_super {
  uint8_t uuid[16];
  uint32_t block_shift;
  uint64_t compat, ro_compat, incompat; /* features */
  uint64_t disk_bytes;
  uint64_t store_blocks; /* known to the format: the store may have more */
  uint64_t log_start, log_blocks;
  uint64_t generation;
  uint64_t snapshot_generation; /* nodes as old as this may be shared */
  struct thin_root extents, free, refs, chunks, snapshots;
  uint64_t free_blocks;       /* that no data and no chunk of metadata is in */
  uint64_t mapped, unwritten; /* blocks of the disk */
  uint64_t metadata_blocks;   /* in chunks, used or not */
  uint64_t snapshot_count;
  uint64_t extents_entries, free_entries,
    refs_entries; /* in the leaves of these trees */
  struct thin_log_position log;
};

/* --- Creating */

struct thin_create {
  uint64_t disk_bytes;   /* at most THIN_MAX_DISK */
  uint32_t block_shift;  /* 0, or THIN_BLOCK_SHIFT: no other is known yet */
  uint64_t log_blocks;   /* 0: as fits the store */
  uint64_t store_blocks; /* to use of the store; 0: all of it */
  const uint8_t *uuid;   /* 16 bytes; NULL: a new one */
};

/* Make an empty image, whatever there was.  The store is attached.  Blocks.  Whenever
 * it is interrupted there is a whole image or none.  -EINVAL, -ENOSPC (the store is
 * too small) or what the store says, with the reason in why.
 */
extern int thin_create (struct store *store, const struct thin_create *what,
                        const struct store_message *why);

/* --- Opening */

/* Are these 4096 bytes, of THIN_SUPER_A or THIN_SUPER_B, a superblock?  For who wants
 * to know what a store is before it is attached.  0, -EINVAL (there is none), -EIO (a
 * bad one) or -ENOTSUP (a newer version's); super is set if 0.
 */
extern int thin_super_decode (const void *block, uint64_t address,
                              struct thin_super *super);

struct thin_open {
  bool readonly;        /* there will be no transaction */
  unsigned cache_nodes; /* of 4 KiB to keep in memory at most; 0: 16384 */
  unsigned fan; /* entries of a full node, at least 4; 0: THIN_MAX_ENTRIES */

  /* The superblocks, if they have been read already; else NULL. */
  const void *super_a, *super_b;
};

/* Open.  The store need not be attached if both superblocks are given: nothing else
 * is read then.  *m is the caller's to close.  Reasons in why.  The newest valid
 * superblock counts; the other is mended when the first transaction begins.
 */
extern int thin_meta_open (struct store *store, const struct thin_open *how,
                           struct thin_meta **m,
                           const struct store_message *why);
extern void thin_meta_close (struct thin_meta *m);

/* What was committed last: a copy.  Any thread. */
extern void thin_meta_super (struct thin_meta *m, struct thin_super *super);

/* Blocks that the store has: more than the superblock says if it has grown. */
extern uint64_t thin_meta_limit (const struct thin_meta *m);

/* --- Looking up */

struct thin_extent {
  uint64_t logical, length;
  enum iomap_type type; /* IOMAP_HOLE, UNWRITTEN or MAPPED */
  uint64_t physical;    /* but for a HOLE */
  bool shared;          /* with a snapshot: not to be written to */
};

/* What the committed tree says of logical, up to length: *e begins there, and has
 * at least 1 and at most length blocks (less where the next may say the same).
 * root: of a snapshot (struct thin_snapshot), or NULL: the disk itself; `shared' is
 * said of the latter alone.  nowait: -EAGAIN if that takes a read of the store; else
 * blocks.  Any thread, several at once, also with a transaction under way.
 */
extern int thin_meta_lookup (struct thin_meta *m, const struct thin_root *root,
                             uint64_t logical, uint64_t length, bool nowait,
                             struct thin_extent *e);

/* Free space of the tree committed last: up to n ranges of at least min_length blocks,
 * in order, from `from' on.  What a transaction has taken or freed and not committed
 * does not count, nor what the caller has taken itself.  Returns how many, or a
 * negative errno; *next is where to go on, UINT64_MAX when the end was reached: there
 * may be few or none long before, so that no call takes long.  Blocks.
 */
extern int thin_meta_find_free (struct thin_meta *m, uint64_t from,
                                uint64_t min_length, struct thin_range *ranges,
                                unsigned n, uint64_t *next);

/* --- Transactions
 *
 *   begin -> map, hole, zero_keep, ... in any order -> commit or abort
 *
 * One at a time, by one thread; all block.  Nothing is read or written before commit
 * but what mends a superblock in begin.  Of ranges that overlap the last one counts.
 * (In order of the disk they are cheapest.)
 */

/* Where space for metadata comes from: asked during commit for a range of free data
 * space, on its thread, of up to `want' blocks, 256 at most: long ranges are worth more,
 * though 1 will do.  It is the metadata's from then on, whatever
 * comes of the transaction.  Returns 0 or -ENOSPC.  The ranges must be free in the
 * committed tree, and neither handed out before since nor freed since.
 */
struct thin_space {
  int (*take) (void *opaque, uint64_t want, struct thin_range *range);
  void *opaque;
};

/* Who allocates data must say here where metadata gets its space; else it comes from
 * thin_meta_take, as then must all data's.
 */
extern void thin_meta_set_space (struct thin_meta *m,
                                 const struct thin_space *space);

/* The simplest allocator, for who has no other: a range of up to `want' blocks, and
 * at least 1, that is not handed out again before the next commit.  (What of it is
 * not mapped in the next commit is free then.)  -ENOSPC: perhaps not any more after
 * a commit.  Blocks; the thread of transactions.
 */
extern int thin_meta_take (struct thin_meta *m, uint64_t want,
                           struct thin_range *range);

extern int thin_txn_begin (struct thin_meta *m, struct thin_txn **t);

/* The range is at physical from now on, which was free.  What was there before is not
 * referenced any more.  Space that is superseded within the transaction stays free.
 * -EINVAL: not on the disk or the store; -ENOMEM.
 */
extern int thin_txn_map (struct thin_txn *t, uint64_t logical, uint64_t length,
                         uint64_t physical, bool unwritten);

extern int thin_txn_hole (struct thin_txn *t, uint64_t logical,
                          uint64_t length);

/* What has space of its own becomes UNWRITTEN there, all else (holes, what is shared)
 * is a HOLE.
 */
extern int thin_txn_zero_keep (struct thin_txn *t, uint64_t logical,
                               uint64_t length);

/* The disk's size in bytes; what is beyond becomes a hole. */
extern int thin_txn_resize (struct thin_txn *t, uint64_t disk_bytes);

/* The store has grown: use so many blocks of it. */
extern int thin_txn_grow (struct thin_txn *t, uint64_t store_blocks);

/* Make it all durable, and what is looked up from then on.  log: from where it is to
 * be replayed from now on, or NULL: as before.  freed: called for data space that
 * nothing refers to any more, after that; it is free in the committed tree then (so
 * that find_free says so as well), as is what was superseded.  The transaction is over, whatever is
 * returned: after an error nothing has changed as far as this program goes, and the
 * same can be tried again.  (After a power cut it may be there: neither what it would
 * have freed nor what it has mapped may be used otherwise before a later commit has
 * succeeded.)  -ENOSPC: no space for metadata.
 */
extern int thin_txn_commit (struct thin_txn *t,
                            const struct thin_log_position *log,
                            thin_range_fn *freed, void *opaque);

extern void thin_txn_abort (struct thin_txn *t);

/* The most blocks of free data space that metadata may take until so many more ranges
 * are committed, by whatever number of transactions, failed ones among them: the worst
 * case.  What is left of it after each is enough for the rest.  A chunk is not given back
 * while it may be needed for as many ranges as anybody has asked about.  Any thread, cheap.
 */
extern uint64_t thin_meta_cost (struct thin_meta *m, uint64_t ops);

/* Only so many are left of these. */
extern void thin_meta_expect (struct thin_meta *m, uint64_t ops);

/* --- Snapshots: no transaction is open, and the log is empty.  They block. */

struct thin_snapshot {
  char name[THIN_NAME_MAX + 1];
  struct thin_root root;
  uint64_t disk_bytes;
  uint64_t created;           /* seconds since 1970 */
  uint64_t mapped, unwritten; /* blocks */
  uint64_t entries;           /* in the leaves */
};

/* -EINVAL: not a name (1 to 63 bytes, no control characters, no '/'); -EEXIST;
 * -ENOENT.
 */
extern int thin_snapshot_create (struct thin_meta *m, const char *name,
                                 uint64_t now);
extern int thin_snapshot_delete (struct thin_meta *m, const char *name);
extern int thin_snapshot_revert (struct thin_meta *m, const char *name);
extern int thin_snapshot_find (struct thin_meta *m, const char *name,
                               struct thin_snapshot *s);

/* All of them, in order of creation.  *list is to be freed. */
extern int thin_snapshot_list (struct thin_meta *m, struct thin_snapshot **list,
                               size_t *n);

/* How many blocks would be free if it was deleted. */
extern int thin_snapshot_usage (struct thin_meta *m,
                                const struct thin_snapshot *s,
                                uint64_t *blocks);

/* --- Checking */

struct thin_check {
  /* One thing that is wrong, as a line for people. */
  void (*problem) (void *opaque, const char *message);
  /* One that is not as it should be, but was to be expected after a power cut, or is
   * made good by its copy.  Optional.
   */
  void (*note) (void *opaque, const char *message);
  /* So many blocks of metadata of so many have been looked at, now and then.
   * Optional.  Not 0: stop with -ECANCELED.
   */
  int (*progress) (void *opaque, uint64_t done, uint64_t total);
  void *opaque;

  /* Results. */
  uint64_t problems, notes;
  uint64_t nodes; /* distinct ones, of all trees */
  uint64_t extents;
};

/* Read all that is reachable, verify it, and hold free space, reference counts,
 * chunks and counters against it.  Memory grows with the number of extents.  Blocks.
 * 0 if it came through, with what was found in the results; else a negative errno.
 */
extern int thin_check (struct thin_meta *m, struct thin_check *check);

#endif /* FOLIO_THIN_META_H */
