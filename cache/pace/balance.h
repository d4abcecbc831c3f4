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

#include "cache/pace/throttle-law.h"

struct conn;
struct mapping;
struct origin;

/* struct law_limits, changed by the loop thread and read by writers.  Members
 * are read one by one: whoever gets some of an update and not all paces a page
 * or two by numbers that do not fit.
 */
struct balance_limits {
  _Atomic uint32_t background, freerun, limit, unstable, base, bandwidth;
  _Atomic uint64_t pause_max;
};

struct balance {
  /* The loop thread's. */
  struct throttle_law law;
  struct law_sample sample; /* so far */
  uint64_t last_step;       /* ns */
  uint64_t first_busy;      /* ns, for the first measurement; 0: nothing has
                             * been written yet */

  struct balance_limits limits;

  /* Written above freerun only. */
  _Atomic uint32_t dirtied; /* pages, since the last update */
  _Atomic uint32_t pausing; /* writers that pause */
  _Atomic uint32_t word;    /* futex word of theirs */
};

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

/* limit, background: pages; flush_target: ns, 0: off. */
extern void balance_init (struct balance *balance, uint32_t limit,
                          uint32_t background, uint64_t flush_target);

/* Pause, if the write's connection has made too much dirty, and be promised room
 * for `pages' pages more, at most throttle_max_chunk: see throttle_wait, and for
 * when to call it.  All pauses of a write together are not longer than
 * law_pause_most says; with BDP_NOWAIT there are none.  Returns 0; or, with nothing
 * promised, what throttle_wait does, or with BDP_NOWAIT -EAGAIN where it would
 * have to wait.
 */
#define BDP_NOWAIT 0x1u
extern int balance_dirty_pages_ratelimited (struct mapping *mapping,
                                            struct pacing *pacing,
                                            uint32_t pages, unsigned flags);

/* The write has made so many pages dirty that were not, above freerun. */
extern void balance_dirtied (struct mapping *mapping, struct pacing *pacing,
                             uint32_t pages);

/* nr_unsaved went down, the limits went up, or it is shutting down. */
extern void balance_wake (struct mapping *mapping);

/* --- loop thread --- */

/* A step of write-back begins at time now. */
extern void balance_step (struct mapping *mapping, uint64_t now);

/* The store has written so many pages. */
extern void balance_written (struct mapping *mapping, uint32_t pages);

/* When (ns) a step should be made though nothing else happens; ENV_FOREVER. */
extern uint64_t balance_deadline (const struct mapping *mapping);

/* What is in force now; any thread. */
extern void balance_limits (const struct mapping *mapping,
                            struct law_limits *limits);

/* Have the store's written pages become so many that they should be flushed? */
extern bool balance_wants_flush (const struct mapping *mapping);

/* More than this (pages) is to be written back. */
extern uint32_t balance_background (const struct mapping *mapping);

#endif /* FOLIO_BALANCE_H */
