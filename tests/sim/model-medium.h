/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The bytes of a model store, which outlive it: what is durable, and above that
 * for each sector all versions written since.  A read sees the newest.  When
 * power is cut, any of them may be what is left, of each sector on its own; so
 * what the device wrote back by itself meanwhile, in whatever order, and how
 * large writes were torn, are all among the outcomes.
 */

#ifndef MODEL_MEDIUM_H
#define MODEL_MEDIUM_H

#include "fs/store.h"
#include "model-world.h"

#define MEDIUM_SECTOR 512u
#define MEDIUM_GRAIN 4096u /* of what is a hole */

/* What a sector held at a time since it was last durable. */
struct medium_version {
  struct medium_version *older;
  uint64_t seq; /* counts changes of the medium */
  bool doomed;  /* no flush will make it durable, though reads see it */
  uint8_t data[MEDIUM_SECTOR];
};

struct medium {
  struct world *world;
  uint64_t size; /* bytes */
  uint64_t sectors;
  uint64_t seq;
  uint8_t *durable;                 /* whole sectors */
  struct medium_version **versions; /* of each sector, the newest first */
  uint32_t *changed;                /* sectors that have some ... */
  size_t nr_changed;                /* ... so many */
  uint8_t *extents;                 /* an enum store_extent a grain */
  struct medium_version *unused;
};

/* All zeroes, and holes. */
extern struct medium *medium_create (struct world *world, uint64_t size);
extern void medium_destroy (struct medium *m);

/* Offsets and lengths in bytes; what is past the end reads as zero and is not
 * written.
 */
extern void medium_read (struct medium *m, uint64_t offset, void *buf,
                         uint64_t length);

/* Do the request, a WRITE, ZERO or TRIM; with percent below 100, only so much
 * of it, sector by sector.
 */
extern void medium_apply (struct medium *m, const struct store_req *req,
                          unsigned percent);

/* What was changed up to seq in the range is durable. */
extern void medium_flush (struct medium *m, uint64_t seq, uint64_t offset,
                          uint64_t length);

/* Power is cut: whole disks of sectors keep the oldest version or the newest,
 * or each keeps any, as chance has it.
 */
extern void medium_cut (struct medium *m);

/* What the kernel makes of a failed fsync: nothing of what has not reached the
 * disk will be written by the next one, though reads still see it.
 */
extern void medium_doom (struct medium *m);

/* What is known of the byte at offset, and of how many after it. */
extern enum store_extent medium_extent (const struct medium *m, uint64_t offset,
                                        uint64_t *length);

#endif /* MODEL_MEDIUM_H */
