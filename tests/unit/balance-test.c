/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * balance_dirty_pages: pauses, and one clock for each connection.  There is no
 * loop thread: time passes, the store works and write-back makes its steps while
 * a writer waits.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/write.h"
#include "cache-fixture.h"
#include "seed.h"

#define PAGE ((uint64_t) PAGE_SIZE)
#define LIMIT 4096 /* pages */
#define SETPOINT 3584
#define TICK (4 * NSEC_PER_MSEC)
#define HOUR (3600 * NSEC_PER_SEC)

/* What the tests with only one thread pass time with. */
static struct {
  struct fixture *f;
  bool busy;      /* time is passing */
  uint64_t owed;  /* store requests times NSEC_PER_SEC */
  unsigned speed; /* requests a second that the store does; 0: none */
  unsigned bound; /* messages that the flush target limits */
  unsigned unbound;
  uint64_t waits;
} world;

static _Thread_local bool in_world;

static void
pass_time (uint64_t ns)
{
  struct fixture *f = world.f;
  uint64_t n;

  world.busy = true;
  atomic_fetch_add (&f->clock, ns);
  while (writeback_step (f->mapping))
    ;
  world.owed += world.speed * ns;
  n = world.owed / NSEC_PER_SEC;
  world.owed %= NSEC_PER_SEC;
  fake_store_release (f->fake, STORE_WRITE, (unsigned) n);
  while (writeback_step (f->mapping))
    ;
  world.busy = false;
}

/* For the thread of the test; other threads wait as the fixture does. */
static bool
world_wait (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
            uint64_t deadline)
{
  uint64_t now = atomic_load (&f->clock);

  if (!in_world)
    return false;
  assert_false (world.busy);
  world.waits++;
  while (now < deadline && atomic_load (word) == value) {
    pass_time (min_u64 (TICK, deadline - now));
    now = atomic_load (&f->clock);
  }
  return true;
}

static void
world_log (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  if (level == LOG_DEBUG && strstr (message, "to be flushed in 10 s"))
    world.bound++;
  if (level == LOG_DEBUG && strstr (message, "no longer limits"))
    world.unbound++;
}

/* A store that does so many requests a second. */
static struct fixture *
start_world (unsigned speed, uint64_t flush_target)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .disk_size = 64 * MiB,
    .dirty_limit = LIMIT * PAGE,
    .small_folios = true,
    .fake_clock = true,
    .no_loop = true,
    .flush_target = flush_target,
    .wait = world_wait,
  });

  memset (&world, 0, sizeof world);
  world.f = f;
  world.speed = speed;
  in_world = true;
  f->env.log = world_log;
  fake_store_hold (f->fake, STORE_WRITE);
  return f;
}

static void
stop_world (struct fixture *f)
{
  fake_store_unhold (f->fake, STORE_WRITE);
  while (writeback_step (f->mapping) || !writeback_idle (f->mapping))
    ;
  fixture_stop (f);
}

/* Let the law know, as if from experience. */
static void
teach (struct fixture *f, double bandwidth, double base)
{
  struct throttle_law *law = &f->mapping->balance.law;

  law->bandwidth = law->recent = bandwidth;
  law->base = base;
  f->mapping->balance.last_step = 0;
  balance_step (f->mapping, atomic_load (&f->clock));
  f->mapping->balance.sample.elapsed = LAW_INTERVAL;
  balance_step (f->mapping, atomic_load (&f->clock));
}

/* Have `pages' pages dirty, the first ones of the disk. */
static void
fill (struct fixture *f, unsigned pages)
{
  struct conn *conn = f->conns[3];
  uint8_t page[PAGE_SIZE] = { 1 };
  unsigned i;

  for (i = atomic_load (&f->mapping->nr_unsaved); i < pages; i++)
    assert_int_equal (
      write_buffered (conn->mapping, NULL, page, PAGE, i * PAGE), 0);
}

/* A fixture near the setpoint, where each connection may make 1000 pages a second
 * dirty, and has no credit.
 */
static struct fixture *
start_paced (void)
{
  struct fixture *f = start_world (0, 0);
  unsigned i;

  fill (f, SETPOINT - 50);
  teach (f, 1000, 1000);
  for (i = 0; i < NR_CONNS; i++)
    atomic_store (&f->conns[i]->pace.clock, atomic_load (&f->clock));
  return f;
}

/* Write `pages' pages from `page' on, one by one; returns how long (ns) it took.
 */
static uint64_t
write_pages (struct fixture *f, unsigned conn, unsigned page, unsigned pages)
{
  uint64_t since = atomic_load (&f->clock);
  uint8_t buf[PAGE_SIZE] = { 2 };

  for (; pages > 0; pages--, page++)
    assert_int_equal (cache_write (f->conns[conn], buf, PAGE, page * PAGE, 0),
                      0);
  return atomic_load (&f->clock) - since;
}

static uint64_t
pauses (struct fixture *f)
{
  struct stats_snapshot s;

  stats_read (f->mapping, &s);
  return s.histograms[HIST_PAUSE].count;
}

static void
test_freerun (void **state)
{
  struct fixture *f = start_world (0, 0);
  struct law_limits limits;
  const struct pace *pace = &f->conn->pace;

  (void) state;
  teach (f, 1, 1);
  balance_limits (f->mapping, &limits);
  assert_int_equal (limits.freerun, 3072);
  assert_int_equal (write_pages (f, 0, 0, limits.freerun), 0);
  assert_int_equal (world.waits, 0);
  assert_true (atomic_load (&pace->clock) == 0);
  assert_int_equal (atomic_load (&pace->unpaid), 0);
  assert_int_equal (atomic_load (&f->mapping->balance.dirtied), 0);
  /* Then it begins. */
  write_pages (f, 0, limits.freerun, 10);
  assert_true (pauses (f) > 0);
  stop_world (f);
}

static void
test_rate (void **state)
{
  struct fixture *f = start_paced ();
  uint64_t took = write_pages (f, 0, 8000, 100);

  (void) state;
  assert_true (took >= 85 * NSEC_PER_MSEC && took <= 105 * NSEC_PER_MSEC);
  /* About 10 ms each. */
  assert_true (pauses (f) >= 8 && pauses (f) <= 10);
  stop_world (f);
}

/* Pages that are dirty already cost nothing. */
static void
test_rewrite (void **state)
{
  struct fixture *f = start_paced ();

  (void) state;
  assert_int_equal (write_pages (f, 0, 0, 1000), 0);
  assert_int_equal (world.waits, 0);
  stop_world (f);
}

static void
test_two_clocks (void **state)
{
  struct fixture *f = start_paced ();

  (void) state;
  atomic_fetch_add (&f->conns[0]->pace.clock, 100 * NSEC_PER_MSEC);
  assert_int_equal (write_pages (f, 1, 8000, 5), 0);
  assert_true (write_pages (f, 0, 9000, 1) >= 100 * NSEC_PER_MSEC);
  stop_world (f);
}

/* --- queue depth --- */

struct writer {
  struct fixture *f;
  unsigned page, pages;
  pthread_t thread;
};

static void *
run_writer (void *arg)
{
  struct writer *w = arg;

  write_pages (w->f, 0, w->page, w->pages);
  return NULL;
}

/* However many requests a connection has under way, they share its clock. */
static void
test_depth (void **state)
{
  struct fixture *f = start_paced ();
  struct writer w[16];
  uint64_t since = atomic_load (&f->clock), took;
  unsigned i;

  (void) state;
  for (i = 0; i < 16; i++) {
    w[i] = (struct writer) { .f = f, .page = 8000 + i * 100, .pages = 20 };
    assert_int_equal (pthread_create (&w[i].thread, NULL, run_writer, &w[i]),
                      0);
  }
  for (i = 0; i < 16; i++)
    pthread_join (w[i].thread, NULL);
  took = atomic_load (&f->clock) - since;
  /* 320 pages; the position ratio falls a little on the way. */
  assert_true (took >= 270 * NSEC_PER_MSEC);
  stop_world (f);
}

/* --- who does not wait --- */

static void
test_nowait (void **state)
{
  struct fixture *f = start_paced ();
  struct mapping *m = f->mapping;
  struct pacing pacing = { .pace = &f->conn->pace, .count = PAGE };
  uint64_t clock;

  (void) state;
  assert_int_equal (balance_dirty_pages_ratelimited (m, &pacing, 1, BDP_NOWAIT),
                    0);
  throttle_done (m, 1);

  clock = atomic_fetch_add (&f->conn->pace.clock, 50 * NSEC_PER_MSEC) +
          50 * NSEC_PER_MSEC;
  assert_int_equal (balance_dirty_pages_ratelimited (m, &pacing, 1, BDP_NOWAIT),
                    -EAGAIN);
  assert_true (atomic_load (&f->conn->pace.clock) == clock);
  assert_true (pacing.paused == 0);
  assert_int_equal (atomic_load (&f->conn->pace.unpaid), 0);

  /* At the hard limit. */
  atomic_store (&f->conn->pace.clock, atomic_load (&f->clock));
  fill (f, LIMIT);
  assert_int_equal (balance_dirty_pages_ratelimited (m, &pacing, 1, BDP_NOWAIT),
                    -EAGAIN);

  assert_int_equal (atomic_load (&m->throttle.reserved), 0);
  assert_int_equal (atomic_load (&m->throttle.waiters), 0);
  assert_int_equal (atomic_load (&m->balance.pausing), 0);
  assert_int_equal (pauses (f), 0);
  assert_int_equal (world.waits, 0);
  stop_world (f);
}

/* Who waits for the store anyway is not paced, but counts. */
static void
test_fua (void **state)
{
  struct fixture *f = start_paced ();
  uint8_t page[PAGE_SIZE] = { 3 };

  (void) state;
  world.speed = 1000000;
  atomic_fetch_add (&f->conn->pace.clock, HOUR);
  assert_int_equal (cache_write (f->conn, page, PAGE, 9000 * PAGE, CACHE_FUA),
                    0);
  assert_int_equal (cache_flush (f->conn), 0);
  assert_int_equal (pauses (f), 0);
  assert_null (write_paced (f->conn, CACHE_FUA));
  assert_ptr_equal (write_paced (f->conn, 0), f->conn);
  f->mapping->config.mode = CACHE_WRITETHROUGH;
  assert_null (write_paced (f->conn, 0));
  f->mapping->config.mode = CACHE_WRITEBACK;
  stop_world (f);
}

/* All the pauses of one write. */
static void
test_long_write (void **state)
{
  struct fixture *f = start_world (0, 0);
  static uint8_t buf[1 << 20];
  uint64_t since;

  (void) state;
  fill (f, 3100);
  teach (f, 10, 10);
  since = atomic_load (&f->clock);
  assert_int_equal (cache_write (f->conn, buf, sizeof buf, 32 * MiB, 0), 0);
  assert_true (atomic_load (&f->clock) - since <= 5 * LAW_PAUSE_MAX);
  assert_true (atomic_load (&f->clock) - since >= 3 * LAW_PAUSE_MAX);
  since = atomic_load (&f->clock);
  assert_int_equal (cache_write (f->conn, buf, 8 * PAGE, 48 * MiB, 0), 0);
  assert_int_equal (atomic_load (&f->clock) - since, LAW_PAUSE_MAX);
  stop_world (f);
}

/* --- waking --- */

struct sleeper {
  struct fixture *f;
  pthread_t thread;
  int result;
};

/* Pause for hours. */
static void *
run_sleeper (void *arg)
{
  struct sleeper *s = arg;
  /* As if it had much time left. */
  struct pacing pacing = { .pace = &s->f->conn->pace,
                           .count = PAGE,
                           .paused = -10 * HOUR };

  s->result = balance_dirty_pages_ratelimited (s->f->mapping, &pacing, 1, 0);
  if (s->result == 0)
    throttle_done (s->f->mapping, 1);
  return NULL;
}

static void
start_sleeper (struct sleeper *s)
{
  s->f = fixture_start (&(struct fixture_config) {
    .dirty_limit = LIMIT * PAGE / 4, .small_folios = true, .no_loop = true });
  fill (s->f, 900);
  atomic_store (&s->f->mapping->balance.limits.pause_max, 10 * HOUR);
  atomic_store (&s->f->conn->pace.clock, s->f->env.now (&s->f->env) + HOUR);
  assert_int_equal (pthread_create (&s->thread, NULL, run_sleeper, s), 0);
  UNTIL (atomic_load (&s->f->mapping->balance.pausing) == 1);
}

static void
test_shutdown (void **state)
{
  struct sleeper s;

  (void) state;
  start_sleeper (&s);
  mapping_shutdown (s.f->mapping);
  pthread_join (s.thread, NULL);
  assert_int_equal (s.result, -ESHUTDOWN);
  assert_int_equal (atomic_load (&s.f->mapping->balance.pausing), 0);
  assert_int_equal (atomic_load (&s.f->mapping->throttle.reserved), 0);
  fixture_stop (s.f);
}

/* Below freerun a pause is over and the debt is forgotten. */
static void
test_wake_at_freerun (void **state)
{
  struct sleeper s;

  (void) state;
  start_sleeper (&s);
  assert_int_equal (cache_zero (s.f->conns[1], 100 * PAGE, 0, 0), 0);
  assert_int_equal (atomic_load (&s.f->mapping->balance.pausing), 1);
  assert_int_equal (cache_zero (s.f->conns[1], 100 * PAGE, 100 * PAGE, 0), 0);
  pthread_join (s.thread, NULL);
  assert_int_equal (s.result, 0);
  assert_true (atomic_load (&s.f->conn->pace.clock) <=
               s.f->env.now (&s.f->env));
  fixture_stop (s.f);
}

/* --- bandwidth --- */

/* Time passes in which the store is at work and writes so many pages. */
static void
work (struct fixture *f, uint64_t ns, uint32_t pages)
{
  balance_written (f->mapping, pages);
  balance_step (f->mapping, atomic_fetch_add (&f->clock, ns) + ns);
}

/* A store that is 100 ms away and takes 24 pages at once is not one that writes
 * the first of them in 100 ms.
 */
static void
test_far_away (void **state)
{
  struct fixture *f = start_world (0, 0);
  const struct throttle_law *law = &f->mapping->balance.law;
  unsigned i;

  (void) state;
  fill (f, SETPOINT);
  work (f, 0, 0);
  f->mapping->wb.in_flight = 24;
  for (i = 0; i < 9; i++)
    work (f, 10 * NSEC_PER_MSEC, 0);
  work (f, 10 * NSEC_PER_MSEC, 1);
  work (f, NSEC_PER_MSEC, 23);
  assert_true (law->bandwidth == 0);
  for (i = 0; i < 9; i++)
    work (f, 10 * NSEC_PER_MSEC, 0);
  work (f, 10 * NSEC_PER_MSEC, 24);
  assert_true (law->bandwidth >= 240 && law->bandwidth < 500);
  f->mapping->wb.in_flight = 0;
  stop_world (f);
}

/* --- all of it --- */

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
    assert_true (atomic_load (&f->mapping->nr_unsaved) <= LIMIT);
    sum += (double) took * atomic_load (&f->mapping->nr_unsaved);
    n++;
  }
  *average = sum / (double) ns;
  return n;
}

/* A writer at full speed settles at the setpoint, and the store is busy. */
static void
test_settles (void **state)
{
  struct fixture *f = start_world (1000, 10 * NSEC_PER_SEC);
  struct rng rng = test_rng ("settles");
  struct stats_snapshot s;
  unsigned sent;
  double average;

  (void) state;
  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  fake_store_clear (f->fake);
  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  sent = fake_store_count (f->fake, STORE_WRITE);
  stats_read (f->mapping, &s);
  assert_float_equal (average, (double) (s.setpoint / PAGE), SETPOINT * 0.1);
  assert_true (s.limit == LIMIT * PAGE); /* ten seconds are more */
  assert_true (sent >= 9700);
  assert_int_equal (world.bound, 0);
  assert_int_equal (cache_flush (f->conn), 0);
  stop_world (f);
}

/* The store becomes slow: what is unsaved goes down to what it can write in the
 * flush target; then it recovers.
 */
static void
test_flush_target (void **state)
{
  struct fixture *f = start_world (2000, 10 * NSEC_PER_SEC);
  struct rng rng = test_rng ("flush_target");
  struct stats_snapshot s;
  double average;

  (void) state;
  flat_out (f, &rng, 3 * NSEC_PER_SEC, &average);
  assert_int_equal (world.bound, 0);
  world.speed = 200;
  flat_out (f, &rng, 45 * NSEC_PER_SEC, &average);
  assert_int_equal (world.bound, 1);
  stats_read (f->mapping, &s);
  assert_true (s.unsaved / PAGE <= 3000);
  assert_true (s.limit / PAGE <= 3000);
  world.speed = 2000;
  flat_out (f, &rng, 10 * NSEC_PER_SEC, &average);
  assert_int_equal (world.bound, 1);
  assert_int_equal (world.unbound, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  stop_world (f);
}

/* Nor can those go past it who do not pause for it. */
static void
test_flush_target_is_hard (void **state)
{
  struct fixture *f = start_world (1000, NSEC_PER_SEC);
  uint8_t buf[PAGE_SIZE] = { 5 };
  struct law_limits limits;
  unsigned i;

  (void) state;
  teach (f, 1000, 1000);
  for (i = 0; i < 4000; i++) {
    assert_int_equal (
      write_buffered (f->mapping, NULL, buf, PAGE, 2 * i * PAGE), 0);
    balance_limits (f->mapping, &limits);
    assert_true (limits.limit < LIMIT / 2);
    assert_true (atomic_load (&f->mapping->nr_unsaved) <= limits.limit * 1.05);
  }
  assert_true (world.waits > 0);
  stop_world (f);
}

/* One that asked for much when the limit was larger waits for no more than that
 * others are through.
 */
static void
test_chunk_of_larger_limit (void **state)
{
  struct fixture *f = start_world (1000, NSEC_PER_SEC);

  (void) state;
  teach (f, 64, 64);
  assert_int_equal (throttle_wait (f->mapping, LIMIT / 8, false), 0);
  throttle_done (f->mapping, LIMIT / 8);
  stop_world (f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_freerun),
    cmocka_unit_test (test_rate),
    cmocka_unit_test (test_rewrite),
    cmocka_unit_test (test_two_clocks),
    cmocka_unit_test (test_depth),
    cmocka_unit_test (test_nowait),
    cmocka_unit_test (test_fua),
    cmocka_unit_test (test_long_write),
    cmocka_unit_test (test_shutdown),
    cmocka_unit_test (test_wake_at_freerun),
    cmocka_unit_test (test_settles),
    cmocka_unit_test (test_flush_target),
    cmocka_unit_test (test_far_away),
    cmocka_unit_test (test_flush_target_is_hard),
    cmocka_unit_test (test_chunk_of_larger_limit),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
