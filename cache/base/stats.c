/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Counters: see stats.h.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/base/stats.h"

_Thread_local unsigned stats_thread;

void
stats_new_thread (void)
{
  static _Atomic unsigned threads;

  /* Relaxed: any number will do. */
  stats_thread = atomic_fetch_add_explicit (&threads, 1, memory_order_relaxed) %
                   STATS_SLOTS +
                 1;
}

struct stats *
stats_create (void)
{
  struct stats *stats = aligned_alloc (_Alignof(struct stats), sizeof *stats);

  if (stats)
    *stats = (struct stats) { 0 };
  return stats;
}

void
stats_destroy (struct stats *stats)
{
  free (stats);
}

static unsigned
bucket_of (uint64_t value)
{
  unsigned bits = value ? 64 - (unsigned) __builtin_clzll (value) : 0;

  return bits < HIST_BUCKETS ? bits : HIST_BUCKETS - 1;
}

void
stats_failed (struct stats *stats, int r)
{
  if (r != -ECONNABORTED) /* nobody is there for whom it has */
    stats_add (stats, STAT_FAILED, 1);
}

void
stats_note (struct stats *stats, enum histogram histogram, uint64_t value)
{
  struct stats_histogram *h = &stats->histograms[histogram];
  /* All relaxed, as in stats_add. */
  uint64_t max = atomic_load_explicit (&h->max, memory_order_relaxed);

  atomic_fetch_add_explicit (&h->buckets[bucket_of (value)], 1,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&h->sum, value, memory_order_relaxed);
  while (max < value &&
         !atomic_compare_exchange_weak_explicit (
           &h->max, &max, value, memory_order_relaxed, memory_order_relaxed))
    ;
}

void
stats_written (struct stats *stats, unsigned folios, uint64_t bytes, bool again)
{
  stats_note (stats, HIST_MERGE, folios);
  if (again) {
    stats_add (stats, STAT_RETRIES, 1);
    stats_add (stats, STAT_RETRY_BYTES, bytes);
  }
}

/* --- reading --- */

uint64_t
stats_counter (struct stats *stats, enum counter counter)
{
  uint64_t n = 0;
  unsigned i;

  /* Relaxed, as in stats_add. */
  for (i = 0; i < STATS_SLOTS; i++)
    n += atomic_load_explicit (&stats->slots[i].cells[counter],
                               memory_order_relaxed);
  return n;
}

void
stats_distribution (struct stats *stats, enum histogram histogram,
                    struct stats_distribution *d)
{
  struct stats_histogram *h = &stats->histograms[histogram];
  unsigned i;

  /* Relaxed, as in stats_add. */
  d->count = 0;
  for (i = 0; i < HIST_BUCKETS; i++) {
    d->buckets[i] = atomic_load_explicit (&h->buckets[i], memory_order_relaxed);
    d->count += d->buckets[i];
  }
  d->sum = atomic_load_explicit (&h->sum, memory_order_relaxed);
  d->max = atomic_load_explicit (&h->max, memory_order_relaxed);
}

const char *
stats_counter_name (enum counter counter)
{
  static const char *const names[] = {
    [STAT_READS] = "reads",
    [STAT_READ_BYTES] = "read-bytes",
    [STAT_WRITES] = "writes",
    [STAT_WRITE_BYTES] = "write-bytes",
    [STAT_ZEROES] = "zeroes",
    [STAT_ZERO_BYTES] = "zero-bytes",
    [STAT_TRIMS] = "trims",
    [STAT_TRIM_BYTES] = "trim-bytes",
    [STAT_PREFETCHES] = "prefetches",
    [STAT_PREFETCH_BYTES] = "prefetch-bytes",
    [STAT_EXTENTS] = "extents",
    [STAT_EXTENTS_BYTES] = "extents-bytes",
    [STAT_DIRECT_READS] = "direct-reads",
    [STAT_DIRECT_READ_BYTES] = "direct-read-bytes",
    [STAT_DIRECT_WRITES] = "direct-writes",
    [STAT_DIRECT_WRITE_BYTES] = "direct-write-bytes",
    [STAT_FLUSHES] = "flushes",
    [STAT_FUA] = "fua",
    [STAT_FAILED] = "failed",
    [STAT_MISSES] = "misses",
    [STAT_READAHEAD_PAGES] = "readahead-pages",
    [STAT_READAHEAD_USED] = "readahead-used",
    [STAT_STORE_READS] = "store-reads",
    [STAT_STORE_READ_BYTES] = "store-read-bytes",
    [STAT_STORE_READ_ERRORS] = "store-read-errors",
    [STAT_STORE_WRITES] = "store-writes",
    [STAT_STORE_WRITE_BYTES] = "store-write-bytes",
    [STAT_STORE_WRITE_ERRORS] = "store-write-errors",
    [STAT_STORE_ZEROES] = "store-zeroes",
    [STAT_STORE_ZERO_BYTES] = "store-zero-bytes",
    [STAT_STORE_ZERO_ERRORS] = "store-zero-errors",
    [STAT_STORE_FLUSHES] = "store-flushes",
    [STAT_STORE_FLUSH_ERRORS] = "store-flush-errors",
    [STAT_RETRIES] = "retries",
    [STAT_RETRY_BYTES] = "retry-bytes",
  };
  _Static_assert(sizeof names / sizeof names[0] == NR_STATS, "a name missing");

  return names[counter];
}

const char *
stats_histogram_name (enum histogram histogram)
{
  static const char *const names[] = {
    [HIST_STORE_READ] = "store-read",
    [HIST_STORE_WRITE] = "store-write",
    [HIST_STORE_FLUSH] = "store-flush",
    [HIST_FLUSH] = "flush",
    [HIST_PAUSE] = "pause",
    [HIST_MERGE] = "folios-per-write",
  };
  _Static_assert(sizeof names / sizeof names[0] == NR_HISTOGRAMS,
                 "a name missing");

  return names[histogram];
}
