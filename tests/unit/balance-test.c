/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * balance_dirty_pages: pauses, and one clock for each connection.
 */

#include <errno.h>

#include "balance-world.h"
#include "cache/request/write.h"

#define HOUR (3600 * NSEC_PER_SEC)

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

PACING_TEST (freerun, 0, 0)
{
  uint32_t freerun;
  const struct pace *pace = &f->conn->pace;

  teach (f, 1, 1);
  freerun = atomic_load (&f->mapping->throttle.balance.limits.freerun);
  assert_int_equal (freerun, 3072);
  assert_int_equal (write_pages (f, 0, 0, freerun), 0);
  assert_int_equal (paced.waits, 0);
  assert_true (atomic_load (&pace->clock) == 0);
  assert_int_equal (atomic_load (&pace->unpaid), 0);
  assert_int_equal (atomic_load (&f->mapping->throttle.balance.dirtied), 0);
  /* Then it begins. */
  write_pages (f, 0, freerun, 10);
  assert_true (pauses (f) > 0);
}

#define PACED_TEST(name)                                                       \
  TEST_WITH (name, struct fixture *f, start_paced (), stop_world)

PACED_TEST (rate)
{
  uint64_t took = write_pages (f, 0, 8000, 100);

  assert_true (took >= 85 * NSEC_PER_MSEC && took <= 105 * NSEC_PER_MSEC);
  /* About 10 ms each. */
  assert_true (pauses (f) >= 8 && pauses (f) <= 10);
}

/* Pages that are dirty already cost nothing. */
PACED_TEST (rewrite)
{
  assert_int_equal (write_pages (f, 0, 0, 1000), 0);
  assert_int_equal (paced.waits, 0);
}

PACED_TEST (two_clocks)
{
  atomic_fetch_add (&f->conns[0]->pace.clock, 100 * NSEC_PER_MSEC);
  assert_int_equal (write_pages (f, 1, 8000, 5), 0);
  assert_true (write_pages (f, 0, 9000, 1) >= 100 * NSEC_PER_MSEC);
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
PACED_TEST (depth)
{
  struct writer w[16];
  uint64_t since = atomic_load (&f->clock), took;
  unsigned i;

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
}

/* --- who does not pause --- */

/* Who waits for the store anyway is not paced, but counts. */
PACED_TEST (fua)
{
  uint8_t page[PAGE_SIZE] = { 3 };

  paced.speed = 1000000;
  atomic_fetch_add (&f->conn->pace.clock, HOUR);
  assert_int_equal (cache_write (f->conn, page, PAGE, 9000 * PAGE, CACHE_FUA),
                    0);
  assert_int_equal (pauses (f), 0);
  f->mapping->config.mode = CACHE_WRITETHROUGH;
  assert_int_equal (cache_write (f->conn, page, PAGE, 9001 * PAGE, 0), 0);
  assert_int_equal (pauses (f), 0);
  f->mapping->config.mode = CACHE_WRITEBACK;
  assert_int_equal (cache_flush (f->conn), 0);
}

/* All the pauses of one write. */
PACING_TEST (long_write, 0, 0)
{
  static uint8_t buf[1 << 20];
  uint64_t since;

  fill (f, 3100);
  teach (f, 10, 10);
  since = atomic_load (&f->clock);
  assert_int_equal (cache_write (f->conn, buf, sizeof buf, 32 * MiB, 0), 0);
  assert_true (atomic_load (&f->clock) - since <= 5 * LAW_PAUSE_MAX);
  assert_true (atomic_load (&f->clock) - since >= 3 * LAW_PAUSE_MAX);
  since = atomic_load (&f->clock);
  assert_int_equal (cache_write (f->conn, buf, 8 * PAGE, 48 * MiB, 0), 0);
  assert_int_equal (atomic_load (&f->clock) - since, LAW_PAUSE_MAX);
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

  s->result =
    balance_dirty_pages_ratelimited (&s->f->mapping->throttle, &pacing, 1);
  if (s->result == 0)
    throttle_done (&s->f->mapping->throttle, 1);
  return NULL;
}

static void
start_sleeper (struct sleeper *s)
{
  s->f = fixture_start (&(struct fixture_config) {
    .dirty_limit = LIMIT * PAGE / 4, .small_folios = true, .no_loop = true });
  fill (s->f, 900);
  atomic_store (&s->f->mapping->throttle.balance.limits.pause_max, 10 * HOUR);
  atomic_store (&s->f->conn->pace.clock, s->f->env.now (&s->f->env) + HOUR);
  assert_int_equal (pthread_create (&s->thread, NULL, run_sleeper, s), 0);
  UNTIL (atomic_load (&s->f->mapping->throttle.balance.pausing) == 1);
}

TEST (shutdown)
{
  struct sleeper s;

  start_sleeper (&s);
  mapping_shutdown (s.f->mapping);
  pthread_join (s.thread, NULL);
  assert_int_equal (s.result, -ESHUTDOWN);
  assert_int_equal (atomic_load (&s.f->mapping->throttle.balance.pausing), 0);
  assert_int_equal (atomic_load (&s.f->mapping->throttle.reserved), 0);
  fixture_stop (s.f);
}

/* Below freerun a pause is over and the debt is forgotten. */
TEST (wake_at_freerun)
{
  struct sleeper s;

  start_sleeper (&s);
  assert_int_equal (cache_zero (s.f->conns[1], 100 * PAGE, 0, 0), 0);
  assert_int_equal (atomic_load (&s.f->mapping->throttle.balance.pausing), 1);
  assert_int_equal (cache_zero (s.f->conns[1], 100 * PAGE, 100 * PAGE, 0), 0);
  pthread_join (s.thread, NULL);
  assert_int_equal (s.result, 0);
  assert_true (atomic_load (&s.f->conn->pace.clock) <=
               s.f->env.now (&s.f->env));
  fixture_stop (s.f);
}

RUN_TESTS ()
