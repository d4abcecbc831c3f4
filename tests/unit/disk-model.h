/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a fixture's disk is to hold, for requests at random.
 */

#ifndef DISK_MODEL_H
#define DISK_MODEL_H

#include "cache-fixture.h"
#include "seed.h"

struct disk_model {
  struct fixture *f;
  struct rng rng;
  uint8_t *disk; /* of f's size */
};

/* All of the disk, and of what the store has, is of this version. */
extern struct disk_model *disk_model_start (struct fixture *f, struct rng rng,
                                            unsigned version);

/* Write, zero or trim something of at most `longest' bytes, now and then with FUA. It
 * succeeds; with FUA, only if it must.
 */
extern void disk_model_change (struct disk_model *m, uint64_t longest,
                               bool must);

/* What is read is as it should be; or what the store has. */
extern void disk_model_compare (struct disk_model *m, bool store);

/* Behind a flush that succeeded: both are, and the counters. Frees the model. */
extern void disk_model_end (struct disk_model *m);

#endif /* DISK_MODEL_H */
