/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The limit of what may wait for the store, and who waits for room: the
 * configured one, which is hard, or what the flush target makes of it.  Far
 * below it balance.h slows writers down, so that they seldom get here.
 *
 * Two, not one: the limit holds to the page, whatever is known of the store, and
 * alone would stop writers whenever it is reached; the pace, of a connection, is an
 * estimate, and alone would bound nothing.
 */

#ifndef FOLIO_THROTTLE_H
#define FOLIO_THROTTLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/bell.h"
#include "cache/folio/folio.h"
#include "cache/pace/throttle-law.h"
#include "fs/iomap.h"

struct origin;
struct outbox;
struct stats;

struct balance {
  /* The loop thread's. */
  struct throttle_law law;
  struct law_sample sample; /* so far */
  uint64_t last_step;       /* ns */
  uint64_t first_busy;      /* ns, for the first measurement; 0: nothing has
                             * been written yet */

  struct law_limits limits; /* what is in force; changed by the loop thread */

  /* Written above freerun only. */
  _Atomic uint32_t dirtied; /* pages, since the last update */
  _Atomic uint32_t pausing; /* writers that pause */
  _Atomic uint32_t word;    /* futex word of theirs */
};

struct throttle {
  /* Set before throttle_init, and fixed. */
  struct env *env;
  struct folios *folios; /* whose pages are counted */
  struct outbox *outbox;
  struct fs *fs; /* what it has to do is counted, too */
  struct stats *stats;

  /* Pages: dirty, writeback and unstable together; changed by the loop thread if it
   * is configured anew.
   */
  _Atomic uint32_t limit;
  uint32_t background;       /* pages above which write-back begins, unless the
                              * law (balance.h) has lowered it; the loop
                              * thread's */
  _Atomic uint32_t reserved; /* pages promised to writers under way */
  _Atomic uint32_t word;     /* futex word: changes when room was made while
                              * waiters is not 0 */
  _Atomic uint32_t waiters;

  _Atomic uint32_t nr_conns; /* connections, whether they write or not */
  struct balance balance;

  /* What write-back is at, for who makes something dirty. */
  _Atomic bool cleaning; /* there was too much dirty: it has begun */
  _Atomic bool armed;    /* it comes back by itself: there is unsaved data */
};

/* Bytes, of which it is made pages that a throttle can live with. */
extern void throttle_init (struct throttle *throttle, uint64_t limit,
                           uint64_t background);

/* Promise room for `pages' pages (at most throttle_max_chunk) that will become
 * dirty; waits while the limit is reached.  To be given back with
 * throttle_done when they are dirty.  Not with a lock held, nor on the loop
 * thread.  Returns 0, -ESHUTDOWN, or the store's error if nothing can be
 * written back for PATIENCE, or if some of it can't and there is no
 * room for PATIENCE_BOUND; or -ECONNABORTED if it has to wait and the origin's
 * client is gone.
 */
extern int throttle_wait (struct throttle *throttle, struct origin *origin,
                          uint32_t pages);
extern void throttle_done (struct throttle *throttle, uint32_t pages);

/* Most pages to ask for at once now; a power of two. */
extern uint32_t throttle_max_chunk (const struct throttle *throttle);

/* Sleep until room may have been made since word was `seen'.  The caller is counted in
 * waiters.
 */
extern void throttle_sleep (struct throttle *throttle, uint32_t seen);

/* nr_unsaved went down, the limits went up, or it is shutting down. */
extern void throttle_wake (struct throttle *throttle);

/* Pages that wait for the store or for a flush, zeroes among them by what they
 * cost; and that wait for a flush.
 */
static inline uint32_t
throttle_unsaved (const struct throttle *throttle)
{
  return atomic_load (&throttle->folios->nr_unsaved) +
         atomic_load (&throttle->fs->unsaved);
}

static inline uint32_t
throttle_unstable (const struct throttle *throttle)
{
  return atomic_load (&throttle->folios->nr_unstable) +
         atomic_load (&throttle->fs->unstable);
}

/* Has the fs so much left to do that it should begin? */
static inline bool
throttle_fs_over_background (const struct throttle *throttle)
{
  const struct fs *fs = throttle->fs;

  /* In this order: what is unstable only becomes less behind our back. */
  return atomic_load (&fs->unsaved) >
         atomic_load (&fs->unstable) +
           atomic_load_explicit (&throttle->balance.limits.background,
                                 memory_order_relaxed);
}

/* Is there so much unsaved that writers are paced? */
static inline bool
balance_active (const struct throttle *throttle)
{
  /* Relaxed: the limit is a number, from which nothing else is concluded.  The
   * counter is not, for throttle_wake: see count in folio.c.
   */
  return throttle_unsaved (throttle) >
         atomic_load_explicit (&throttle->balance.limits.freerun,
                               memory_order_relaxed);
}

/* Is there so much dirty that it should be written back at once? */
extern bool throttle_over_background (const struct throttle *throttle);

/* Dirty pages have been added: begin write-back if there are too many. */
extern void throttle_dirtied (struct throttle *throttle);

#endif /* FOLIO_THROTTLE_H */
