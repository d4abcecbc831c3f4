/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * I/O on the store: how the cache submits reads and writes, and counts what comes of
 * them.  In what order requests have their turn is the store's affair
 * (fs/store-queue.h), of which the cache knows STORE_BACKGROUND and STORE_AWAITED.
 */

#ifndef FOLIO_STORE_IO_H
#define FOLIO_STORE_IO_H

#include "cache/base/stats.h"
#include "fs/store.h"

/* Submit requests, noting when.  Any thread. */
extern void store_io_submit (struct store *store, struct store_req **reqs,
                             unsigned n);

/* A request so submitted, or whose `submitted' the caller has set, is over.
 * READ, WRITE and FLUSH are counted, others ignored.
 */
extern void store_io_done (struct stats *stats, struct env *env,
                           const struct store_req *req, int error);

/* Have length bytes at addr read into buf, or written from it, and wait for that.
 * Returns 0 or a negative errno.  Not on the loop thread.
 */
extern int store_io_wait (struct stats *stats, struct store *store,
                          enum store_op op, unsigned flags, uint64_t addr,
                          void *buf, uint64_t length);

#endif /* FOLIO_STORE_IO_H */
