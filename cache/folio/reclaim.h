/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Eviction: which clean folio leaves when memory is needed, and the background
 * reclaimer that keeps some pages free.
 *
 * S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson: "FIFO queues are all you need for
 * cache eviction", SOSP 2023): a small probationary queue, a main queue and a
 * ghost table of fingerprints of what has left them; what is not as in the
 * paper stands in reclaim-policy.c.
 *
 * A folio is in a queue from reclaim_add, when it has been put into its index,
 * until it is evicted or reclaim_remove'd.  The queue lock protects queues,
 * links and the ghost table; it is taken after index locks, and only the
 * arena's lock after it.
 */

#ifndef FOLIO_RECLAIM_H
#define FOLIO_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/base/arena.h"

struct reclaim;

#define FREQ_MAX 3 /* hits that a folio is remembered for */

/* What eviction needs of the mappings. */
struct reclaim_ops {
  /* If the folio is clean, unlocked and has no references but its index's and
   * the caller's, take it out of its index, leave it with refs 0 and return
   * true: the caller then frees it.  Otherwise change nothing.  Called without
   * locks; takes the index lock.
   */
  bool (*evict) (void *opaque, struct folio *folio);

  /* Many folios were passed over because they are not clean: begin write-back
   * (and a store flush, if they are only unstable).  Does not wait.
   */
  void (*need_clean) (void *opaque);

  /* If `from' is clean, as large as `to', which is new, and has no references but
   * its index's: copy all of it to `to' and put that in its place, in the index
   * and, between reclaim_begin_move and reclaim_end_move, in its queue; leave it
   * with refs 0 and return true.  The caller frees it after a grace period; the
   * reference of `to' is the index's then.  Otherwise change nothing.  Called
   * without locks; takes the index lock.  May be NULL.
   */
  bool (*move) (void *opaque, struct folio *from, struct folio *to);

  /* On the reclaimer's thread, each time it was woken, without locks: evict
   * ahead of what else than pages may run short.  May be NULL.
   */
  void (*background) (void *opaque);
};

/* The reclaimer keeps about `reserve' pages free once started. */
extern int reclaim_create (struct env *env, struct arena *arena,
                           const struct reclaim_ops *ops, void *opaque,
                           uint32_t reserve, struct reclaim **reclaim);
extern int reclaim_start (struct reclaim *reclaim);
extern void reclaim_destroy (struct reclaim *reclaim);

/* The folio has just been put into its index; the caller holds a reference.
 * cold: brought in by a guess (readahead), so that its coming is no evidence
 * for a place in the main queue.
 */
extern void reclaim_add (struct reclaim *reclaim, struct folio *folio,
                         bool cold);

/* The folio has been taken out of its index by someone else than eviction. */
extern void reclaim_remove (struct reclaim *reclaim, struct folio *folio);

/* The folio was hit. */
static inline void
reclaim_touch (struct folio *folio)
{
  uint8_t freq = atomic_load_explicit (&folio->freq, memory_order_relaxed);

  if (freq < FREQ_MAX)
    atomic_store_explicit (&folio->freq, freq + 1, memory_order_relaxed);
}

static inline bool
reclaim_untouched_page (const struct folio *folio)
{
  return atomic_load_explicit (&folio->order, memory_order_relaxed) == 0 &&
         atomic_load_explicit (&folio->freq, memory_order_relaxed) == 0;
}

/* Sectors [first, last) of the folio were read or written for a client.  No
 * lock; writes only when it changes something.
 *
 * What counts as a hit: a use that begins before the last one's end.  So the
 * first use does not, which is what the folio was brought in for, be it by the
 * use itself or ahead of it; and going once through a large folio, in however
 * many requests, is one use.  A page that several requests fill or read in turn
 * counts for one hit, however many they are: where two requests meet, they do
 * so again the next time (tests/bench/README.trace).
 */
static inline void
reclaim_used (struct folio *folio, unsigned first, unsigned last)
{
  unsigned end = atomic_load_explicit (&folio->used_to, memory_order_relaxed);

  if (last != end)
    atomic_store_explicit (&folio->used_to, (uint16_t) last,
                           memory_order_relaxed);
  if (first < end || (end > 0 && reclaim_untouched_page (folio)))
    reclaim_touch (folio);
}

/* The folio, passed over by eviction while it was not clean (FOLIO_RECLAIM in
 * its flags), is clean now: next to go.
 */
extern void reclaim_rotate (struct reclaim *reclaim, struct folio *folio);

/* A folio of exactly this order, as from arena_alloc.  Without one at hand,
 * evicts a little; with wait, and only for order 0, also sleeps once, until
 * something may have changed.  NULL if there still is none: ask again, or give
 * up.  Wakes the reclaimer when free memory runs low.  Waiting: not on the loop
 * thread and not with a folio locked.
 */
extern struct folio *reclaim_alloc (struct reclaim *reclaim, unsigned order,
                                    bool wait);

/* Try to free about nr pages now; returns how many were. */
extern uint32_t reclaim_pages (struct reclaim *reclaim, uint32_t nr);

/* Try to evict these folios, whatever their turn; takes the caller's reference
 * of each.  Returns how many were evicted.
 */
extern unsigned reclaim_folios (struct reclaim *reclaim, struct folio **folios,
                                unsigned nr);

/* For reclaim_ops.move, index lock held.  If the folio is in a queue and has no
 * reference but one, that goes, and true is returned with the queue lock held
 * until reclaim_end_move.
 */
extern bool reclaim_begin_move (struct reclaim *reclaim, struct folio *from);
extern void reclaim_end_move (struct reclaim *reclaim, struct folio *from,
                              struct folio *to);

/* Wake the reclaimer. */
extern void reclaim_kick (struct reclaim *reclaim);

/* Pages that were read ahead (FOLIO_UNREAD) and evicted unread, so far. */
extern uint64_t reclaim_wasted_readahead (struct reclaim *reclaim);

/* Pages evicted so far. */
extern uint64_t reclaim_evicted (struct reclaim *reclaim);

#endif /* FOLIO_RECLAIM_H */
