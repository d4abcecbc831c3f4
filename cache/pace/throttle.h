/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The limit of what may wait for the store, and who waits for room: the
 * configured one, which is hard, or what the flush target makes of it.  Far
 * below it balance.h slows writers down, so that they seldom get here.
 */

#ifndef FOLIO_THROTTLE_H
#define FOLIO_THROTTLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mapping;
struct origin;

struct throttle {
  uint32_t limit;            /* pages: dirty, writeback and unstable together */
  uint32_t background;       /* pages above which write-back begins, unless the
                              * law (balance.h) has lowered it */
  _Atomic uint32_t reserved; /* pages promised to writers under way */
  _Atomic uint32_t word;     /* futex word: changes when room was made while
                              * waiters is not 0 */
  _Atomic uint32_t waiters;
};

extern void throttle_init (struct throttle *throttle, uint64_t limit,
                           uint64_t background);

/* Promise room for `pages' pages (at most throttle_max_chunk) that will become
 * dirty; waits while the limit is reached.  To be given back with
 * throttle_done when they are dirty.  Not with a lock held, nor on the loop
 * thread.  Returns 0, -ESHUTDOWN, or the store's error if nothing can be
 * written back for THROTTLE_PATIENCE, or if some of it can't and there is no
 * room for THROTTLE_BOUND; or -ECONNABORTED if it has to wait and the origin's
 * client is gone; with nowait, -EAGAIN where it would wait.
 */
#define THROTTLE_PATIENCE (10 * NSEC_PER_SEC)
#define THROTTLE_BOUND (60 * NSEC_PER_SEC)
extern int throttle_wait (struct mapping *mapping, struct origin *origin,
                          uint32_t pages, bool nowait);
extern void throttle_done (struct mapping *mapping, uint32_t pages);

/* Why a writer that has waited for room or memory since then (ns) should not
 * wait any longer: as throttle_wait returns it, or 0.
 */
extern int throttle_give_up (struct mapping *mapping, uint64_t since);

/* Most pages to ask for at once now; a power of two. */
extern uint32_t throttle_max_chunk (const struct mapping *mapping);

/* nr_unsaved went down. */
extern void throttle_wake (struct mapping *mapping);

#endif /* FOLIO_THROTTLE_H */
