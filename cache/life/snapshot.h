/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All counters of a mapping at once, and what there is now.
 */

#ifndef FOLIO_SNAPSHOT_H
#define FOLIO_SNAPSHOT_H

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
};

/* What has been counted so far, and what there is now. */
extern void stats_read (struct mapping *mapping,
                        struct stats_snapshot *snapshot);

#endif /* FOLIO_SNAPSHOT_H */
