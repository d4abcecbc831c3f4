/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the thread that makes sessions when they are wanted.
 */

#ifndef FOLIO_NBD_CONNECTOR_H
#define FOLIO_NBD_CONNECTOR_H

#include "fs/nbd/state.h"

/* Start its thread, which makes a first session at once.  Returns 0 or a
 * negative errno.
 */
extern int connector_start (struct nbd_store *nbd);

/* End it.  It stops connecting and negotiating at once, but a resolver that is
 * looking for the host's address has to be waited for.
 */
extern void connector_stop (struct nbd_store *nbd);

/* Have a session made, after a pause if asked for.  The lock is held. */
extern void connector_want (struct nbd_store *nbd, bool pause);

/* Close its connections with a goodbye, and free it.  No thread is inside. */
extern void session_close (struct session *session);

#endif /* FOLIO_NBD_CONNECTOR_H */
