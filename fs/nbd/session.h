/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: sessions begin and end.  All of it is the loop thread's, without
 * the lock.
 */

#ifndef FOLIO_NBD_SESSION_H
#define FOLIO_NBD_SESSION_H

#include "fs/nbd/state.h"

/* Begin with a session that the connector has made.  Returns false if there is none;
 * its connections are to be watched if there is.
 */
extern bool session_install (struct nbd_store *nbd);

/* End the session if it is lost and no thread is inside. */
extern void session_end (struct nbd_store *nbd);

#endif /* FOLIO_NBD_SESSION_H */
