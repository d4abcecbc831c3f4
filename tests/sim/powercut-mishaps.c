/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What goes wrong besides power cuts.
 */

#include <errno.h>

#include "powercut.h"

#define CHANGES (1u << STORE_WRITE | 1u << STORE_ZERO | 1u << STORE_TRIM)

/* Between one mishap and the next, in ns. */
#define MISHAP_MIN 20000

bool
mishap_excuses (const struct run *run, int error)
{
  unsigned faults = run->config.faults;

  if (error == -ENOSPC)
    return run->tight || faults & FAULT_WRITES;
  if (error == -EHOSTDOWN)
    return faults & FAULT_OUTAGES;
  /* A store that restarts is only slow, but for what it had no copy of. */
  if (run->config.mapping.mode != CACHE_NONE &&
      !run->config.mapping.sequential_cutoff)
    faults &= ~FAULT_RESTARTS;
  return error == -EIO && faults;
}

/* Some requests will fail: one, a few, or all until it is well again; somewhere
 * or everywhere.
 */
static void
add_rule (struct run *run, unsigned ops)
{
  struct world *w = run->world;
  bool flush = ops == 1u << STORE_FLUSH;
  struct model_rule rule = {
    .ops = ops,
    .error = ops == CHANGES && world_chance (w, 30) ? -ENOSPC : -EIO,
    .skip = (uint32_t) world_below (w, flush ? 3 : 30),
    .count = world_chance (w, 50)                ? 1
             : world_chance (w, flush ? 90 : 50) ? 1 + world_below (w, 20)
                                                 : MODEL_FOR_EVER,
    .percent = world_chance (w, 50) ? 100 : 1 + (unsigned) world_below (w, 99),
  };

  if (!flush && world_chance (w, 60)) {
    rule.offset = world_below (w, run->medium->size);
    rule.length = rng_log (&w->rng, 256 << 10);
  }
  faults_add (&run->store->faults, &rule);
  world_note (w, "A RULE", rule.offset, rule.length, rule.error);
}

static void
restart (struct run *run)
{
  struct world *w = run->world;
  bool outage = run->config.faults & FAULT_OUTAGES && world_chance (w, 20);

  model_store_restart (run->store, rng_log (&w->rng, 5 * NSEC_PER_SEC),
                       outage ? rng_log (&w->rng, NSEC_PER_SEC) : ENV_FOREVER);
}

static void
change_speed (struct run *run)
{
  struct world *w = run->world;

  run->store->config.bandwidth =
    (UINT64_C (1) << 20) * (1 + world_below (w, 500));
  world_note (w, "SPEED CHANGES", 0, 0, (int64_t) run->store->config.bandwidth);
}

/* One of the kinds that the run has. */
static void
go_wrong (struct run *run)
{
  unsigned kind = (unsigned) world_below (run->world, 4), i;

  for (i = 0; i < 4 && !(run->config.faults & 1u << kind); i++)
    kind = (kind + 1) % 4;
  switch (run->config.faults & 1u << kind) {
  case FAULT_WRITES: add_rule (run, CHANGES); break;
  case FAULT_READS: add_rule (run, 1u << STORE_READ); break;
  case FAULT_FLUSHES: add_rule (run, 1u << STORE_FLUSH); break;
  case FAULT_RESTARTS: restart (run); break;
  }
}

static void
mishap (void *opaque)
{
  struct run *run = opaque;

  switch (world_below (run->world, 6)) {
  case 0: change_speed (run); break;
  case 1: faults_heal (&run->store->faults); break;
  default: go_wrong (run); break;
  }
  mishaps_start (run);
}

void
mishaps_start (struct run *run)
{
  struct world *w = run->world;

  world_timer_set (w, &run->mishap, w->clock + rng_log (&w->rng, NSEC_PER_SEC),
                   mishap, run);
}

void
mishaps_end (struct run *run)
{
  world_timer_cancel (run->world, &run->mishap);
  faults_heal (&run->store->faults);
}
