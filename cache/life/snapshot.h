/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All counters of a mapping at once, and what there is now.
 */

#ifndef FOLIO_SNAPSHOT_H
#define FOLIO_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/base/stats.h"

struct mapping;

/* Plain numbers.  Bytes unless it says otherwise. */
struct stats_snapshot {
  uint64_t counters[NR_STATS];
  struct stats_distribution histograms[NR_HISTOGRAMS];

  /* Since the mapping was made; pages. */
  uint64_t readahead_wasted, evicted; /* of all the cache's mappings */
  uint64_t losses; /* times that the store may have lost what was unflushed */

  /* Now. */
  uint64_t dirty, writeback, unstable; /* pages with such sectors */
  uint64_t unsaved;                    /* with any of the three */
  uint64_t limit, background;          /* thresholds for that, in force now */
  uint64_t setpoint;                   /* what pacing aims at */
  uint64_t bandwidth;                  /* a second, of the store; 0: unknown */
  uint64_t cache_size, cache_free;     /* folio memory */
  uint64_t disk_size;
  uint64_t conns;
  uint64_t throttled; /* writes that wait for the store now */
  uint64_t
    oldest_dirty; /* ns, the age of the oldest that a periodic pass has seen
                          * and that may still be dirty; 0: nothing */
  uint64_t flush_target; /* ns; 0: off */
  int error;             /* why something cannot be written back, an errno; 0 */
  bool away;             /* the store is out of reach */
  bool paused;           /* write-back is */
};

/* How long (seconds) a flush would take now, by what is known of the store: NAN if
 * that is nothing.
 */
extern double stats_flush_seconds (const struct stats_snapshot *snapshot);

/* What has been counted so far, and what there is now. */
extern void stats_read (struct mapping *mapping,
                        struct stats_snapshot *snapshot);

#endif /* FOLIO_SNAPSHOT_H */
