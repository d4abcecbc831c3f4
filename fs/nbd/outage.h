/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: for how long a server may say nothing.
 */

#ifndef FOLIO_NBD_OUTAGE_H
#define FOLIO_NBD_OUTAGE_H

#include "fs/nbd/state.h"

/* How much longer, in units of `retry', than others what is slow may take. */
#define SLOW_PATIENCE 8

/* Give up if nothing was heard for too long; lose the session if that is so of a
 * part of it.
 */
extern void outage_check (struct nbd_store *nbd, uint64_t now);

/* Is something in flight that may well take long?  The lock is held. */
extern bool slow_in_flight (const struct nbd_store *nbd);

#endif /* FOLIO_NBD_OUTAGE_H */
