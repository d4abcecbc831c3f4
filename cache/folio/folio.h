/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Folios: the state of their sectors, and their lock.
 *
 * Each page has a word of four masks of 8 sectors:
 *
 *   uptodate   memory holds what a client should read
 *   dirty      acknowledged, not yet sent to the store
 *   writeback  a copy of it is being sent to the store
 *   unstable   the store said "written"; no store flush that began later has
 *              succeeded yet
 *
 * dirty, writeback and unstable imply uptodate.  A sector written again while
 * it is being sent, or before the flush, is dirty besides; one that is zeroed
 * while it is being sent is nothing, and not in writeback any more.  The state of a
 * folio is derived from its pages' masks, never stored:
 *
 *   state       dirty wb  unst.  tags in the index       may leave
 *   clean         -    -    -    -                       yes
 *   dirty         x    -    -    DIRTY (TOWRITE)         no
 *   writeback     -    x    -    WRITEBACK               no
 *   redirtied     x    x    -    DIRTY, WRITEBACK        no
 *   unstable      -    -    x    UNSTABLE                no
 *   (any other mix: the union of its tags)               no
 *
 * TOWRITE is only set along with DIRTY.  Eviction leaves a folio that it
 * found not clean in its queue, flagged FOLIO_RECLAIM.
 *
 * Transitions, each made by folio_transition and by nothing else:
 *
 *   FOLIO_FILLED     + uptodate                folio lock
 *   FOLIO_WRITTEN    + uptodate, dirty         folio lock
 *   FOLIO_WB_BEGIN   dirty, unstable ->        folio lock; loop thread
 *                    writeback
 *   FOLIO_WB_DONE    writeback -> unstable     loop thread
 *   FOLIO_WB_FAILED  writeback -> dirty        loop thread; also when a flush
 *                                              failed, or the store lost
 *                                              something, meanwhile
 *   FOLIO_WB_DURABLE writeback -> clean        loop thread; sent with FUA
 *   FOLIO_FLUSHED    unstable -> clean         loop thread
 *   FOLIO_LOST       unstable -> dirty         loop thread, or range
 *   FOLIO_DROPPED    -> nothing                range and folio lock; of what is
 *                                              clean, folio lock
 *   FOLIO_ZEROED     -> nothing                none: by a zero, which its iomap
 *                                              knows already, and which waits for
 *                                              nobody
 *   FOLIO_OVERTAKEN  -> nothing, but for       the same, of a client that is gone:
 *                    what is dirty             that may be newer
 *
 * "range": the caller holds the range (ranges.h), so that no write-back of it
 * is under way.  Masks and tags change together under the index lock; they are
 * read without.
 *
 * Locks, in the order in which they are taken:
 *
 *   range (ranges.h) > folio lock > index lock > queue lock > arena lock
 *
 * The extent map's lock, the inbox's lock (inbox.h) and the stores' own are
 * leaves.  Of these only a range and the folio lock may be held across store
 * I/O.  Folio locks of several folios are taken in the order of their
 * indexes, or by trylock; the loop thread uses nothing but trylock.  The lock
 * of a folio being filled is handed over to the store's completion.
 */

#ifndef FOLIO_FOLIO_H
#define FOLIO_FOLIO_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/base/arena.h"
#include "fs/bell.h"
#include "cache/folio/ranges.h"
#include "cache/folio/sectors.h"
#include "cache/folio/watch.h"
#include "fs/env.h"

struct index;
struct reclaim;

/* All folios of a disk. */
struct folios {
  struct env *env;
  struct arena *arena;     /* theirs */
  struct index *index;     /* all that are in memory */
  struct reclaim *reclaim; /* their eviction */
  const struct bell *bell; /* of the disk's loop thread */
  struct ranges ranges;    /* on which something is being done to the store */
  struct ranges direct;   /* that are being zeroed, or written past the cache */
  struct watches watches; /* reads under way */
  uint64_t size;          /* bytes of the disk */
  uint64_t nr_pages;      /* pages, the last one may be partial */

  /* Pages with any such sector; changed under the index lock, read without. */
  _Atomic uint32_t nr_dirty, nr_writeback, nr_unstable, nr_unsaved;

  /* How often something unstable became dirty because the store has, or may have,
   * something else there.
   */
  _Atomic uint32_t overwritten;

  /* How often folios_zero_range was called: before it drops anything. */
  _Atomic uint32_t zeroes;
};

/* folio->flags */
#define FOLIO_READAHEAD 0x1u /* hitting it starts the next readahead window */
#define FOLIO_UNREAD 0x2u    /* brought in by readahead, not read since */
#define FOLIO_RECLAIM 0x4u   /* eviction passed it over, not being clean */
#define FOLIO_WANTED 0x8u    /* the loop thread found it locked */

/* The masks of one page, as kept in its state word. */
#define STATE_UPTODATE_SHIFT 0
#define STATE_DIRTY_SHIFT 8
#define STATE_WRITEBACK_SHIFT 16
#define STATE_UNSTABLE_SHIFT 24
#define STATE_UNSAVED UINT32_C (0xffffff00) /* any of the last three */

enum folio_transition {
  FOLIO_FILLED,
  FOLIO_WRITTEN,
  FOLIO_WB_BEGIN,
  FOLIO_WB_DONE,
  FOLIO_WB_FAILED,
  FOLIO_WB_DURABLE,
  FOLIO_FLUSHED,
  FOLIO_LOST,
  FOLIO_DROPPED,
  FOLIO_ZEROED,
  FOLIO_OVERTAKEN,
};

/* Make the transition for sectors [first, last) of the folio, counted from
 * its start, set and clear its tags and the disk's counters to match.
 * Takes the index lock.  The caller holds a reference.  A folio that is no
 * longer in the index stays as it is: whoever has neither its lock nor the
 * range may come too late.  Returns true if the folio was not clean before and is now.
 */
extern bool folio_transition (struct folios *folios, struct folio *folio,
                              unsigned first, unsigned last,
                              enum folio_transition transition);

/* FOLIO_FILLED, unless the sectors have been zeroed since the watch began. */
extern void folio_filled (struct folios *folios, struct folio *folio,
                          unsigned first, unsigned last,
                          const struct watch *watch);

/* FOLIO_WRITTEN, if the first `head' sectors and the last `tail', of which only a
 * part was written, are still uptodate.  Returns whether they are.
 */
extern bool folio_written (struct folios *folios, struct folio *folio,
                           unsigned first, unsigned last, unsigned head,
                           unsigned tail);

/* Is the bit in the mask at shift set for all sectors [first, last)?  folio_all_set
 * looks page by page; what lies in one page, as of most hits, is decided here.
 */
extern bool folio_all_set (const struct arena *arena, const struct folio *folio,
                           unsigned first, unsigned last, unsigned shift);

static inline bool
folio_sectors_set (const struct arena *arena, const struct folio *folio,
                   unsigned first, unsigned last, unsigned shift)
{
  unsigned page = first / SECTORS_PER_PAGE;
  uint32_t mask;

  if ((last - 1) / SECTORS_PER_PAGE != page)
    return folio_all_set (arena, folio, first, last, shift);
  mask = folio_mask (first, last) << shift;
  /* Acquire, with change_state: who sees a sector uptodate sees its data. */
  return (atomic_load_explicit (arena_state (arena, folio) + page,
                                memory_order_acquire) &
          mask) == mask;
}

/* Are all sectors [first, last) of the folio uptodate?  No lock: what is true
 * stays true while they are not dropped or zeroed, and their data is visible.
 */
static inline bool
folio_uptodate (const struct arena *arena, const struct folio *folio,
                unsigned first, unsigned last)
{
  return folio_sectors_set (arena, folio, first, last, STATE_UPTODATE_SHIFT);
}

/* Are all of them dirty?  Stable under the folio lock, but for a zero: what is
 * written over them then has come before it.
 */
static inline bool
folio_dirty (const struct arena *arena, const struct folio *folio,
             unsigned first, unsigned last)
{
  return folio_sectors_set (arena, folio, first, last, STATE_DIRTY_SHIFT);
}

/* The first sector in [first, last) that is in any of the masks; or, unless value,
 * in none of them.  last if there is none.
 */
extern unsigned folio_find_sector (const struct arena *arena,
                                   const struct folio *folio, unsigned first,
                                   unsigned last, uint32_t masks, bool value);

/* masks, a bit for each, at its shift. */
#define IN_UPTODATE (UINT32_C (1) << STATE_UPTODATE_SHIFT)
#define IN_DIRTY (UINT32_C (1) << STATE_DIRTY_SHIFT)
#define IN_WRITEBACK (UINT32_C (1) << STATE_WRITEBACK_SHIFT)
#define IN_UNSTABLE (UINT32_C (1) << STATE_UNSTABLE_SHIFT)
#define IN_UNSAVED (IN_DIRTY | IN_WRITEBACK | IN_UNSTABLE)

/* Is any byte of it in [start, end) of the disk unsaved?  What is dirty may have been
 * unstable: that is forgotten when it is taken again to be written, and then can't be.
 */
extern bool folio_in_doubt (const struct arena *arena,
                            const struct folio *folio, uint64_t start,
                            uint64_t end);

/* How many of the pages that sectors [first, last) lie in have no dirty sector.
 */
extern unsigned folio_pages_not_dirty (const struct arena *arena,
                                       const struct folio *folio,
                                       unsigned first, unsigned last);

/* Is any sector dirty, in writeback or unstable? */
extern bool folio_unsaved (const struct arena *arena,
                           const struct folio *folio);

/* What folio->dirtied is measured by: units of 10 ms, which wrap. */
static inline uint32_t
folio_clock (struct env *env)
{
  return (uint32_t) (env->now (env) / (10 * NSEC_PER_MSEC));
}

/* Is it (still) in an index?  Stable only under its lock. */
static inline bool
folio_mapped (const struct folio *folio)
{
  return atomic_load_explicit (&folio->mapping, memory_order_acquire) != 0;
}

/* --- the folio lock: bit and futex in one word (Drepper, "Futexes are
 * tricky", mutex 2) ---
 *
 * The loop thread only tries, and those who write the same folio again and again
 * would have it locked whenever that comes round.  So who unlocks one that it has
 * found locked (FOLIO_WANTED) leaves the turn to it:
 *
 *   UNLOCKED          anybody
 *   LOCKED            its owner
 *   CONTENDED         the same; somebody sleeps until it is unlocked
 *   TURN              the loop thread; others wait for that once, for a moment:
 *                     it may not want it any more
 */

#define FOLIO_UNLOCKED 0u
#define FOLIO_LOCKED 1u
#define FOLIO_CONTENDED 2u
#define FOLIO_TURN 3u

static inline bool
folio_trylock (struct folio *folio)
{
  uint32_t expected = FOLIO_UNLOCKED;

  return atomic_compare_exchange_strong (&folio->lock, &expected, FOLIO_LOCKED);
}

static inline bool
folio_locked (const struct folio *folio)
{
  uint32_t lock = atomic_load (&folio->lock);

  return lock == FOLIO_LOCKED || lock == FOLIO_CONTENDED;
}

/* On the loop thread: whether it is its turn or not.  If the folio is locked, the
 * bell rings when it is unlocked.
 */
extern bool folio_trylock_wanted (struct folio *folio);

/* Not on the loop thread.  Returns whether it was slept for. */
extern bool folio_lock (struct env *env, struct folio *folio);

/* By whoever has the lock now, which need not be the thread that took it. */
extern void folio_unlock (struct folios *folios, struct folio *folio);

/* --- data --- */

/* Copy between a folio's memory and elsewhere, where a reader without the
 * lock may copy out while a writer copies in (and gets old or new bytes).
 */
extern void folio_copy_in (void *folio_data, const void *src, size_t n);
extern void folio_zero (void *folio_data, size_t n);
extern void folio_copy_out (void *dst, const void *folio_data, size_t n);

#endif /* FOLIO_FOLIO_H */
