/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Counters: what a mapping has done since it was made.
 *
 * Counting is for any thread and takes no lock.  Counters that hits change are
 * spread over slots, a few cache lines each, which threads get in turn and
 * keep.  So a hit seldom writes a line that another hit is writing; threads that
 * got the same slot, STATS_SLOTS others later, may.  Histograms are
 * not spread: what they measure takes far longer than a cache miss.
 *
 * Values are exact, but are read one after the other while others count: two
 * that belong together may differ by what is under way.
 */

#ifndef FOLIO_STATS_H
#define FOLIO_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum counter {
  /* Clients' requests that are over, each followed by its bytes. */
  STAT_READS,
  STAT_READ_BYTES,
  STAT_WRITES,
  STAT_WRITE_BYTES,
  STAT_ZEROES,
  STAT_ZERO_BYTES,
  STAT_TRIMS,
  STAT_TRIM_BYTES,
  STAT_PREFETCHES,
  STAT_PREFETCH_BYTES,
  STAT_EXTENTS,
  STAT_EXTENTS_BYTES,
  /* Reads and writes that took the direct path, already among the above. */
  STAT_DIRECT_READS,
  STAT_DIRECT_READ_BYTES,
  STAT_DIRECT_WRITES,
  STAT_DIRECT_WRITE_BYTES,

  STAT_FLUSHES,
  STAT_FUA,    /* writes, zeroes and trims among the above with FUA */
  STAT_FAILED, /* of all the above, those that failed, but for those of clients
                * that were gone */
  STAT_MISSES, /* reads through the cache that had to wait for the store, or
                * failed */

  STAT_READAHEAD_PAGES, /* read ahead */
  STAT_READAHEAD_USED,  /* pages of folios of these that were read then */

  /* The store's requests that are over, their bytes, and how many failed. */
  STAT_STORE_READS,
  STAT_STORE_READ_BYTES,
  STAT_STORE_READ_ERRORS,
  STAT_STORE_WRITES,
  STAT_STORE_WRITE_BYTES,
  STAT_STORE_WRITE_ERRORS,
  STAT_STORE_ZEROES, /* and trims */
  STAT_STORE_ZERO_BYTES,
  STAT_STORE_ZERO_ERRORS,
  STAT_STORE_FLUSHES,
  STAT_STORE_FLUSH_ERRORS,

  /* Of these writes: their data is to be written again, because they failed, or
   * because of a failed flush or a loss while they were under way.
   */
  STAT_RETRIES,
  STAT_RETRY_BYTES,
  NR_STATS
};

/* Distributions.  Times are in ns. */
enum histogram {
  HIST_STORE_READ,  /* time: from submission until it is done */
  HIST_STORE_WRITE, /* time */
  HIST_STORE_FLUSH, /* time */
  HIST_FLUSH,       /* time that a client's flush took */
  HIST_PAUSE,       /* time that a write paused for the store */
  HIST_MERGE,       /* folios that went into one store write */
  NR_HISTOGRAMS
};

/* Bucket 0 counts zeroes, bucket i the values from 2^(i-1) to 2^i - 1, the last
 * one also all that are larger (in ns: from 275 s on).
 */
#define HIST_BUCKETS 40

/* --- counting --- */

#define STATS_SLOTS 64 /* a power of two */

struct stats_slot {
  _Atomic uint64_t cells[NR_STATS];
} __attribute__ ((aligned (64)));

struct stats_histogram {
  _Atomic uint64_t buckets[HIST_BUCKETS];
  _Atomic uint64_t sum, max;
} __attribute__ ((aligned (64)));

struct stats {
  struct stats_slot slots[STATS_SLOTS];
  struct stats_histogram histograms[NR_HISTOGRAMS];
};

/* All zero; NULL without memory. */
extern struct stats *stats_create (void);
extern void stats_destroy (struct stats *stats);

/* The thread's slot plus 1; 0: it has none yet. */
extern _Thread_local unsigned stats_thread;
extern void stats_new_thread (void);

/* The counters of this thread's slot. */
static inline _Atomic uint64_t *
stats_cells (struct stats *stats)
{
  if (stats_thread == 0)
    stats_new_thread ();
  return stats->slots[stats_thread - 1].cells;
}

static inline void
stats_add (struct stats *stats, enum counter counter, uint64_t n)
{
  /* Relaxed: a number, from which nothing else is concluded. */
  atomic_fetch_add_explicit (&stats_cells (stats)[counter], n,
                             memory_order_relaxed);
}

/* A request of a client's has failed. */
extern void stats_failed (struct stats *stats, int r);

/* A request of a client's is over: counter is its kind, r what it returns. */
static inline void
stats_request (struct stats *stats, enum counter counter, uint64_t bytes, int r)
{
  _Atomic uint64_t *cells = stats_cells (stats);

  /* Relaxed, as in stats_add. */
  atomic_fetch_add_explicit (&cells[counter], 1, memory_order_relaxed);
  atomic_fetch_add_explicit (&cells[counter + 1], bytes, memory_order_relaxed);
  if (r < 0)
    stats_failed (stats, r);
}

extern void stats_note (struct stats *stats, enum histogram histogram,
                        uint64_t value);

/* A store write of so many folios is over; again: not for good. */
extern void stats_written (struct stats *stats, unsigned folios, uint64_t bytes,
                           bool again);

/* --- reading --- */

struct stats_distribution {
  uint64_t buckets[HIST_BUCKETS];
  uint64_t count, sum, max;
};

extern uint64_t stats_counter (struct stats *stats, enum counter counter);
extern void stats_distribution (struct stats *stats, enum histogram histogram,
                                struct stats_distribution *distribution);

/* What a counter or histogram is called, in lower case and with hyphens. */
extern const char *stats_counter_name (enum counter counter);
extern const char *stats_histogram_name (enum histogram histogram);

#endif /* FOLIO_STATS_H */
