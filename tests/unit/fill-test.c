/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading: what the store is asked for, and how often; and who waits for whom.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

static struct fixture *
start_with_data (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);

  store_put (f, 0, f->config.disk_size, 0);
  return f;
}

static uint32_t
nr_cached (struct fixture *f)
{
  return f->mapping->folios.arena->nr_pages -
         atomic_load (&f->mapping->folios.arena->nr_free);
}

/* --- what is asked for --- */

FIXTURE_TEST (one_request_a_run,
              start_with_data (&(struct fixture_config) { 0 }))
{
  expect (f, 5 * PAGE, 100000, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);
  assert_int_equal (nth_request (f, STORE_READ, 0).offset, 5 * PAGE);
  assert_int_equal (nth_request (f, STORE_READ, 0).length, 25 * PAGE);
  expect (f, 5 * PAGE, 25 * PAGE, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);

  /* Around what is there: two runs. */
  fake_store_clear (f->fake);
  expect (f, 0, 64 * PAGE, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 2);
  assert_int_equal (nth_request (f, STORE_READ, 0).offset, 0);
  assert_int_equal (nth_request (f, STORE_READ, 0).length, 5 * PAGE);
  assert_int_equal (nth_request (f, STORE_READ, 1).offset, 30 * PAGE);
  assert_int_equal (nth_request (f, STORE_READ, 1).length, 34 * PAGE);
  check_state (f);
}

/* Of a page with sectors that were written, only the others. */
FIXTURE_TEST (missing_sectors_only,
              start_with_data (&(struct fixture_config) { 0 }))
{
  put (f, 2 * 512, 2 * 512, 1);
  put (f, PAGE + 7 * 512, 512, 1);
  expect (f, 2 * 512, 2 * 512, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  expect (f, 0, 2 * 512, 0);
  expect (f, 4 * 512, PAGE + 3 * 512, 0);
  expect (f, PAGE + 7 * 512, 512, 1);
  expect (f, 2 * 512, 2 * 512, 1);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 2 * PAGE - 3 * 512);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 3);
  assert_int_equal (nth_request (f, STORE_READ, 0).offset, 0);
  assert_int_equal (nth_request (f, STORE_READ, 0).length, 2 * 512);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 1024, 0);
}

CACHE_TEST (holes)
{
  fake_store_set_status (f->fake, 0, 6 * MiB, STORE_HOLE);
  fake_store_set_status (f->fake, 6 * MiB, 4 * MiB, STORE_UNWRITTEN);
  store_put (f, 10 * MiB, 1 * MiB, 0);
  learn_extents (f);
  expect_zero (f, 100, 10 * MiB - 100);
  expect_zero (f, 3, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (nr_cached (f), 0);
  expect (f, 10 * MiB, 1 * MiB, 0);
  assert_true (fake_store_count (f->fake, STORE_READ) > 0);

  /* A few dirty sectors in the middle of it. */
  fake_store_clear (f->fake);
  put (f, 7 * MiB + 512, 1024, 1);
  expect_zero (f, 6 * MiB, 1 * MiB + 512);
  expect (f, 7 * MiB + 512, 1024, 1);
  expect_zero (f, 7 * MiB + 1536, 1 * MiB);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
}

/* No request is larger than the store takes. */
CACHE_TEST (large_read, .disk_size = 20 * MiB, .cache_size = 64 * MiB)
{
  struct fake_record record;
  size_t i;

  f->fake->store.geo.max_io = 256 << 10;
  store_put (f, 0, 20 * MiB, 0);
  expect (f, 1, 20 * MiB - 1, 0);
  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    assert_true (record.length <= 256 << 10);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 20 * MiB);
  expect (f, 0, 20 * MiB, 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 20 * MiB);
}

FIXTURE_TEST (prefetch, start_with_data (&(struct fixture_config) { 0 }))
{
  fake_store_set_status (f->fake, 4 * MiB, 1 * MiB, STORE_HOLE);
  learn_extents (f);
  assert_int_equal (cache_prefetch (f->conn, 3 * MiB, 3 * MiB), 0);
  fake_store_clear (f->fake);
  expect (f, 3 * MiB, 1 * MiB, 0);
  expect_zero (f, 4 * MiB, 1 * MiB);
  expect (f, 5 * MiB, 1 * MiB, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (cache_prefetch (f->conn, 1, 16 * MiB), -EINVAL);
}

/* --- side by side --- */

#define READERS 8

/* Everyone misses in one folio: one store read for all. */
FIXTURE_TEST (shared_fill, start_with_data (&(struct fixture_config) { 0 }))
{
  static uint8_t bufs[READERS][16 * PAGE_SIZE], want[16 * PAGE_SIZE];
  struct job jobs[READERS];
  unsigned i;

  fake_store_hold (f->fake, STORE_READ);
  for (i = 0; i < READERS; i++) {
    jobs[i] =
      (struct job) { .op = JOB_READ, .buf = bufs[i], .count = sizeof bufs[i] };
    job_start (f, i % NR_CONNS, &jobs[i]);
    if (i == 0)
      fake_store_wait_held (f->fake, STORE_READ, 1);
  }
  fixture_until_asleep (f, READERS);
  fake_store_unhold (f->fake, STORE_READ);
  fill_pattern (want, sizeof want, 0, 0);
  for (i = 0; i < READERS; i++) {
    assert_int_equal (job_join (&jobs[i]), 0);
    assert_memory_equal (bufs[i], want, sizeof want);
  }
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);
}

/* Different places: all of them are at the store together. */
FIXTURE_TEST (parallel_reads, start_with_data (&(struct fixture_config) { 0 }))
{
  static uint8_t bufs[READERS][PAGE_SIZE];
  uint8_t want[PAGE_SIZE];
  struct job jobs[READERS];
  unsigned i;

  fake_store_hold (f->fake, STORE_READ);
  for (i = 0; i < READERS; i++) {
    jobs[i] = (struct job) {
      .op = JOB_READ, .buf = bufs[i], .count = PAGE, .offset = i * PAGE
    };
    job_start (f, i % NR_CONNS, &jobs[i]);
  }
  fake_store_wait_held (f->fake, STORE_READ, READERS);
  for (i = 0; i < READERS; i++)
    assert_int_equal (fake_store_release_newest (f->fake, STORE_READ), 1);
  for (i = 0; i < READERS; i++) {
    assert_int_equal (job_join (&jobs[i]), 0);
    fill_pattern (want, PAGE, i * PAGE, 0);
    assert_memory_equal (bufs[i], want, PAGE);
  }
}

/* Nobody else waits while the store is at a read, a write or a flush: not a
 * hit, not a write, and not a miss elsewhere.
 */
static void
others_go_on (struct fixture *f)
{
  unsigned i;

  for (i = 0; i < 4; i++) {
    expect (f, 8 * MiB, 1 * MiB, 0);
    put (f, 8 * MiB + i * PAGE, PAGE, 0);
    put (f, 12 * MiB + i * PAGE + 512, 512, 1);
  }
  expect (f, 12 * MiB + 512, 512, 1);
}

FIXTURE_TEST (nobody_waits, start_with_data (&(struct fixture_config) { 0 }))
{
  static uint8_t buf[16 * PAGE_SIZE];
  struct job read = { .op = JOB_READ, .buf = buf, .count = sizeof buf };
  struct job flush = { .op = JOB_FLUSH };

  expect (f, 8 * MiB, 1 * MiB, 0);
  job_start_held (f, 1, &read, STORE_READ);
  others_go_on (f);

  put (f, 1 * MiB, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 2, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 2);
  others_go_on (f);
  expect (f, 1 * MiB, 16 * PAGE, 1); /* also what is being written back */
  put (f, 1 * MiB, 16 * PAGE, 2);
  fake_store_unhold (f->fake, STORE_WRITE);

  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  others_go_on (f);
  expect (f, 1 * MiB, 16 * PAGE, 2);
  assert_false (atomic_load (&read.done));
  job_let_go (f, &flush, STORE_FLUSH);
  job_let_go (f, &read, STORE_READ);
}

/* A write to a folio that is being filled is not overwritten by the fill. */
FIXTURE_TEST (write_during_fill,
              start_with_data (&(struct fixture_config) { 0 }))
{
  static uint8_t buf[16 * PAGE_SIZE], data[1000];
  struct job read = { .op = JOB_READ, .buf = buf, .count = sizeof buf };
  struct job write = {
    .op = JOB_WRITE, .buf = data, .count = sizeof data, .offset = 3 * PAGE + 100
  };

  job_start_held (f, 1, &read, STORE_READ);
  fill_pattern (data, sizeof data, write.offset, 1);
  job_start (f, 2, &write);
  fixture_until_asleep (f, 2);
  job_let_go (f, &read, STORE_READ);
  assert_int_equal (job_join (&write), 0);
  expect (f, 0, 3 * PAGE + 100, 0);
  expect (f, 3 * PAGE + 100, 1000, 1);
  expect (f, 3 * PAGE + 1100, 10000, 0);
}

/* --- failures --- */

FIXTURE_TEST (read_fails, start_with_data (&(struct fixture_config) { 0 }))
{
  static uint8_t bufs[3][16 * PAGE_SIZE];
  struct job jobs[3];
  unsigned i, failed = 0;

  fake_store_fail_next (f->fake, STORE_READ, 1, -EIO);
  fake_store_hold (f->fake, STORE_READ);
  for (i = 0; i < 3; i++) {
    jobs[i] =
      (struct job) { .op = JOB_READ, .buf = bufs[i], .count = sizeof bufs[i] };
    job_start (f, i, &jobs[i]);
  }
  fixture_until_asleep (f, 3);
  fake_store_unhold (f->fake, STORE_READ);
  for (i = 0; i < 3; i++)
    failed += job_join (&jobs[i]) == -EIO;
  assert_int_equal (failed, 1);
  expect (f, 0, 16 * PAGE, 0);

  /* Of two runs, the one that could be read is kept. */
  put (f, 1 * MiB + 4 * PAGE, PAGE, 1);
  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_READ,
                                                  .offset = 1 * MiB + 6 * PAGE,
                                                  .length = 1,
                                                  .error = -EIO,
                                                  .count = 1 });
  assert_int_equal (cache_read (f->conn, bufs[0], 16 * PAGE, 1 * MiB), -EIO);
  expect (f, 1 * MiB, 4 * PAGE, 0);
  expect (f, 1 * MiB + 4 * PAGE, PAGE, 1);
  expect (f, 1 * MiB + 5 * PAGE, 11 * PAGE, 0);
}

/* --- mappings that change --- */

static struct {
  struct fixture *f;
  unsigned begins;
} hook;

/* The range is zeroed after the mapping was asked for. */
static int
zeroing_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
               struct iomap *iomap)
{
  int r = hook.f->raw_ops->begin (fs, pos, length, flags, iomap);

  if (hook.begins++ == 0) {
    assert_int_equal (iomap->type, IOMAP_MAPPED);
    assert_int_equal (cache_zero (hook.f->conn, 1 * MiB, 0, 0), 0);
    store_put (hook.f, 0, 1 * MiB, 7); /* not to be looked at */
  }
  return r;
}

FIXTURE_TEST (stale_mapping, start_with_data (&(struct fixture_config) { 0 }))
{
  hook.f = f;
  hook.begins = 0;
  f->ops.begin = zeroing_begin;
  expect_zero (f, 0, 1 * MiB);
  assert_true (hook.begins > 1);
  expect (f, 1 * MiB, 1 * MiB, 0);
}

/* A hole is written to, written back and evicted after it was found. */
static int
filling_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
               struct iomap *iomap)
{
  int r = hook.f->raw_ops->begin (fs, pos, length, flags, iomap);

  if (hook.begins++ == 0) {
    assert_int_equal (iomap->type, IOMAP_HOLE);
    put (hook.f, 0, 1 * MiB, 1);
    assert_int_equal (cache_flush (hook.f->conn), 0);
    UNTIL (atomic_load (&hook.f->mapping->folios.nr_unsaved) == 0);
    folios_drop_range (&hook.f->mapping->folios, NULL, NULL, 0, 1 * MiB);
  }
  return r;
}

FIXTURE_TEST (stale_hole, fixture_start (&(struct fixture_config) { 0 }))
{
  fake_store_set_status (f->fake, 0, 16 * MiB, STORE_HOLE);
  learn_extents (f);
  hook.f = f;
  hook.begins = 0;
  f->ops.begin = filling_begin;
  expect (f, 0, 1 * MiB, 1);
  assert_true (hook.begins > 2);
}

/* --- a cache much smaller than the disk --- */

static void
small_cache (const struct fixture_config *config)
{
  struct fixture *f = start_with_data (config);
  struct rng rng = test_rng ("small_cache");
  uint64_t size = f->config.disk_size, offset = 0, n;
  uint8_t *disk = xcalloc (1, size), *got = xcalloc (1, size);
  unsigned i, conn;

  fill_pattern (disk, size, 0, 0);
  for (i = 0; i < 400; i++) {
    conn = (unsigned) rng_below (&rng, NR_CONNS);
    if (offset >= size || rng_chance (&rng, 50))
      offset = rng_below (&rng, size);
    n = min_u64 (rng_log (&rng, 400000), size - offset);
    if (rng_chance (&rng, 40)) {
      fill_pattern (disk + offset, n, offset, i);
      assert_int_equal (
        cache_write (f->conns[conn], disk + offset, (uint32_t) n, offset, 0),
        0);
    }
    else {
      assert_int_equal (cache_read (f->conns[conn], got, (uint32_t) n, offset),
                        0);
      assert_memory_equal (got, disk + offset, n);
    }
    offset += n;
  }
  assert_int_equal (cache_read (f->conn, got, (uint32_t) size, 0), 0);
  assert_memory_equal (got, disk, size);
  assert_int_equal (cache_flush (f->conn), 0);
  fake_store_peek (f->fake, 0, got, size);
  assert_memory_equal (got, disk, size);
  fixture_stop (f);
  free (disk);
  free (got);
}

TEST (small_cache)
{
  small_cache (&(struct fixture_config) { .cache_size = 1 * MiB,
                                          .dirty_limit = 256 * KiB });
  small_cache (&(struct fixture_config) { .cache_size = 2 * MiB,
                                          .disk_size = 8 * MiB + 300,
                                          .readahead = 1 * MiB,
                                          .min_io = 4096 });
  small_cache (&(struct fixture_config) {
    .cache_size = 1 * MiB, .small_folios = true, .readahead = 256 * KiB });
}

RUN_TESTS ()
