/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests that are under way together, and waited for together.
 */

#ifndef FOLIO_IMG_BATCH_H
#define FOLIO_IMG_BATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "img/attached.h"

struct batch {
  struct env *env;
  _Atomic uint32_t
    left;            /* futex word: how many are under way, and BATCH_OPEN */
  _Atomic int error; /* the first */
};

/* The caller's, until the batch has been waited for. */
struct batch_req {
  struct store_req req;
  struct iovec iov;
  struct batch *batch;
};

extern void batch_begin (struct batch *b, struct env *env);

/* Send a read or write of memory. */
extern void batch_add (struct batch *b, struct batch_req *r, struct attached *a,
                       enum store_op op, uint64_t offset, void *buf,
                       uint64_t length);

/* All are over.  Returns 0 or the first error, negative.  Can be used again then. */
extern int batch_wait (struct batch *b);

#endif /* FOLIO_IMG_BATCH_H */
