/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The control law: its functions one by one, and what it does in a simulation.
 */

#include <stdint.h>

#include "cache/pace/throttle-law.h"
#include "law-sim.h"
#include "seed.h"
#include "tests/unit/test.h"

/* --- single functions --- */

static const struct law_limits some_limits = {
  .background = 2000,
  .freerun = 6000,
  .limit = 10000,
  .pause_max = LAW_PAUSE_MAX,
  .base = 1000,
};

TEST (position)
{
  const struct law_limits *l = &some_limits;
  struct law_limits none = { .limit = 5, .freerun = 5 };
  uint32_t unsaved;

  assert_int_equal (law_setpoint (l), 8000);
  assert_true (law_position (l, 0) == 2);
  assert_true (law_position (l, 6000) == 2);
  assert_true (law_position (l, 7000) == 1.125);
  assert_true (law_position (l, 8000) == 1);
  assert_true (law_position (l, 9000) == 0.875);
  assert_true (law_position (l, 10000) == 0);
  assert_true (law_position (l, UINT32_MAX) == 0);
  for (unsaved = 1; unsaved < 12000; unsaved++)
    assert_true (law_position (l, unsaved) <= law_position (l, unsaved - 1));
  assert_true (law_position (&none, 5) == 1); /* no division by 0 */
}

TEST (poll)
{
  struct law_limits l = some_limits;

  assert_int_equal (law_poll (&l, 8000), 2);  /* a quarter of 10 ms */
  assert_int_equal (law_poll (&l, 20000), 1); /* above the limit */
  l.base = 10 * 1000 * 1000;
  assert_int_equal (law_poll (&l, 8000), 44); /* the root of 2000 */
  assert_int_equal (law_poll (&l, 9999), 1);
}

TEST (clock)
{
  struct law_limits l = some_limits;
  uint64_t now = 1000 * NSEC_PER_SEC, clock;

  /* A page takes a millisecond, and the first ones are to its credit. */
  clock = law_charge (&l, 8000, 0, now, 1);
  assert_int_equal (clock, now - LAW_CREDIT + NSEC_PER_MSEC);
  assert_int_equal (law_pause (&l, clock, now, 1), 0);
  clock = law_charge (&l, 8000, now, now, 9);
  assert_int_equal (clock, now + 9 * NSEC_PER_MSEC);
  assert_int_equal (law_pause (&l, clock, now, 1), 0);
  clock = law_charge (&l, 8000, clock, now, 3);
  assert_int_equal (law_pause (&l, clock, now, 1), 12 * NSEC_PER_MSEC);
  /* Never too long. */
  clock = law_charge (&l, 8000, clock, now, 8);
  clock = law_charge (&l, 10000, clock, now, 8);
  assert_int_equal (law_pause (&l, clock, now, 1), LAW_PAUSE_MAX);
  assert_int_equal (law_pause (&l, UINT64_MAX, now, 1), LAW_PAUSE_MAX);
  clock = law_charge (&l, 10000, now, now, 1);
  assert_int_equal (law_pause (&l, clock, now, 1), LAW_PAUSE_MAX);
  /* But longer for large writes, up to a point. */
  assert_true (law_pause_most (5, 0) == 5);
  assert_true (law_pause_most (5, 8) == 5);
  assert_true (law_pause_most (5, 9) == 10);
  assert_true (law_pause_most (5, 40) == 25);
  assert_true (law_pause_most (5, UINT32_MAX) == 25);
  clock = law_charge (&l, 10000, now, now, 16);
  assert_int_equal (law_pause (&l, clock, now, 1), LAW_PAUSE_MAX);
  assert_int_equal (law_pause (&l, clock, now, 100), 2 * LAW_PAUSE_MAX);
  /* Shorter where little is enough for the store. */
  l.pause_max = NSEC_PER_MSEC;
  clock = law_charge (&l, 8000, now, now, 5);
  assert_int_equal (law_pause (&l, clock, now, 1), NSEC_PER_MSEC);
}

static void
sample (struct throttle_law *law, uint64_t elapsed, uint64_t busy,
        uint32_t written, bool saturated)
{
  struct law_sample s = {
    .elapsed = elapsed,
    .busy = busy,
    .written = written,
    .saturated = saturated,
  };

  law_update (law, &s);
}

/* What a store with little or nothing to do tells of its bandwidth. */
TEST (bandwidth)
{
  struct throttle_law law;
  unsigned i;

  law_init (&law, 100000, 10000, 0);
  sample (&law, LAW_INTERVAL, 0, 0, false);
  sample (&law, LAW_INTERVAL, LAW_INTERVAL, 10, false);
  assert_true (law.bandwidth == 0);
  sample (&law, LAW_INTERVAL, LAW_INTERVAL / 2, 1000, true);
  assert_float_equal (law.bandwidth, 10000, 1);
  for (i = 0; i < 1000; i++) {
    sample (&law, LAW_INTERVAL, 0, 0, false);             /* idle */
    sample (&law, LAW_INTERVAL, LAW_INTERVAL, 10, false); /* nearly */
    sample (&law, LAW_INTERVAL, LAW_INTERVAL, 0, true);   /* lost */
  }
  assert_float_equal (law.bandwidth, 10000, 1);
  /* It was faster all the same. */
  sample (&law, LAW_INTERVAL, LAW_INTERVAL, 8000, false);
  assert_true (law.bandwidth > 11000);
  /* Over about three seconds. */
  for (i = 0; i < 15; i++)
    sample (&law, LAW_INTERVAL, LAW_INTERVAL, 200, true);
  assert_true (law.bandwidth > 3000 && law.bandwidth < 6000);
  for (i = 0; i < 45; i++)
    sample (&law, LAW_INTERVAL, LAW_INTERVAL, 200, true);
  assert_float_equal (law.bandwidth, 1000, 300);
}

/* --- simulations --- */

#define LIMIT 26214 /* pages; 40 % of 256 MiB */
#define BACKGROUND 6553

/* Over `secs' seconds, the average of each second is within 10 % of the
 * setpoint, and the hard limit is kept.
 */
static void
run_settled (struct sim *sim, unsigned secs)
{
  uint64_t sum;
  unsigned i;
  double set;

  while (secs-- > 0) {
    for (sum = 0, i = 0; i < STEPS_PER_SEC; i++) {
      sim_step (sim);
      sum += sim_unsaved (sim);
    }
    set = law_setpoint (&sim->limits);
    assert_float_equal (sum / STEPS_PER_SEC, set, set / 10);
  }
  assert_true (sim->most <= (uint32_t) sim->law.max_limit);
}

/* All writers that are there got the same, and no pause was too long. */
static void
assert_fair (const struct sim *sim, double part)
{
  uint64_t least = UINT64_MAX, most = 0;
  unsigned i;

  for (i = 0; i < MAX_WRITERS; i++) {
    const struct writer *w = &sim->writers[i];

    if (w->depth == 0)
      continue;
    least = w->written < least ? w->written : least;
    most = w->written > most ? w->written : most;
    assert_true (w->longest <= LAW_PAUSE_MAX + STEP);
  }
  assert_true ((double) least >= (double) most * part);
}

static void
steady (double speed, unsigned writers, unsigned depth)
{
  struct sim *sim = xcalloc (1, sizeof *sim);
  unsigned i;

  sim_init (sim, LIMIT, BACKGROUND, 10, speed);
  for (i = 0; i < writers; i++)
    sim_add_writer (sim, i, depth, 0, 1);
  sim_run (sim, 60);
  sim_forget (sim);
  run_settled (sim, 60);
  assert_fair (sim, 0.95);
  assert_true (sim->cleaned > speed * 60 * 0.99);
  free (sim);
}

/* Of these a build with sanitizers takes the first ones. */
TEST (steady)
{
  static const struct {
    double speed;
    unsigned writers, depth;
  } worlds[] = {
    { 500, 4, 8 },   { 100000, 1, 32 }, { 500, 1, 1 },
    { 500, 1, 32 },  { 5000, 1, 1 },    { 5000, 8, 1 },
    { 5000, 8, 32 }, { 100000, 1, 1 },  { 100000, 16, 4 },
  };
  unsigned i;

  for (i = 0; i < share (sizeof worlds / sizeof worlds[0]); i++)
    steady (worlds[i].speed, worlds[i].writers, worlds[i].depth);
}

/* The store's speed and the writers change every so often: it settles again,
 * the limit holds throughout, the store is kept busy and nobody starves.
 */
TEST (changes)
{
  struct sim *sim = xcalloc (1, sizeof *sim);
  unsigned phase, i, n, depth;

  sim_init (sim, LIMIT, BACKGROUND, 10, 5000);
  sim->rng = test_rng ("changes");
  for (phase = 0; phase < share (40); phase++) {
    sim->speed = (double) (500 + rng_log (&sim->rng, 100000));
    n = 1 + (unsigned) rng_below (&sim->rng, MAX_WRITERS);
    for (i = 0; i < MAX_WRITERS; i++) {
      depth = (unsigned) rng_log (&sim->rng, MAX_DEPTH);
      /* More would have to wait for longer than any pause. */
      if (n * depth > sim->speed / 10)
        depth = 1;
      sim->writers[i].depth = i < n ? depth : 0;
      sim->writers[i].pages = 1;
    }
    sim_run (sim, 80);
    sim_forget (sim);
    run_settled (sim, 20);
    assert_fair (sim, 0.8);
    assert_true (sim->cleaned > sim->speed * 20 * 0.98);
  }
  free (sim);
}

/* A connection that wants less than its share gets it with hardly a pause, next
 * to others that want all they can get.
 */
static void
modest (double speed, unsigned period, unsigned pages)
{
  struct sim *sim = xcalloc (1, sizeof *sim);
  struct writer *w;
  unsigned i;

  sim_init (sim, LIMIT, BACKGROUND, 10, speed);
  for (i = 1; i < 4; i++)
    sim_add_writer (sim, i, 16, 0, 1);
  w = sim_add_writer (sim, 0, 1, period, pages);
  sim_run (sim, 60);
  sim_forget (sim);
  run_settled (sim, 60);
  assert_true (w->written >= 60 * STEPS_PER_SEC / period * pages - pages);
  assert_true (w->waited / w->requests < NSEC_PER_MSEC);
  assert_true (w->slow * 100 < w->requests);
  assert_true (sim->cleaned > speed * 60 * 0.99);
  free (sim);
}

TEST (modest)
{
  modest (5000, 4, 1);    /* 1 MB/s of 20 MB/s */
  modest (2000, 4, 1);    /* half of its share */
  modest (5000, 100, 40); /* in bursts, with time to think between them */
}

/* What a connection gets does not depend on how many requests it has under way
 * side by side.
 */
TEST (depth)
{
  struct sim *sim = xcalloc (1, sizeof *sim);

  sim_init (sim, LIMIT, BACKGROUND, 10, 2000);
  sim_add_writer (sim, 0, 1, 0, 1);
  sim_add_writer (sim, 1, 32, 0, 1);
  sim_add_writer (sim, 2, 4, 0, 1);
  sim_run (sim, 60);
  sim_forget (sim);
  run_settled (sim, 60);
  assert_fair (sim, 0.97);
  free (sim);
}

/* As long as there is not more than a store can take, nobody is paced. */
TEST (freerun)
{
  struct sim *sim = xcalloc (1, sizeof *sim);
  unsigned i;

  sim_init (sim, LIMIT, BACKGROUND, 10, 5000);
  for (i = 0; i < 4; i++)
    sim_add_writer (sim, i, 4, 10, 11); /* 4400 pages a second in all */
  sim_run (sim, 300);
  for (i = 0; i < 4; i++)
    assert_int_equal (sim->writers[i].waited, 0);
  free (sim);
}

/* The store becomes a hundred times slower: the dirty limit follows, and what a
 * flush has to write after 15 s is written in twice the target.
 */
static void
slower (unsigned target, unsigned writers, unsigned lump)
{
  struct sim *sim = xcalloc (1, sizeof *sim);
  unsigned i;

  sim_init (sim, LIMIT, BACKGROUND, target, 125000);
  for (i = 0; i < writers; i++)
    sim_add_writer (sim, i, 1, 0, 1);
  sim_run (sim, 30);
  assert_false (sim->law.bound);
  assert_true (sim->law.limit == LIMIT);
  sim->speed = 1250;
  sim->lump = lump;
  sim_run (sim, 15);
  assert_true (sim_unsaved (sim) / sim->speed <= 2 * target);
  sim_run (sim, 60);
  assert_true (sim->law.bound);
  assert_float_equal (sim->law.limit, 1250 * target, 125 * target);
  sim->speed = 125000;
  sim->lump = 0;
  sim_run (sim, 15);
  assert_false (sim->law.bound);
  assert_true (sim->law.limit > LIMIT * 0.95);
  free (sim);
}

TEST (flush_target)
{
  struct sim *sim = xcalloc (1, sizeof *sim);

  slower (10, 1, 0);
  slower (10, 8, 0);
  slower (15, 4, 0);
  /* What is in flight, up to 32 MiB, ends all at once. */
  slower (10, 1, 4 * STEPS_PER_SEC);
  slower (10, 8, 32 * 256 * STEPS_PER_SEC / 1250);
  /* Off. */
  sim_init (sim, LIMIT, BACKGROUND, 0, 100);
  sim_add_writer (sim, 0, 4, 0, 1);
  sim_run (sim, 60);
  assert_true (sim->law.limit == LIMIT);
  assert_false (sim->law.bound);
  free (sim);
}

/* The smallest limits: the store is kept as busy as they allow. */
TEST (small_limits)
{
  static const uint32_t sizes[] = { 8, 16, 100, 255, 256, 300, 1000 };
  struct sim *sim = xcalloc (1, sizeof *sim);
  unsigned i, most;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    sim_init (sim, sizes[i], sizes[i] / 4, 10, 10000);
    sim_add_writer (sim, 0, 1, 0, 1);
    sim_add_writer (sim, 1, 4, 0, 1);
    sim_run (sim, 20);
    sim_forget (sim);
    sim_run (sim, 20);
    assert_true (sim->most <= sizes[i]);
    /* A third of the limit a flush, which takes 10 ms, or all that it can. */
    most = sizes[i] / 3 * 90;
    assert_true (sim->cleaned > 20 * (most < 9000 ? most : 9000));
    assert_true (sim->writers[0].written > 0);
    assert_true (sim->writers[1].written > 0);
  }
  free (sim);
}

/* Another limit is configured under load: writers are slowed down until what is
 * unsaved is below it, but not stopped; and one that nobody notices is there at once.
 */
TEST (configured)
{
  struct sim sim;
  struct writer *w;

  sim_init (&sim, LIMIT, BACKGROUND, 0, 5000);
  w = sim_add_writer (&sim, 0, 8, 0, 1);
  sim_run (&sim, 20);
  law_configure (&sim.law, LIMIT / 4, BACKGROUND / 4, 0, sim_unsaved (&sim));
  law_limits (&sim.law, &sim.limits);
  assert_true (sim.limits.limit > sim_unsaved (&sim));
  sim_forget (&sim);
  sim_run (&sim, 30);
  assert_true (sim.limits.limit == LIMIT / 4);
  assert_true (sim_unsaved (&sim) <= LIMIT / 4);
  assert_true (w->longest <= 250 * NSEC_PER_MSEC);
  assert_true (w->written > 30 * 5000 / 4);
  assert_true (sim.law.bandwidth > 4000); /* what was learnt is kept */

  law_configure (&sim.law, LIMIT, BACKGROUND, 0, sim_unsaved (&sim));
  assert_true (sim.law.limit == LIMIT);
  law_configure (&sim.law, LIMIT, BACKGROUND, NSEC_PER_SEC, 0);
  assert_true (sim.law.limit < 6000);
}

RUN_TESTS ()
