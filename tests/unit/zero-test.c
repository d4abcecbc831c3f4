/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim: what is read afterwards, what the store is asked, and races
 * with write-back and fills.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

#define PAGE ((uint64_t) PAGE_SIZE)

static void
zero (struct fixture *f, uint64_t offset, uint64_t n, unsigned flags)
{
  assert_int_equal (cache_zero (f->conn, n, offset, flags), 0);
}

static void
flush_ok (struct fixture *f)
{
  assert_int_equal (cache_flush (f->conn), 0);
}

static void
test_reads_zero_at_once (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  (void) state;
  store_put (f, 0, 16 * MiB, 1);
  expect (f, 0, 1 * MiB, 1);
  put (f, 2 * MiB, 1 * MiB, 2);
  put (f, 4 * MiB, 1 * MiB, 2);
  flush_ok (f);
  zero (f, 10, 5 * MiB, 0);
  expect (f, 0, 10, 1);
  expect_zero (f, 10, 5 * MiB);
  expect (f, 5 * MiB + 10, 100000, 1);
  assert_int_equal (cache_trim (f->conn, 3 * MiB, 6 * MiB + 1, 0), 0);
  expect (f, 6 * MiB, 1, 1);
  expect_zero (f, 6 * MiB + 1, 3 * MiB);
  expect (f, 9 * MiB + 1, 1000, 1);
  flush_ok (f);
  store_expect (f, 0, 10, 1);
  store_expect_zero (f, 10, 5 * MiB);
  store_expect (f, 5 * MiB + 10, 1 * MiB - 10, 1);
  store_expect_zero (f, 6 * MiB + 1, 3 * MiB);
  check_flushed (f);
  fixture_stop (f);
}

/* Dirty data under the range is dropped, not written first. */
static void
test_dirty_is_dropped (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  (void) state;
  put (f, 0, 4 * MiB, 1);
  zero (f, PAGE, 4 * MiB - 2 * PAGE, 0);
  assert_int_equal (atomic_load (&f->mapping->nr_dirty), 2);
  check_state (f);
  flush_ok (f);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 2 * PAGE);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 1);
  expect (f, 0, PAGE, 1);
  expect_zero (f, PAGE, 4 * MiB - 2 * PAGE);
  expect (f, 4 * MiB - PAGE, PAGE, 1);
  fixture_stop (f);
}

/* Less than a block goes through the cache. */
static void
test_small (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .min_io = 4096 });

  (void) state;
  store_put (f, 0, 1 * MiB, 1);
  zero (f, 5000, 1000, 0);
  zero (f, 10 * PAGE - 1, 2, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  expect (f, 0, 5000, 1);
  expect_zero (f, 5000, 1000);
  expect (f, 6000, 10 * PAGE - 1 - 6000, 1);
  expect_zero (f, 10 * PAGE - 1, 2);
  expect (f, 10 * PAGE + 1, PAGE, 1);
  flush_ok (f);
  store_expect_zero (f, 5000, 1000);
  store_expect (f, 6000, PAGE, 1);
  fixture_stop (f);
}

/* Zeroing a huge disk takes one request and no memory. */
static void
test_cost (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .disk_size = 1 * TiB });
  uint32_t nr_free;

  (void) state;
  put (f, 1 * MiB, 1 * MiB, 1);
  put (f, 1 * TiB - PAGE, PAGE, 1);
  expect (f, 1 * MiB, 1 * MiB, 1);
  fake_store_clear (f->fake);
  zero (f, 0, 1 * TiB, CACHE_MAY_TRIM);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  nr_free = atomic_load (&f->mapping->arena->nr_free);
  assert_int_equal (nr_free, f->mapping->arena->nr_pages);
  expect_zero (f, 1 * MiB, 1 * MiB);
  expect_zero (f, 1 * TiB - PAGE, PAGE);
  assert_int_equal (atomic_load (&f->mapping->arena->nr_free), nr_free);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (cache_trim (f->conn, 1 * TiB - 1, 1, 0), 0);
  flush_ok (f);
  assert_true (fake_store_count (f->fake, STORE_WRITE) <= 1);
  assert_true (fake_store_count (f->fake, STORE_TRIM) <= 1);
  fixture_stop (f);
}

static void
test_fast_zero (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .no_fast_zero = true });

  (void) state;
  put (f, 0, PAGE, 1);
  assert_int_equal (cache_zero (f->conn, PAGE, 0, CACHE_FAST_ZERO), -ENOTSUP);
  expect (f, 0, PAGE, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  zero (f, 0, PAGE, 0);
  expect_zero (f, 0, PAGE);
  fixture_stop (f);

  /* One that turns out to be slow all the same. */
  f = fixture_start (&(struct fixture_config) { 0 });
  put (f, 0, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -ENOTSUP);
  assert_int_equal (cache_zero (f->conn, PAGE, 0, CACHE_FAST_ZERO), -ENOTSUP);
  expect (f, 0, PAGE, 1);
  zero (f, 0, PAGE, CACHE_FAST_ZERO);
  assert_int_equal (nth_request (f, STORE_ZERO, 1).flags & STORE_FAST_ZERO,
                    STORE_FAST_ZERO);
  expect_zero (f, 0, PAGE);
  fixture_stop (f);
}

/* One that turns out to be slow when a part of it is done: the cache says what
 * the store says, but for what is dirty.
 */
static void
test_half_fast_zero (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  uint8_t zeroes[PAGE] = { 0 };

  (void) state;
  put (f, 0, 4 * PAGE, 1);
  flush_ok (f);
  check_flushed (f);
  put (f, PAGE, PAGE, 2);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -ENOTSUP);
  assert_int_equal (cache_zero (f->conn, 4 * PAGE, 0, CACHE_FAST_ZERO),
                    -ENOTSUP);
  fake_store_poke (f->fake, 0, zeroes, PAGE);
  fake_store_poke (f->fake, PAGE, zeroes, PAGE);
  expect_zero (f, 0, PAGE);
  expect (f, PAGE, PAGE, 2);
  expect (f, 2 * PAGE, 2 * PAGE, 1);
  check_state (f);
  flush_ok (f);
  store_expect (f, PAGE, PAGE, 2);
  fixture_stop (f);
}

/* It fails: what was dirty is still there. */
static void
test_failure (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  (void) state;
  put (f, 0, 64 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -EIO);
  fake_store_fail_next (f->fake, STORE_TRIM, 1, -ENOSPC);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), -EIO);
  assert_int_equal (cache_trim (f->conn, 64 * PAGE, 0, 0), -ENOSPC);
  expect (f, 0, 64 * PAGE, 1);
  check_state (f);
  flush_ok (f);
  store_expect (f, 0, 64 * PAGE, 1);
  fixture_stop (f);
}

static void
test_fua (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  (void) state;
  store_put (f, 0, 1 * MiB, 1);
  fake_store_volatile (f->fake);
  zero (f, 100, 100000, CACHE_FUA);
  assert_int_equal (cache_trim (f->conn, 1000, 200001, CACHE_FUA), 0);
  zero (f, 300000, 100000, 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 100, 1);
  store_expect_zero (f, 100, 100000);
  store_expect_zero (f, 200001, 1000);
  store_expect (f, 201001, 1000, 1);
  fixture_stop (f);
}

/* A zero alone must be flushed too. */
static void
test_flush_after_zero (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  (void) state;
  store_put (f, 0, 1 * MiB, 1);
  fake_store_volatile (f->fake);
  zero (f, 0, 64 * PAGE, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  flush_ok (f);
  fake_store_crash (f->fake, 0);
  store_expect_zero (f, 0, 64 * PAGE);
  flush_ok (f);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
  fixture_stop (f);
}

/* --- the list of those that are not flushed --- */

/* Is the page on it, and for how many pages on is that so? */
static void
expect_listed (struct fixture *f, uint64_t page, bool listed, uint64_t pages)
{
  uint64_t length = 64 * PAGE;

  assert_int_equal (zeroes_at (&f->mapping->zeroes, page * PAGE, &length),
                    listed);
  assert_int_equal (length, pages * PAGE);
}

static void
test_listed (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job job = { .op = JOB_ZERO, .count = PAGE, .offset = 30 * PAGE };

  (void) state;
  expect_listed (f, 0, false, 64);
  zero (f, 8 * PAGE, 4 * PAGE, 0);
  zero (f, 12 * PAGE, PAGE, 0);
  zero (f, 20 * PAGE, 4 * PAGE, CACHE_MAY_TRIM);
  zero (f, 22 * PAGE, 4 * PAGE, 0);
  fake_store_hold (f->fake, STORE_ZERO);
  job_start (f, 1, &job);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  expect_listed (f, 0, false, 8);
  expect_listed (f, 8, true, 5);
  expect_listed (f, 12, true, 1);
  expect_listed (f, 13, false, 7);
  expect_listed (f, 22, true, 4);
  expect_listed (f, 26, false, 64);
  flush_ok (f);
  expect_listed (f, 0, false, 64);
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&job), 0);
  expect_listed (f, 0, false, 30);
  expect_listed (f, 30, true, 1);
  zero (f, 30 * PAGE, PAGE, CACHE_FUA);
  expect_listed (f, 30, false, 64);
  fixture_stop (f);
}

/* A mapping given out before it was, of what was unknown then and learned to be
 * zero since, does not hold: the store may go back to what was there.
 */
static void
test_listed_over_learned (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct iomap iomap;

  (void) state;
  fake_store_set_status (f->fake, 0, 16 * MiB, STORE_UNWRITTEN);
  assert_int_equal (f->fs->ops->begin (f->fs, 0, PAGE, IOMAP_NOWAIT, &iomap),
                    0);
  assert_int_equal (iomap.type, IOMAP_MAPPED);
  learn_extents (f);
  assert_true (f->fs->ops->valid (f->fs, &iomap));
  zero (f, 0, PAGE, 0);
  assert_false (f->fs->ops->valid (f->fs, &iomap));
  fixture_stop (f);
}

/* --- races --- */

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
  flush_ok (f);
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
  flush_ok (f);
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
  flush_ok (f);
  UNTIL (atomic_load (&f->mapping->nr_unsaved) == 0);
  check_flushed (f);
  fixture_stop (f);
}

/* Zeroes become uptodate by whole blocks: what would be left of a block could
 * not be read from a store that reads by blocks.
 */
static void
test_missing_blocks (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .min_io = 4096 });

  (void) state;
  put (f, 0, 2 * PAGE, 1);
  zero (f, PAGE, PAGE, 0);
  assert_int_equal (page_masks (f, 1), 0);
  expect_zero (f, PAGE + 1000, 10);
  assert_int_equal (page_masks (f, 1), 0xff);
  fixture_stop (f);
}

static bool
was_refused (struct fixture *f)
{
  struct ranges *ranges = &f->mapping->ranges;
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
    cmocka_unit_test (test_reads_zero_at_once),
    cmocka_unit_test (test_dirty_is_dropped),
    cmocka_unit_test (test_small),
    cmocka_unit_test (test_cost),
    cmocka_unit_test (test_fast_zero),
    cmocka_unit_test (test_half_fast_zero),
    cmocka_unit_test (test_failure),
    cmocka_unit_test (test_fua),
    cmocka_unit_test (test_flush_after_zero),
    cmocka_unit_test (test_listed),
    cmocka_unit_test (test_listed_over_learned),
    cmocka_unit_test (test_during_writeback),
    cmocka_unit_test (test_writeback_during_zero),
    cmocka_unit_test (test_during_fill),
    cmocka_unit_test (test_write_during_zero),
    cmocka_unit_test (test_missing_blocks),
    cmocka_unit_test (test_mapping_of_refused),
    cmocka_unit_test (test_hammer),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
