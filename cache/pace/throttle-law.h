/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The control law of write-back: at what rate a connection may make pages
 * dirty.  Pure arithmetic: no clock, no sleep, no lock, so that it is tested by
 * simulation.  After Linux's mm/page-writeback.c in its ideas and names.
 *
 *   0        background      freerun     setpoint      limit
 *   |------------|--------------|------------|------------|---> unsaved pages
 *     no write-back   nobody paced    faster     slower
 *
 *   freerun        = (background + limit) / 2
 *   setpoint       = (freerun + limit) / 2
 *   position ratio = 1 + ((setpoint - unsaved) / (limit - setpoint))^3, kept
 *                    in [0, 2]: 2 at freerun, 1 at the setpoint, 0 at the limit
 *   rate           = base rate * position ratio: what each connection gets
 *
 * The base rate is learnt.  While all N writing connections together make pages
 * dirty at D = N * rate, what the store takes, bandwidth, is shared out evenly
 * by a base rate of rate * bandwidth / D = bandwidth / N, without N being known;
 * and connections that take less than their share leave the rest to others.
 *
 * The limit, with a flush target, is also what the store takes in that time.
 *
 * Units: pages, and nanoseconds where nothing else is said.
 */

#ifndef FOLIO_THROTTLE_LAW_H
#define FOLIO_THROTTLE_LAW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a pause aims at: less is left to add up.  What it is at most. */
#define LAW_PAUSE (10 * NSEC_PER_MSEC)
#define LAW_PAUSE_MAX (200 * NSEC_PER_MSEC)

/* A write of more than so many pages may pause for that long once for each so
 * many of it, up to LAW_PAUSES times: else a few large writes side by side would
 * fill the room that slow stores make faster than they make it.
 */
#define LAW_PAGES 8
#define LAW_PAUSES 5

/* How often law_update should be called. */
#define LAW_INTERVAL (200 * NSEC_PER_MSEC)

/* How far a connection that paused for thought may fall behind its clock: what
 * it did not use of its share in that time, it may use later.
 */
#define LAW_CREDIT LAW_PAUSE_MAX

/* What writers need of the law; see the drawing.  They read it while it changes, one
 * member after the other: whoever gets some of an update and not all paces a page or
 * two by numbers that do not fit.
 */
struct law_limits {
  _Atomic uint32_t background, freerun, limit; /* pages */
  _Atomic uint32_t unstable;  /* pages: more of them are worth a store flush */
  _Atomic uint32_t base;      /* pages a second; 0: not known yet */
  _Atomic uint32_t bandwidth; /* of the store, likewise */
  _Atomic uint64_t pause_max; /* ns, at most LAW_PAUSE_MAX */
};

/* What has happened since the last update. */
struct law_sample {
  uint64_t elapsed; /* ns */
  uint64_t busy;    /* ns of these, in which the store was at work */
  uint32_t written; /* pages that the store has written */
  uint32_t dirtied; /* pages made dirty while above freerun */
  uint32_t unsaved; /* pages dirty, in write-back or unstable now */
  uint32_t conns;   /* connections, whether they write or not */
  bool saturated;   /* the store could not have had more to do */
};

struct throttle_law {
  double max_limit, max_background; /* pages; as configured last */
  double flush_target;              /* seconds; 0: off */

  double limit;     /* pages; moves */
  double falling;   /* by so many pages a second */
  double bandwidth; /* pages a second, over about 3 s; 0: not known */
  double recent;    /* the same over about 1 s */
  double base;      /* pages a second; 0: not known */
  double position;  /* the ratio at the last update */
  double busy;      /* seconds not accounted for in bandwidth yet */
  double written;   /* pages likewise */
  bool bound;       /* the flush target is what limits */
};

/* limit, background: pages, limit > background. */
extern void law_init (struct throttle_law *law, uint32_t limit,
                      uint32_t background, uint64_t flush_target);

/* Another configuration is in force; what has been learnt stays.  A limit that falls
 * while so many pages are unsaved that writers are paced moves with the updates that
 * follow, and so does what is unsaved.
 */
extern void law_configure (struct throttle_law *law, uint32_t limit,
                           uint32_t background, uint64_t flush_target,
                           uint32_t unsaved);

/* Learn from a sample. */
extern void law_update (struct throttle_law *law,
                        const struct law_sample *sample);

/* What is to be in force now. */
extern void law_limits (const struct throttle_law *law,
                        struct law_limits *limits);

extern uint32_t law_setpoint (const struct law_limits *limits);

/* In [0, 2]. */
extern double law_position (const struct law_limits *limits, uint32_t unsaved);

/* How many pages a connection may make dirty between two looks at its clock: at
 * least 1, at most about the root of what is left up to the limit, and not more
 * than a fraction of a pause is for.
 */
extern uint32_t law_poll (const struct law_limits *limits, uint32_t unsaved);

/* A connection's clock says until when (ns) what it has made dirty is paid for.
 * It runs ahead of the time by what is owed, and falls back behind it by what is
 * still to its credit.
 */

/* How long (ns) a write of `pages' pages may pause in all, if one of LAW_PAGES
 * may pause for `pause'.
 */
extern uint64_t law_pause_most (uint64_t pause, uint64_t pages);

/* The clock after `pages' pages more.  Never further ahead than such a write may
 * pause.
 */
extern uint64_t law_charge (const struct law_limits *limits, uint32_t unsaved,
                            uint64_t clock, uint64_t now, uint32_t pages);

/* How long (ns) to pause before a write of `pages' pages goes on; 0: it is too
 * little yet.
 */
extern uint64_t law_pause (const struct law_limits *limits, uint64_t clock,
                           uint64_t now, uint32_t pages);

#endif /* FOLIO_THROTTLE_LAW_H */
