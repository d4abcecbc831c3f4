/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The race: a round.
 */

#ifndef RACE_H
#define RACE_H

#include <pthread.h>

#include "cache/request/mapping.h"
#include "tests/sim/model-oracle.h"
#include "tests/unit/fake-store.h"

#define DISK (512u << 10)
#define MAX_LEN (64u << 10)

enum format { RAW, SHUFFLE, THIN };

struct round {
  struct world *world;
  pthread_mutex_t lock; /* of what follows */
  struct oracle *oracle;

  struct rng rng;
  unsigned ops; /* of each thread */
  enum format format;
  bool tight; /* thin: the store has no room for all of the disk */
  bool losses, faults, forgetful, hang_ups;
  uint64_t hot, hot_size;
  unsigned zeroes; /* percent of changes */
  struct mapping_config config;
  struct fake_store *fake;
  struct mapping *mapping;
};

/* Choose what the round is like, and make its store; rng, format, world and oracle are
 * set.
 */
extern void round_make (struct round *round, struct env *env);

/* Open the format on the store. */
extern struct fs *round_open_fs (struct round *round);

/* From now on requests of the store fail, now and then, and lose data. */
extern void round_inject_faults (struct round *round);

/* So few zeroes may be pending, in raw, that there is often no room for more. */
extern void round_shrink_pending (struct round *round, struct fs *fs);

/* What a disk that is opened on the store now holds: not of the thin format. */
extern void round_read_disk (struct round *round, uint8_t *buf);

#endif /* RACE_H */
