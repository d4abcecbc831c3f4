/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * balance_dirty_pages: who makes pages dirty faster than the store can write
 * them pauses for it.  The law (throttle-law.h) says for how long; here is what
 * it is fed with, and the pausing.  Below freerun there is one comparison.
 *
 * The pace is kept by connection, on one clock for all its requests, however
 * many run side by side.  What was made dirty is charged after it is, by the
 * pages that were not dirty before, and paid for before more is.
 */

#ifndef FOLIO_BALANCE_H
#define FOLIO_BALANCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct origin;
struct throttle;

/* The pace of one connection. */
struct pace {
  _Atomic uint64_t clock;  /* see law_charge */
  _Atomic uint32_t unpaid; /* pages not charged yet */
  _Atomic uint32_t poll;   /* from how many on they are */
};

/* One write that is being paced. */
struct pacing {
  struct origin *origin; /* of the write; or NULL */
  struct pace *pace;     /* the connection's; NULL: of one that is not paced */
  uint64_t count;        /* bytes of the whole write */
  uint64_t paused;       /* ns so far */
};

/* After throttle_init.  flush_target: ns, 0: off. */
extern void balance_init (struct throttle *throttle, uint64_t flush_target);

/* Pause, if the write's connection has made too much dirty, and be promised room
 * for `pages' pages more, at most throttle_max_chunk: see throttle_wait, and for
 * when to call it.  All pauses of a write together are not longer than
 * law_pause_most says.  Returns 0; or, with nothing promised, what throttle_wait
 * does.
 */
extern int balance_dirty_pages_ratelimited (struct throttle *throttle,
                                            struct pacing *pacing,
                                            uint32_t pages);

/* The write has made so many pages dirty that were not, above freerun. */
extern void balance_dirtied (struct throttle *throttle, struct pacing *pacing,
                             uint32_t pages);

/* --- loop thread --- */

/* Have another configuration in force: bytes as for throttle_init, ns. */
extern void balance_configure (struct throttle *throttle, uint64_t limit,
                               uint64_t background, uint64_t flush_target);

/* A step of write-back begins at time now.  at_work: since the last one the store
 * has been.
 */
extern void balance_step (struct throttle *throttle, uint64_t now,
                          bool at_work);

/* The store has written so many pages. */
extern void balance_written (struct throttle *throttle, uint32_t pages);

/* When (ns) a step should be made though nothing else happens; ENV_FOREVER. */
extern uint64_t balance_deadline (const struct throttle *throttle,
                                  bool at_work);

/* Have the store's written pages become so many that they should be flushed? */
extern bool balance_wants_flush (const struct throttle *throttle);

#endif /* FOLIO_BALANCE_H */
