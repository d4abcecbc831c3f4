/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What pacing settles at, given what the store turns out to take.
 */

#include "balance-world.h"
#include "cache/request/write.h"
#include "seed.h"

/* Time passes in which the store is at work and writes so many pages. */
static void
work (struct fixture *f, uint64_t ns, uint32_t pages)
{
  balance_written (&f->mapping->throttle, pages);
  balance_step (&f->mapping->throttle, atomic_fetch_add (&f->clock, ns) + ns,
                true);
}

/* A store that is 100 ms away and takes 24 pages at once is not one that writes
 * the first of them in 100 ms.
 */
PACING_TEST (far_away, 0, 0)
{
  const struct throttle_law *law = &f->mapping->throttle.balance.law;
  unsigned i;

  fill (f, SETPOINT);
  work (f, 0, 0);
  for (i = 0; i < 9; i++)
    work (f, 10 * NSEC_PER_MSEC, 0);
  work (f, 10 * NSEC_PER_MSEC, 1);
  work (f, NSEC_PER_MSEC, 23);
  assert_true (law->bandwidth == 0);
  for (i = 0; i < 9; i++)
    work (f, 10 * NSEC_PER_MSEC, 0);
  work (f, 10 * NSEC_PER_MSEC, 24);
  assert_true (law->bandwidth >= 240 && law->bandwidth < 500);
}

/* Write pages at random for so long; returns how many. */
static unsigned
flat_out (struct fixture *f, struct rng *rng, uint64_t ns, double *average)
{
  uint8_t page[PAGE_SIZE] = { 4 };
  uint64_t end = atomic_load (&f->clock) + ns, before, took;
  double sum = 0;
  unsigned n = 0;

  while ((before = atomic_load (&f->clock)) < end) {
    assert_int_equal (
      cache_write (f->conn, page, PAGE, rng_below (rng, 16384) * PAGE, 0), 0);
    took = atomic_load (&f->clock) - before;
    assert_true (took <= LAW_PAUSE_MAX + TICK);
    assert_true (atomic_load (&f->mapping->folios.nr_unsaved) <= LIMIT);
    sum += (double) took * atomic_load (&f->mapping->folios.nr_unsaved);
    n++;
  }
  *average = sum / (double) ns;
  return n;
}

/* A writer at full speed settles at the setpoint, and the store is busy. */
PACING_TEST (settles, 1000, 10 * NSEC_PER_SEC)
{
  struct rng rng = test_rng ("settles");
  struct stats_snapshot s;
  unsigned sent;
  double average;

  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  fake_store_clear (f->fake);
  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  sent = fake_store_count (f->fake, STORE_WRITE);
  stats_read (f->mapping, &s);
  assert_float_equal (average, (double) (s.setpoint / PAGE), SETPOINT * 0.1);
  assert_true (s.limit == LIMIT * PAGE); /* ten seconds are more */
  assert_true (sent >= 9700);
  assert_int_equal (paced.bound, 0);
  assert_int_equal (cache_flush (f->conn), 0);
}

/* The store becomes slow: what is unsaved goes down to what it can write in the
 * flush target; then it recovers.
 */
PACING_TEST (flush_target, 2000, 10 * NSEC_PER_SEC)
{
  struct rng rng = test_rng ("flush_target");
  struct stats_snapshot s;
  double average;

  flat_out (f, &rng, 3 * NSEC_PER_SEC, &average);
  assert_int_equal (paced.bound, 0);
  paced.speed = 200;
  flat_out (f, &rng, 45 * NSEC_PER_SEC, &average);
  assert_int_equal (paced.bound, 1);
  stats_read (f->mapping, &s);
  assert_true (s.unsaved / PAGE <= 3000);
  assert_true (s.limit / PAGE <= 3000);
  paced.speed = 2000;
  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  assert_int_equal (paced.bound, 1);
  assert_int_equal (paced.unbound, 1);
  assert_int_equal (cache_flush (f->conn), 0);
}

/* Nor can those go past it who do not pause for it. */
PACING_TEST (flush_target_is_hard, 1000, NSEC_PER_SEC)
{
  uint8_t buf[PAGE_SIZE] = { 5 };
  uint32_t limit;
  unsigned i;

  teach (f, 1000, 1000);
  for (i = 0; i < 4000; i++) {
    assert_int_equal (
      write_buffered (f->mapping, NULL, buf, PAGE, 2 * i * PAGE), 0);
    limit = atomic_load (&f->mapping->throttle.balance.limits.limit);
    assert_true (limit < LIMIT / 2);
    assert_true (atomic_load (&f->mapping->folios.nr_unsaved) <= limit * 1.05);
  }
  assert_true (paced.waits > 0);
}

/* One that asked for much when the limit was larger waits for no more than that
 * others are through.
 */
PACING_TEST (chunk_of_larger_limit, 1000, NSEC_PER_SEC)
{
  teach (f, 64, 64);
  assert_int_equal (throttle_wait (&f->mapping->throttle, NULL, LIMIT / 8), 0);
  throttle_done (&f->mapping->throttle, LIMIT / 8);
}

RUN_TESTS ()
