/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot of a mapping's counters.
 */

#include "cache/request/mapping.h"
#include "cache/life/snapshot.h"

static uint64_t
bytes_of (uint32_t pages)
{
  return (uint64_t) pages << PAGE_SHIFT;
}

void
stats_read (struct mapping *mapping, struct stats_snapshot *s)
{
  struct reclaim *reclaim = mapping->folios.reclaim;
  const struct law_limits *limits = &mapping->throttle.balance.limits;
  unsigned i;

  for (i = 0; i < NR_STATS; i++)
    s->counters[i] = stats_counter (mapping->stats, (enum counter) i);
  for (i = 0; i < NR_HISTOGRAMS; i++)
    stats_distribution (mapping->stats, (enum histogram) i, &s->histograms[i]);
  s->readahead_wasted = reclaim_wasted_readahead (reclaim);
  s->evicted = reclaim_evicted (reclaim);
  s->losses = store_losses (mapping->fs->store);

  s->dirty = bytes_of (atomic_load (&mapping->folios.nr_dirty));
  s->writeback = bytes_of (atomic_load (&mapping->folios.nr_writeback));
  s->unstable = bytes_of (throttle_unstable (&mapping->throttle));
  s->unsaved = bytes_of (throttle_unsaved (&mapping->throttle));
  s->limit = bytes_of (limits->limit);
  s->background = bytes_of (limits->background);
  s->setpoint = bytes_of (law_setpoint (limits));
  s->bandwidth = bytes_of (limits->bandwidth);
  s->cache_size = bytes_of (mapping->folios.arena->nr_pages);
  s->cache_free = bytes_of (atomic_load (&mapping->folios.arena->nr_free));
}
