/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim while write-back, fills and writes are under way.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

#define PAGE ((uint64_t) PAGE_SIZE)

/* A write-back of the range is under way: the zero waits for it. */
static void
test_during_writeback (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };
  struct job job = { .op = JOB_ZERO, .offset = PAGE, .count = 8 * PAGE };

  (void) state;
  put (f, 0, 64 * PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 0, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  job_start (f, 1, &job);
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  expect (f, 0, 64 * PAGE, 1);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&job), 0);
  assert_int_equal (job_join (&flush), 0);
  expect (f, 0, PAGE, 1);
  expect_zero (f, PAGE, 8 * PAGE);
  expect (f, 9 * PAGE, 55 * PAGE, 1);
  store_expect_zero (f, PAGE, 8 * PAGE);
  flush_ok (f, 0);
  check_flushed (f);
  fixture_stop (f);
}

/* While a zero is under way no write-back of its range begins, and a flush
 * waits; others go on.
 */
static void
test_writeback_during_zero (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };
  struct job job = { .op = JOB_ZERO, .offset = 0, .count = 1 * MiB };

  (void) state;
  put (f, 64 * PAGE, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  job_start (f, 0, &job);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  job_start (f, 1, &flush);
  UNTIL (fake_store_count (f->fake, STORE_WRITE) == 1);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, 2 * MiB);
  assert_false (atomic_load (&flush.done));
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&job), 0);
  assert_int_equal (job_join (&flush), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
  expect_zero (f, 0, 1 * MiB);
  expect (f, 2 * MiB, PAGE, 1);
  fixture_stop (f);
}

/* A fill read the old data before the zero: it must not stay. */
static void
test_during_fill (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  static uint8_t buf[64 * PAGE_SIZE];
  struct job read = { .op = JOB_READ, .buf = buf, .count = sizeof buf };
  struct job job = { .op = JOB_ZERO, .offset = 0, .count = 1 * MiB };
  struct gate gate = { 0 };

  (void) state;
  store_put (f, 0, 1 * MiB, 1);
  read.gate = &gate;
  fake_store_hold (f->fake, STORE_READ);
  job_start (f, 0, &read);
  fake_store_wait_held (f->fake, STORE_READ, 1);
  /* The store does the zero while the read is under way; the rest of it waits
   * for the folios.
   */
  job_start (f, 1, &job);
  UNTIL (fake_store_count (f->fake, STORE_ZERO) == 1);
  fixture_until_asleep (f, 2);
  assert_false (atomic_load (&job.done));
  store_put (f, 0, 1 * MiB, 1); /* as if the read had come first */
  fake_store_unhold (f->fake, STORE_READ);
  gate_await (&gate);
  assert_int_equal (job_join (&job), 0);
  expect_zero (f, 0, 1 * MiB);
  gate_open (f, &gate);
  assert_int_equal (job_join (&read), 0);
  expect_zero (f, 0, 1 * MiB);
  check_state (f);
  fixture_stop (f);
}

/* A write into a hole that is zeroed at the same time: one or the other. */
static void
test_write_during_zero (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job job = { .op = JOB_ZERO, .offset = 0, .count = 1 * MiB };

  (void) state;
  store_put (f, 0, 1 * MiB, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  job_start (f, 0, &job);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  put (f, 100, 1000, 2);
  put (f, 2 * MiB, PAGE, 2);
  expect (f, 100, 1000, 2);
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&job), 0);
  put (f, 500 * KiB + 7, 100, 3);
  expect_zero (f, 0, 500 * KiB + 7);
  expect (f, 500 * KiB + 7, 100, 3);
  expect_zero (f, 500 * KiB + 107, 1000);
  expect (f, 2 * MiB, PAGE, 2);
  flush_ok (f, 0);
  store_expect_zero (f, 0, 500 * KiB + 7);
  store_expect (f, 500 * KiB + 7, 100, 3);
  store_expect_zero (f, 500 * KiB + 107, 1000);
  fixture_stop (f);
}

/* Everything at once over a few pages: nothing hangs, asserts or differs from
 * what the last write or zero of each thread's own page says.
 */
#define HAMMERS 4
#define ROUNDS 400

struct hammer {
  struct fixture *f;
  unsigned number;
  struct rng rng;
  unsigned version; /* of its page; 0: zero */
  int error;
};

static int
hammer_once (struct hammer *h)
{
  struct conn *conn = h->f->conns[h->number];
  uint64_t offset = h->number * PAGE;
  uint8_t buf[PAGE_SIZE];
  int r = 0;

  switch (rng_below (&h->rng, 6)) {
  case 0:
  case 1:
    h->version++;
    fill_pattern (buf, PAGE, offset, h->version);
    return cache_write (conn, buf, PAGE_SIZE, offset,
                        rng_chance (&h->rng, 20) ? CACHE_FUA : 0);
  case 2: h->version = 0; return cache_zero (conn, PAGE, offset, 0);
  case 3:
    /* Its own page, and all the others' empty neighbourhood. */
    return cache_trim (conn, 1 * MiB, (1 + h->number) * MiB, 0);
  case 4: return cache_flush (conn);
  default:
    for (; r == 0 && rng_chance (&h->rng, 80);)
      r = cache_read (conn, buf, PAGE_SIZE, offset);
    return r;
  }
}

static void *
hammer (void *arg)
{
  struct hammer *h = arg;
  unsigned i;

  for (i = 0; i < ROUNDS && h->error == 0; i++)
    h->error = hammer_once (h);
  return NULL;
}

static void
test_hammer (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .dirty_background = 1 });
  struct rng rng = test_rng ("hammer");
  struct hammer h[HAMMERS];
  pthread_t threads[HAMMERS];
  unsigned i;

  (void) state;
  for (i = 0; i < HAMMERS; i++) {
    h[i] = (struct hammer) { .f = f, .number = i };
    h[i].rng.state = rng_next (&rng);
    assert_int_equal (pthread_create (&threads[i], NULL, hammer, &h[i]), 0);
  }
  for (i = 0; i < HAMMERS; i++)
    pthread_join (threads[i], NULL);
  for (i = 0; i < HAMMERS; i++) {
    assert_int_equal (h[i].error, 0);
    if (h[i].version)
      expect (f, i * PAGE, PAGE, h[i].version);
    else
      expect_zero (f, i * PAGE, PAGE);
  }
  flush_ok (f, 0);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
  check_flushed (f);
  fixture_stop (f);
}

static bool
was_refused (struct fixture *f)
{
  struct ranges *ranges = &f->mapping->folios.ranges;
  bool refused;

  pthread_mutex_lock (&ranges->lock);
  refused = ranges->refused;
  pthread_mutex_unlock (&ranges->lock);
  return refused;
}

/* Write-back that a zero keeps out does not change the mapping of what has been
 * zeroed.
 */
static void
test_mapping_of_refused (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .small_folios = true });
  char byte = 1;
  struct job part = {
    .op = JOB_WRITE, .buf = &byte, .count = 1, .offset = 100
  };
  struct job zeroes = { .op = JOB_ZERO, .count = 16 * PAGE };
  struct job flush = { .op = JOB_FLUSH };
  struct iomap iomap;

  (void) state;
  put (f, 8 * PAGE, PAGE, 1);
  /* The part's folio is locked until its block is read, which holds up the
   * zero when the store is through with it.
   */
  fake_store_hold (f->fake, STORE_READ);
  job_start (f, 1, &part);
  fake_store_wait_held (f->fake, STORE_READ, 1);
  job_start (f, 2, &zeroes);
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 1);
  job_start (f, 3, &flush);
  UNTIL (was_refused (f));
  assert_int_equal (f->fs->ops->begin (f->fs, 8 * PAGE, PAGE, 0, &iomap), 0);
  assert_int_equal (iomap.type, IOMAP_UNWRITTEN);
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&part), 0);
  assert_int_equal (job_join (&zeroes), 0);
  assert_int_equal (job_join (&flush), 0);
  expect_zero (f, 8 * PAGE, PAGE);
  fixture_stop (f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_during_writeback),
    cmocka_unit_test (test_writeback_during_zero),
    cmocka_unit_test (test_during_fill),
    cmocka_unit_test (test_write_during_zero),
    cmocka_unit_test (test_mapping_of_refused),
    cmocka_unit_test (test_hammer),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
