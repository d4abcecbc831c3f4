/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a disk is copied to, in either format.
 */

#ifndef FOLIO_IMG_TARGET_H
#define FOLIO_IMG_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "img/attached.h"
#include "img/disk.h"

struct target_options {
  const char *name;
  enum img_format format;
  uint64_t size; /* of the disk, bytes */
  uint64_t
    store_size; /* of a file that is made; 0: enough for all of the disk */
  bool force;   /* it may hold something */
};

struct target {
  struct image image; /* of a raw one just its store, image.at */
  enum img_format format;
  uint64_t size;   /* of the disk, bytes */
  bool blank;      /* what is not written reads as zero */
  uint32_t losses; /* the store's, when the first was written */

  /* Of a thin one. */
  struct thin_txn *txn;
  uint64_t mapped;          /* ranges, in this transaction */
  struct thin_range unused; /* of what was taken in it */
  bool half;                /* it is not whole yet */
};

/* Make it, or open what is there.  Returns 0; or a negative errno, and has said
 * why.
 */
extern int target_open (struct target *t, const struct target_options *o);

/* The range of the disk, whole blocks or up to its end, reads as zero. */
extern int target_zero (struct target *t, uint64_t pos, uint64_t length);

/* Where on the store does [pos, pos+*length) go?  *length may be cut to whole
 * blocks.
 */
extern int target_place (struct target *t, uint64_t pos, uint64_t *length,
                         uint64_t *addr);

/* It was written there. */
extern int target_written (struct target *t, uint64_t pos, uint64_t length,
                           uint64_t addr);

/* Is it time for a commit?  When all that has a place was written. */
extern bool target_is_full (const struct target *t);
extern int target_commit (struct target *t);

/* All has been: make it durable, and valid. */
extern int target_end (struct target *t);

/* Without target_end: a file that was made is gone again, and a store that was there
 * holds no thin disk.
 */
extern void target_close (struct target *t);

#endif /* FOLIO_IMG_TARGET_H */
