/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Thin images for the unit tests, on a store in memory, and a plain array to hold them
 * against: what each block of the disk, and of each snapshot, has to be.
 */

#ifndef FOLIO_TESTS_THIN_WORLD_H
#define FOLIO_TESTS_THIN_WORLD_H

#include "fs/thin/meta.h"
#include "tests/tools/util.h"
#include "tests/unit/fake-store.h"

#define WORLD_SNAPSHOTS 4

/* A block of the disk. */
struct world_block {
  uint8_t type; /* enum iomap_type */
  uint64_t physical;
};

/* Whole disks, as they should be. */
struct world_model {
  uint64_t blocks; /* of the disk */
  struct world_block *disk;
  char names[WORLD_SNAPSHOTS][8]; /* "": there is none */
  struct world_block *snapshots[WORLD_SNAPSHOTS];
};

struct world {
  struct env env;
  struct fake_store *fake;
  uint64_t blocks; /* of the disk */
  unsigned fan;    /* entries of a node */
  unsigned nodes;  /* of the cache */
  struct thin_meta *m;
  struct world_model now;  /* with what was committed last */
  struct world_model next; /* with the transaction under way */
  struct rng rng;
  bool quiet; /* expected errors are not logged */
  enum {
    WORLD_RANDOM,
    WORLD_MAPS,
    WORLD_HOLES,
    WORLD_ZEROES,
    WORLD_WRITES
  } pattern; /* of most ranges: blocks one by one, so far apart */
  uint64_t step, stripe;

  /* At the strike-th request from now on (0: none) the store loses what is not
   * flushed; or all of them fail from that on (cut), until world_crash.
   */
  unsigned strike;
  bool cut, dead;
  uint64_t
    torn; /* bytes: end of the superblock that was written and not flushed */
  struct store_ops ops;
  const struct store_ops *real;
};

extern void world_start (struct world *w, uint64_t seed, uint64_t store_blocks,
                         uint64_t disk_blocks, unsigned fan);
/* The same, of random sizes: now and then there is hardly any space. */
extern void world_start_random (struct world *w, uint64_t seed);
extern void world_stop (struct world *w);

/* Close, and open again.  Returns what opening did. */
extern int world_reopen (struct world *w);

/* Power is lost, and a superblock that was being written may be garbage then; the store
 * works again.
 */
extern void world_crash (struct world *w);

/* What failed was done after all. */
extern void world_take_next (struct world *w);

/* A commit without changes: after it nothing is in doubt. */
extern void world_settle (struct world *w);

/* A transaction of up to n random ranges.  Returns what commit did; the model is as
 * before if it failed.  -ENOSPC where there is no room is as good as 0: then it is not
 * committed.
 */
extern int world_transaction (struct world *w, unsigned n);

/* One of n ranges; -ENOSPC is that. */
extern int world_ranges (struct world *w, unsigned n);

/* Something done with snapshots; as world_transaction. */
extern int world_snapshot (struct world *w);

/* Nothing is wrong with the image, or the test ends. */
extern void world_check (struct world *w);

/* Is everything as `model' says: each block, who shares it, and what is free?  Ends the
 * test if not, or returns false.
 */
extern void world_verify (struct world *w);
extern bool world_is (struct world *w, const struct world_model *model);

#endif /* FOLIO_TESTS_THIN_WORLD_H */
