/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests come in, are sent, answered, and done.
 */

#ifndef FOLIO_NBD_IO_H
#define FOLIO_NBD_IO_H

#include "fs/nbd/requests.h"
#include "fs/nbd/state.h"

extern void nbd_store_submit (struct store *store, struct store_req **reqs,
                              unsigned n);

extern void nbd_store_resume (struct store *store, int error);

/* Send what can be sent.  The lock is held, but not all of the time. */
extern void requests_pump (struct nbd_store *nbd, struct store_list *done);

/* Take the answers that have come, and go on.  The loop thread, no lock. */
extern void requests_collect (struct nbd_store *nbd);

/* All that is in flight goes back to the queue, but flushes end with
 * -ECONNRESET.  The loop thread; the lock is held; no session.
 */
extern void requests_requeue (struct nbd_store *nbd, struct store_list *done);

#endif /* FOLIO_NBD_IO_H */
