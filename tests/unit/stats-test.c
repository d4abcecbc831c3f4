/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Counters: that each counts what it says, and that none is lost.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "cache/life/snapshot.h"
#include "tests/tools/util.h"

static uint8_t buf[1 << 20];

/* --- a mapping's counters, and how far they have moved --- */

static struct stats_snapshot before;

static void
mark (struct fixture *f)
{
  stats_read (f->mapping, &before);
}

/* By how much it has changed since the mark. */
static uint64_t
moved (struct fixture *f, enum counter counter)
{
  struct stats_snapshot now;

  stats_read (f->mapping, &now);
  return now.counters[counter] - before.counters[counter];
}

/* A kind of request: how many, and how many bytes. */
static void
expect_moved (struct fixture *f, enum counter counter, uint64_t n,
              uint64_t bytes)
{
  assert_int_equal (moved (f, counter), n);
  assert_int_equal (moved (f, counter + 1), bytes);
}

static struct stats_distribution
distribution (struct fixture *f, enum histogram histogram)
{
  struct stats_snapshot now;

  stats_read (f->mapping, &now);
  return now.histograms[histogram];
}

/* --- the counters themselves --- */

CACHE_TEST (buckets)
{
  static const struct {
    uint64_t value;
    unsigned bucket;
  } cases[] = {
    { 0, 0 },
    { 1, 1 },
    { 2, 2 },
    { 3, 2 },
    { 4, 3 },
    { 1023, 10 },
    { 1024, 11 },
    { (UINT64_C (1) << (HIST_BUCKETS - 1)) - 1, HIST_BUCKETS - 1 },
    { UINT64_C (1) << (HIST_BUCKETS - 1), HIST_BUCKETS - 1 },
    { UINT64_C (1) << 62, HIST_BUCKETS - 1 },
  };
  struct stats_distribution d;
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t n = distribution (f, HIST_PAUSE).buckets[cases[i].bucket];

    stats_note (f->mapping->stats, HIST_PAUSE, cases[i].value);
    sum += cases[i].value;
    d = distribution (f, HIST_PAUSE);
    assert_int_equal (d.buckets[cases[i].bucket], n + 1);
    assert_int_equal (d.count, i + 1);
    assert_int_equal (d.sum, sum);
    assert_int_equal (d.max, cases[i].value);
  }
  stats_note (f->mapping->stats, HIST_PAUSE, 7);
  assert_int_equal (distribution (f, HIST_PAUSE).max, UINT64_C (1) << 62);
}

TEST (names)
{
  const char *names[NR_STATS + NR_HISTOGRAMS];
  unsigned i, j;

  for (i = 0; i < NR_STATS; i++)
    names[i] = stats_counter_name (i);
  for (i = 0; i < NR_HISTOGRAMS; i++)
    names[NR_STATS + i] = stats_histogram_name (i);
  for (i = 0; i < NR_STATS; i++) {
    assert_non_null (names[i]);
    assert_int_equal (strspn (names[i], "abcdefghijklmnopqrstuvwxyz-"),
                      strlen (names[i]));
    for (j = 0; j < i; j++)
      assert_string_not_equal (names[i], names[j]);
  }
  for (i = NR_STATS; i < NR_STATS + NR_HISTOGRAMS; i++)
    assert_non_null (names[i]);
}

/* More threads than slots, so that some share one. */
#define THREADS (STATS_SLOTS + 9)
#define ROUNDS 2000

static _Atomic unsigned running;

static void *
count_much (void *arg)
{
  struct stats *stats = arg;
  unsigned i;

  atomic_fetch_add (&running, 1);
  UNTIL (atomic_load (&running) >= THREADS);
  for (i = 0; i < ROUNDS; i++) {
    stats_add (stats, STAT_READ_BYTES, 3);
    stats_add (stats, STAT_RETRY_BYTES, i);
    stats_note (stats, HIST_MERGE, i % 4);
  }
  return NULL;
}

CACHE_TEST (threads)
{
  pthread_t threads[THREADS];
  struct stats_distribution d;
  uint64_t last = 0;
  unsigned i;

  mark (f);
  atomic_store (&running, 0);
  for (i = 0; i < THREADS; i++)
    assert_int_equal (
      pthread_create (&threads[i], NULL, count_much, f->mapping->stats), 0);
  /* Reading meanwhile: never backwards. */
  for (i = 0; i < 100; i++) {
    uint64_t now = moved (f, STAT_READ_BYTES);

    assert_true (now >= last);
    last = now;
  }
  for (i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  assert_int_equal (moved (f, STAT_READ_BYTES), 3 * THREADS * ROUNDS);
  assert_int_equal (moved (f, STAT_RETRY_BYTES),
                    (uint64_t) THREADS * ROUNDS * (ROUNDS - 1) / 2);
  d = distribution (f, HIST_MERGE);
  assert_int_equal (d.count, THREADS * ROUNDS);
  assert_int_equal (d.buckets[0], THREADS * ROUNDS / 4);
  assert_int_equal (d.buckets[2], THREADS * ROUNDS / 2);
  assert_int_equal (d.max, 3);
}

/* Several threads that have one slot, and none counts for another. */
#define SHARING 4
#define SHARED_ROUNDS 1000000

static void *
count_in_first_slot (void *arg)
{
  unsigned i;

  stats_thread = 1;
  atomic_fetch_add (&running, 1);
  UNTIL (atomic_load (&running) >= SHARING);
  for (i = 0; i < SHARED_ROUNDS; i++)
    stats_add (arg, STAT_READ_BYTES, 1);
  return NULL;
}

CACHE_TEST (shared_slot)
{
  pthread_t threads[SHARING];
  unsigned i;

  mark (f);
  atomic_store (&running, 0);
  for (i = 0; i < SHARING; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, count_in_first_slot,
                                      f->mapping->stats),
                      0);
  for (i = 0; i < SHARING; i++)
    pthread_join (threads[i], NULL);
  assert_int_equal (moved (f, STAT_READ_BYTES), SHARING * SHARED_ROUNDS);
}

/* --- requests --- */

static bool
ignore (void *opaque, uint64_t offset, uint64_t length, bool hole, bool zero)
{
  (void) opaque;
  (void) offset;
  (void) length;
  (void) hole;
  (void) zero;
  return true;
}

CACHE_TEST (requests)
{
  mark (f);
  put (f, 0, 5000, 1);
  assert_int_equal (put_flags (f, 1, PAGE, PAGE, 1, CACHE_FUA), 0);
  expect_moved (f, STAT_WRITES, 2, 5000 + PAGE);
  assert_int_equal (moved (f, STAT_FUA), 1);

  assert_int_equal (cache_zero (f->conn, 8 * PAGE, 0, 0), 0);
  expect_moved (f, STAT_ZEROES, 1, 8 * PAGE);
  assert_int_equal (cache_trim (f->conn, 4 * PAGE, 0, CACHE_FUA), 0);
  expect_moved (f, STAT_TRIMS, 1, 4 * PAGE);
  assert_int_equal (moved (f, STAT_FUA), 2);

  assert_int_equal (cache_prefetch (f->conn, PAGE, 1 * MiB), 0);
  expect_moved (f, STAT_PREFETCHES, 1, PAGE);
  assert_int_equal (cache_extents (f->conn, 1 * MiB, 0, ignore, NULL), 0);
  expect_moved (f, STAT_EXTENTS, 1, 1 * MiB);
  assert_int_equal (cache_flush (f->conn), 0);
  assert_int_equal (moved (f, STAT_FLUSHES), 1);
  assert_int_equal (distribution (f, HIST_FLUSH).count, 1);
  /* Those of the two with FUA; the last one may find all durable. */
  assert_in_range (moved (f, STAT_STORE_FLUSHES), 2, 4);
  assert_int_equal (distribution (f, HIST_STORE_FLUSH).count,
                    moved (f, STAT_STORE_FLUSHES));
  assert_int_equal (moved (f, STAT_READS), 0);
  assert_int_equal (moved (f, STAT_FAILED), 0);
}

CACHE_TEST (failures, .no_zero = true)
{
  uint64_t size = f->config.disk_size;

  mark (f);
  assert_int_equal (cache_read (f->conn, buf, 512, size), -EINVAL);
  assert_int_equal (cache_write (f->conn, buf, 512, size, 0), -EINVAL);
  assert_int_equal (cache_prefetch (f->conn, 512, size), -EINVAL);
  assert_int_equal (moved (f, STAT_FAILED), 3);
  fake_store_fail_next (f->fake, STORE_READ, 1, -EIO);
  learn_extents (f);
  store_put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_read (f->conn, buf, PAGE, 1 * MiB), -EIO);
  assert_int_equal (moved (f, STAT_FAILED), 4);
  assert_int_equal (moved (f, STAT_STORE_READ_ERRORS), 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 0, PAGE, 1, CACHE_FUA), -EIO);
  assert_int_equal (moved (f, STAT_STORE_FLUSH_ERRORS), 1);
  assert_int_equal (moved (f, STAT_FAILED), 5);
  /* Whoever asks whether a zero would be fast is answered, not failed. */
  assert_int_equal (cache_zero (f->conn, PAGE, 0, CACHE_FAST_ZERO), -ENOTSUP);
  assert_int_equal (moved (f, STAT_FAILED), 5);
}

CACHE_TEST (hits_and_misses)
{
  fake_store_set_status (f->fake, 8 * MiB, 1 * MiB, STORE_HOLE);
  store_put (f, 1 * MiB, 3 * PAGE, 1);
  learn_extents (f);
  put (f, 0, PAGE, 1);
  mark (f);
  expect (f, 0, PAGE, 1);
  assert_int_equal (moved (f, STAT_MISSES), 0);
  expect (f, 1 * MiB, 2 * PAGE, 1);
  assert_int_equal (moved (f, STAT_MISSES), 1);
  expect_moved (f, STAT_STORE_READS, 1, 2 * PAGE);
  expect (f, 1 * MiB, 2 * PAGE, 1);
  assert_int_equal (moved (f, STAT_MISSES), 1);
  expect (f, 1 * MiB + PAGE, 2 * PAGE, 1); /* one half of it */
  assert_int_equal (moved (f, STAT_MISSES), 2);
  expect_moved (f, STAT_READS, 4, 7 * PAGE);
  /* The store has no part in a hole. */
  expect_zero (f, 8 * MiB, 1 * MiB);
  assert_int_equal (moved (f, STAT_MISSES), 2);
  assert_int_equal (moved (f, STAT_DIRECT_READS), 0);
}

CACHE_TEST (direct, .mode = CACHE_NONE)
{
  mark (f);
  put (f, 0, 2 * PAGE, 1);
  expect (f, 0, PAGE, 1);
  expect_moved (f, STAT_WRITES, 1, 2 * PAGE);
  expect_moved (f, STAT_DIRECT_WRITES, 1, 2 * PAGE);
  expect_moved (f, STAT_READS, 1, PAGE);
  expect_moved (f, STAT_DIRECT_READS, 1, PAGE);
  expect_moved (f, STAT_STORE_READS, 1, PAGE);
  expect_moved (f, STAT_STORE_WRITES, 1, 2 * PAGE);
  assert_int_equal (moved (f, STAT_MISSES), 0);
}

CACHE_TEST (readahead, .readahead = 64 * KiB, .small_folios = true)
{
  uint64_t pos, ahead, used;

  store_put (f, 0, 1 * MiB, 1);
  mark (f);
  for (pos = 0; pos < 256 * KiB; pos += PAGE)
    expect (f, pos, PAGE, 1);
  ahead = moved (f, STAT_READAHEAD_PAGES);
  used = moved (f, STAT_READAHEAD_USED);
  assert_true (used > 0 && used < 64);
  assert_true (ahead >= used && ahead <= used + 64 * KiB / PAGE * 2);
  assert_int_equal (moved (f, STAT_MISSES) + used, 64);
}

/* --- the store --- */

CACHE_TEST (latency, .fake_clock = true)
{
  struct job job = { .op = JOB_READ, .buf = buf, .count = PAGE };
  struct stats_distribution d;

  store_put (f, 0, PAGE, 1);
  job_start_held (f, 0, &job, STORE_READ);
  assert_int_equal (distribution (f, HIST_STORE_READ).count, 0);
  atomic_fetch_add (&f->clock, 3 * NSEC_PER_MSEC);
  job_let_go (f, &job, STORE_READ);
  d = distribution (f, HIST_STORE_READ);
  assert_int_equal (d.count, 1);
  assert_int_equal (d.sum, 3 * NSEC_PER_MSEC);
  assert_int_equal (d.buckets[22], 1); /* 2.1 to 4.2 ms */
}

/* What lies side by side goes out in one write. */
CACHE_TEST (merges, .small_folios = true)
{
  struct stats_distribution d;

  mark (f);
  put (f, 0, 5 * PAGE, 1);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  expect_moved (f, STAT_STORE_WRITES, 2, 6 * PAGE);
  assert_int_equal (distribution (f, HIST_STORE_WRITE).count, 2);
  d = distribution (f, HIST_MERGE);
  assert_int_equal (d.count, 2);
  assert_int_equal (d.sum, 6);
  assert_int_equal (d.max, 5);
  assert_int_equal (moved (f, STAT_RETRIES), 0);
}

/* What the store is told of zeroes, once it has been. */
CACHE_TEST (zeroes)
{
  mark (f);
  assert_int_equal (cache_zero (f->conn, 4 * PAGE, 0, 0), 0);
  assert_int_equal (cache_trim (f->conn, 2 * PAGE, 1 * MiB, 0), 0);
  assert_int_equal (moved (f, STAT_STORE_ZEROES), 0);
  flush_ok (f, 0);
  expect_moved (f, STAT_STORE_ZEROES, 2, 6 * PAGE);
  assert_int_equal (moved (f, STAT_STORE_ZERO_ERRORS), 0);

  assert_int_equal (cache_zero (f->conn, PAGE, 2 * MiB, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  expect_moved (f, STAT_STORE_ZEROES, 3, 7 * PAGE);
  assert_int_equal (moved (f, STAT_STORE_ZERO_ERRORS), 1);
  while (cache_flush (f->conn) < 0)
    ;
}

/* A write that fails, and one in flight while a flush fails. */
CACHE_TEST (retries)
{
  struct job flush = { .op = JOB_FLUSH }, fua;

  mark (f);
  put (f, 0, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (moved (f, STAT_STORE_WRITE_ERRORS), 1);
  expect_moved (f, STAT_RETRIES, 1, PAGE);
  while (cache_flush (f->conn) < 0)
    ;
  expect_moved (f, STAT_RETRIES, 1, PAGE);

  put (f, 0, PAGE, 1);
  job_start_held (f, 1, &flush, STORE_FLUSH);
  fake_store_hold (f->fake, STORE_WRITE);
  fua = (struct job) { .op = JOB_WRITE,
                       .buf = buf,
                       .count = PAGE,
                       .offset = 1 * MiB,
                       .flags = CACHE_FUA };
  job_start (f, 2, &fua);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  fake_store_unhold (f->fake, STORE_WRITE);
  job_join (&fua);
  expect_moved (f, STAT_RETRIES, 2, 2 * PAGE);
}

/* More than fits is written while the store is held. */
CACHE_TEST (pause, .dirty_limit = 256 * KiB)
{
  struct job job = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };

  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 0, &job);
  UNTIL (atomic_load (&f->mapping->throttle.waiters) == 1);
  job_let_go (f, &job, STORE_WRITE);
  assert_true (distribution (f, HIST_PAUSE).count >= 1);
  assert_true (distribution (f, HIST_PAUSE).max > 0);
}

/* --- what there is now --- */

CACHE_TEST (now, .cache_size = 2 * MiB, .dirty_limit = 1 * MiB)
{
  struct stats_snapshot s;
  uint64_t pos;

  put (f, 0, 3 * PAGE, 1);
  put (f, 8 * PAGE + 100, 1, 1);
  stats_read (f->mapping, &s);
  assert_int_equal (s.dirty, 4 * PAGE);
  assert_int_equal (s.unsaved, 4 * PAGE);
  assert_int_equal (s.writeback, 0);
  assert_int_equal (s.unstable, 0);
  assert_int_equal (s.limit, 1 * MiB);
  assert_int_equal (s.background, MiB / 2);
  assert_int_equal (s.cache_size, 2 * MiB);
  assert_int_equal (s.cache_free, 2 * MiB - 4 * PAGE);
  assert_int_equal (s.evicted, 0);
  assert_int_equal (s.losses, 0);
  assert_int_equal (cache_flush (f->conn), 0);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
  store_put (f, 4 * MiB, 4 * MiB, 1);
  for (pos = 4 * MiB; pos < 8 * MiB; pos += 64 * KiB)
    expect (f, pos, 64 * KiB, 1);
  stats_read (f->mapping, &s);
  assert_int_equal (s.unsaved, 0);
  /* All that came, and is not there any more. */
  assert_true (s.evicted >= 2 * MiB / PAGE + 4);
  assert_true (s.evicted <= 4 * MiB / PAGE + 4);
}

RUN_TESTS ()
