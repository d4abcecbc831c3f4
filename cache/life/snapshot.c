/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot of a mapping's counters.
 */

#include <math.h>

#include "cache/request/mapping.h"
#include "cache/life/snapshot.h"

static uint64_t
bytes_of (uint32_t pages)
{
  return (uint64_t) pages << PAGE_SHIFT;
}

/* What there is now of a mapping's state, its counters apart. */
static void
read_state (struct mapping *mapping, struct stats_snapshot *s)
{
  const struct throttle *throttle = &mapping->throttle;
  const struct outbox *outbox = &mapping->outbox;
  uint64_t now = mapping->env->now (mapping->env);
  uint64_t oldest = atomic_load (&outbox->oldest_dirty);

  if (s->dirty + s->writeback > 0 && oldest != 0 && oldest < now)
    s->oldest_dirty = now - oldest;
  s->conns = atomic_load (&throttle->nr_conns);
  s->throttled = (uint64_t) atomic_load (&throttle->waiters) +
                 atomic_load (&throttle->balance.pausing);
  s->flush_target = atomic_load (&mapping->settings.flush_target);
  s->paused = mapping_is_paused (mapping);
  s->disk_size = mapping->folios.size;
  s->error = -outbox_error (outbox);
  s->away = atomic_load (&mapping->fs->store->away);
}

void
stats_read (struct mapping *mapping, struct stats_snapshot *s)
{
  struct reclaim *reclaim = mapping->folios.reclaim;
  const struct law_limits *limits = &mapping->throttle.balance.limits;
  unsigned i;

  *s = (struct stats_snapshot) { 0 };
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
  read_state (mapping, s);
}

/* What is to be sent, at the store's bandwidth, and one flush of it.  (A page may be
 * unstable and dirty, and zeroes are counted with what is unsaved alone.)
 */
double
stats_flush_seconds (const struct stats_snapshot *s)
{
  const struct stats_distribution *flush = &s->histograms[HIST_STORE_FLUSH];
  uint64_t stable = s->unsaved - min_u64 (s->unsaved, s->unstable);
  uint64_t bytes = max_u64 (stable, s->dirty + s->writeback);
  double seconds = 0;

  if (bytes > 0)
    seconds = s->bandwidth ? (double) bytes / (double) s->bandwidth : NAN;
  if (s->unsaved > 0 && flush->count > 0)
    seconds += (double) flush->sum / (double) flush->count / NSEC_PER_SEC;
  return seconds;
}
