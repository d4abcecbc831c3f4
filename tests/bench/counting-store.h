/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store for benchmarks that has no bytes, only counts them: reads leave
 * memory as it was, writes go nowhere.  Each request is done inside submit.
 */

#ifndef FOLIO_COUNTING_STORE_H
#define FOLIO_COUNTING_STORE_H

#include <stdatomic.h>
#include <stdint.h>

#include "fs/store.h"

struct counting_store {
  struct store store;
  _Atomic uint64_t requests[STORE_FLUSH + 1]; /* by enum store_op */
  _Atomic uint64_t bytes[STORE_FLUSH + 1];
};

/* A store of so many bytes, all of it data, in blocks of 512.  Needs nothing
 * closed.
 */
extern void counting_store_init (struct counting_store *counting,
                                 struct env *env, uint64_t size);

#endif /* FOLIO_COUNTING_STORE_H */
