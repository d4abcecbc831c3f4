/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: what the server says of holes.
 */

#ifndef FOLIO_NBD_STATUS_H
#define FOLIO_NBD_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "fs/store.h"

/* An internal request that asks for block status: a READ with this flag, its
 * iov_base a struct status_answer.
 */
#define STATUS_QUESTION 0x80000000u

struct status_run {
  uint32_t length, state;
};

struct status_answer {
  unsigned losses;        /* of sessions that were asked */
  size_t n, room;         /* of run */
  struct status_run *run; /* the asker's to free when he has his answer */
};

/* The session by which the request was sent is lost.  Should it be a question
 * for block status, and not the first session that ends so: is it to remain
 * without an answer?
 */
extern bool status_hopeless (struct store_req *req);

extern int nbd_store_block_status (struct store *store, uint64_t offset,
                                   uint64_t length, store_extent_fn *fn,
                                   void *opaque);

/* libnbd's callback for extents; opaque is the struct status_answer. */
extern int status_on_extents (void *opaque, const char *context,
                              uint64_t offset, uint32_t *entries, size_t n,
                              int *error);

#endif /* FOLIO_NBD_STATUS_H */
