/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a run is like.
 */

#include "powercut.h"

#define KiB UINT64_C (1024)
#define MiB (UINT64_C (1) << 20)

static uint64_t
between (struct rng *rng, uint64_t min, uint64_t max)
{
  return min + rng_below (rng, max - min + 1);
}

static bool
one_in (struct rng *rng, unsigned n)
{
  return rng_below (rng, n) == 0;
}

static void
choose_mapping (struct mapping_config *m, struct rng *rng)
{
  *m = (struct mapping_config) {
    .mode = one_in (rng, 8)   ? CACHE_WRITETHROUGH
            : one_in (rng, 8) ? CACHE_NONE
                              : CACHE_WRITEBACK,
    .folio_max_order = (unsigned) rng_below (rng, 10),
    .dirty_limit = (16 * KiB) << rng_below (rng, 7),
    .dirty_expire = NSEC_PER_MSEC + rng_log (rng, 30 * NSEC_PER_SEC),
    .writeback_interval = NSEC_PER_MSEC + rng_log (rng, 5 * NSEC_PER_SEC),
    .readahead = one_in (rng, 2) ? 0 : (16 * KiB) << rng_below (rng, 5),
    .sequential_cutoff = one_in (rng, 5) ? 64 * KiB : 0,
    .io_depth = (unsigned) rng_log (rng, 32),
    .flush_target = one_in (rng, 2) ? 0 : rng_log (rng, 10 * NSEC_PER_SEC),
  };
  m->dirty_background = m->dirty_limit >> between (rng, 1, 4);
}

/* A local disk, a slow disk, or something far away. */
static void
choose_store (struct model_store_config *s, struct rng *rng)
{
  uint64_t base = one_in (rng, 3) ? 5000 : rng_log (rng, 20 * NSEC_PER_MSEC);

  s->geo = (struct store_geometry) {
    .min_io = one_in (rng, 3) ? 4096 : 512u << rng_below (rng, 3),
    .best_io = 4096u << rng_below (rng, 9),
    .max_io = (2u << 20) >> rng_below (rng, 4),
    .rotational = base > 2 * NSEC_PER_MSEC,
    .can_fua = one_in (rng, 2),
    .can_zero = !one_in (rng, 5),
    .doubt_zero = one_in (rng, 2),
    .can_trim = !one_in (rng, 4),
    .can_extents = !one_in (rng, 4),
  };
  s->depth = (unsigned) rng_log (rng, 64);
  s->bandwidth = between (rng, 1, 20) * (one_in (rng, 3) ? MiB : 50 * MiB);
  s->latency[STORE_READ] = s->latency[STORE_WRITE] = base;
  s->latency[STORE_ZERO] = s->latency[STORE_TRIM] = base;
  s->latency[STORE_FLUSH] = base * between (rng, 1, 20);
  s->instant = one_in (rng, 4) ? (unsigned) rng_below (rng, 100) : 0;
  s->flush_failure = one_in (rng, 5)   ? MODEL_KEEPS
                     : one_in (rng, 2) ? MODEL_DOOMS
                                       : MODEL_LOSES;
  s->losing = 1u << STORE_FLUSH;
}

static void
choose_clients (struct run_config *c, struct rng *rng)
{
  static const unsigned usual[] = {
    [CLIENT_READ] = 30,    [CLIENT_WRITE] = 45, [CLIENT_FLUSH] = 5,
    [CLIENT_ZERO] = 5,     [CLIENT_TRIM] = 5,   [CLIENT_EXTENTS] = 2,
    [CLIENT_PREFETCH] = 1,
  };
  unsigned i;

  c->conns = (unsigned) between (rng, 1, MAX_CONNS);
  c->clients = (unsigned) between (rng, c->conns, MAX_CLIENTS);
  c->think = one_in (rng, 3) ? 0 : rng_log (rng, 100 * NSEC_PER_MSEC);
  c->hot_size = between (rng, 4, 256) * KiB;
  c->max_request = (4 * KiB) << rng_below (rng, 6);
  c->fua = one_in (rng, 2) ? 0 : (unsigned) rng_below (rng, 30);
  for (i = 0; i < 7; i++)
    c->weights[i] = usual[i] * (unsigned) between (rng, 0, 4);
  c->weights[CLIENT_WRITE] += 10;
  c->weights[CLIENT_FLUSH] += one_in (rng, 4) ? 40 : 1;
  c->weights[CLIENT_ZERO] += one_in (rng, 4) ? 40 : 0;
  c->weights[CLIENT_TRIM] += one_in (rng, 4) ? 40 : 0;
}

static unsigned
choose_faults (struct rng *rng)
{
  if (one_in (rng, 3))
    return 0;
  return one_in (rng, 2) ? 1u << rng_below (rng, 4)
                         : (unsigned) rng_next (rng) & FAULT_ALL;
}

void
run_config_choose (struct run_config *c, struct rng *rng)
{
  c->disk_size = between (rng, 128 * KiB, 3 * MiB);
  if (one_in (rng, 2))
    c->disk_size = c->disk_size / 4096 * 4096;
  c->cache_size = 1 * MiB << rng_below (rng, 2);
  choose_mapping (&c->mapping, rng);
  choose_store (&c->store, rng);
  choose_clients (c, rng);
  c->faults = choose_faults (rng);
  c->zeroes = one_in (rng, 3) ? (unsigned) between (rng, 8, 40) : 0;
  c->visitor = one_in (rng, 3);
}
