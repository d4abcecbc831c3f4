/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside of eviction.
 */

#ifndef FOLIO_RECLAIM_INSIDE_H
#define FOLIO_RECLAIM_INSIDE_H

#include "cache/folio/folio.h"
#include "cache/base/lock-order.h"
#include "cache/folio/reclaim-policy.h"
#include "cache/folio/reclaim.h"

struct reclaim {
  struct env *env;
  struct arena *arena;
  const struct reclaim_ops *ops;
  void *opaque;
  uint32_t reserve;

  pthread_mutex_t lock; /* the queue lock */
  struct policy policy;

  _Atomic uint64_t wasted, evicted; /* pages */

  _Atomic uint32_t wanted; /* order that was last asked for in vain; 0: none */

  _Atomic uint32_t skip; /* calls of reclaim_want_block to leave out */
  /* The reclaimer's thread. */
  uint32_t backoff; /* the same after the next failure */
  uint32_t hand;    /* page where blocks are looked for next */

  pthread_t thread;
  bool started;
  _Atomic bool stopping;
  _Atomic uint32_t kicked; /* futex word: the reclaimer has work */
};

static inline void
queue_lock (struct reclaim *reclaim)
{
  lock_order_took (RANK_QUEUE);
  pthread_mutex_lock (&reclaim->lock);
}

static inline void
queue_unlock (struct reclaim *reclaim)
{
  pthread_mutex_unlock (&reclaim->lock);
  lock_order_gave (RANK_QUEUE);
}

static inline uint32_t
reclaim_free_pages (const struct reclaim *reclaim)
{
  return atomic_load_explicit (&reclaim->arena->nr_free, memory_order_relaxed);
}

/* As reclaim_pages.  *busy is set if one that is clean would not go: someone has a
 * reference for a moment.
 */
extern uint32_t reclaim_evict (struct reclaim *reclaim, uint32_t nr,
                               bool *busy);

/* Something may have become possible for those who wait for memory.  What made
 * it so came before under the queue or the arena's lock; a sleeper counts
 * itself before it looks under these locks, so either it saw that or is seen.
 */
extern void reclaim_wake_sleepers (struct reclaim *reclaim);

/* A folio of this order could not be had at once: have the reclaimer see to it
 * that others can.
 */
extern void reclaim_want_block (struct reclaim *reclaim, unsigned order);

/* If that was called, have memory for a few such folios at hand, or for smaller
 * ones.  The reclaimer's thread.
 */
extern void reclaim_prepare_blocks (struct reclaim *reclaim);

/* Try to make a free block of this order by moving what is in the way to other
 * free pages.  Looks at a bounded number of places.  Returns true if it made one,
 * which others may have taken already.  The reclaimer's thread; may wait for a
 * grace period.
 */
extern bool reclaim_block (struct reclaim *reclaim, unsigned order);

#endif /* FOLIO_RECLAIM_INSIDE_H */
