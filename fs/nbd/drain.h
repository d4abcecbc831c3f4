/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the connections of a lost session.  All of it is the loop
 * thread's, without the lock.
 */

#ifndef FOLIO_NBD_DRAIN_H
#define FOLIO_NBD_DRAIN_H

#include "fs/nbd/state.h"

/* Drain what was the session, of which all answers that have come are collected.
 * What is in flight is to be requeued.
 */
extern void drain_begin (struct nbd_store *nbd, struct session *session);

/* Forget sessions of which no connection is left; if there is none, writes may
 * go on.
 */
extern void drain_sweep (struct nbd_store *nbd);

/* Drop those that have been drained for too long. */
extern void drain_check (struct nbd_store *nbd, uint64_t now);

/* Drop all of them. */
extern void drain_stop (struct nbd_store *nbd);

#endif /* FOLIO_NBD_DRAIN_H */
