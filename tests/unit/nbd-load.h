/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Random requests to an NBD store, of several threads, against a shadow of what
 * the disk is to hold.
 */

#ifndef NBD_LOAD_H
#define NBD_LOAD_H

#include "tests/tools/util.h"
#include "tests/unit/nbd-rig.h"

/* The disk has this many bytes, and is all zero at first. */
#define LOAD_DISK (16 * MIB)

/* Requests in flight at most. */
#define LOAD_MOST 16u

struct nbd_load;

/* Start threads that make requests, so many rounds of them each, or, if rounds
 * is 0, until told to stop.
 */
extern struct nbd_load *nbd_load_start (struct nbd_rig *rig, struct rng *rng,
                                        unsigned rounds);

/* How many requests are done so far. */
extern uint64_t nbd_load_done (struct nbd_load *load);

/* Let the threads come to their end; check that all went well, but that flushes
 * may have met a loss, and that the disk is as its shadow; and free.
 */
extern void nbd_load_stop (struct nbd_load *load);

#endif /* NBD_LOAD_H */
