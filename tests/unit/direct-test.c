/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The direct path: cache=none and long streams, coherent with what is cached;
 * and what is said of direct writes whose flush fails.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "disk-model.h"
#include "seed.h"

static struct fixture *
start_none (uint32_t min_io)
{
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .mode = CACHE_NONE, .min_io = min_io });

  store_put (f, 0, f->config.disk_size, 0);
  return f;
}

/* --- straight through --- */

FIXTURE_TEST (none, start_none (512))
{
  uint32_t nr_free = atomic_load (&f->mapping->folios.arena->nr_free);

  expect (f, 0, 5 * MiB, 0);
  put (f, 1 * MiB, 3 * MiB + 512, 1);
  store_expect (f, 1 * MiB, 3 * MiB + 512, 1);
  expect (f, 0, 1 * MiB, 0);
  expect (f, 1 * MiB, 3 * MiB + 512, 1);
  assert_int_equal (atomic_load (&f->mapping->folios.arena->nr_free), nr_free);
  assert_true (fake_store_bytes (f->fake, STORE_READ) >= 9 * MiB);
}

static void
unaligned_ends (uint32_t min_io)
{
  struct fixture *f = start_none (min_io);

  put (f, 1000, 100000, 1);
  store_expect (f, 0, 1000, 0);
  store_expect (f, 1000, 100000, 1);
  store_expect (f, 101000, 100000, 0);
  put (f, 7, 3, 2);
  store_expect (f, 0, 7, 0);
  store_expect (f, 7, 3, 2);
  store_expect (f, 10, 990, 0);
  expect (f, 7, 3, 2);
  expect (f, 999, 1, 0);
  expect (f, 1000, 77777, 1);
  put (f, 0, 16 * PAGE, 3);
  expect (f, 0, 16 * PAGE, 3);
  store_expect (f, 0, 16 * PAGE, 3);
  put (f, 16 * MiB - 100, 100, 4);
  store_expect (f, 16 * MiB - 100, 100, 4);
  assert_int_equal (cache_zero (f->conn, 50000, 33, 0), 0);
  expect_zero (f, 33, 50000);
  store_expect (f, 0, 33, 3);
  expect (f, 50033, 15000, 3);
  fixture_stop (f);
}

TEST (unaligned_ends)
{
  unaligned_ends (512);
  unaligned_ends (4096);
}

/* Random requests, direct because of the stream or not: one disk. */
#define DISK (3 * MiB + 1000)

static void
random_mix (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);
  struct disk_model *m = disk_model_start (f, test_rng ("random_mix"), 0);
  uint8_t *got = xcalloc (1, DISK);
  uint64_t offset = 0, n;
  unsigned i, conn;

  for (i = 0; i < 300; i++) {
    conn = (unsigned) rng_below (&m->rng, NR_CONNS);
    if (offset == DISK || rng_chance (&m->rng, 30))
      offset = rng_below (&m->rng, DISK);
    n = min_u64 (rng_log (&m->rng, 200000), DISK - offset);
    if (rng_chance (&m->rng, 50)) {
      fill_pattern (m->disk + offset, n, offset, i);
      assert_int_equal (put_flags (f, conn, offset, n, i, 0), 0);
    }
    else {
      assert_int_equal (cache_read (f->conns[conn], got, (uint32_t) n, offset),
                        0);
      assert_memory_equal (got, m->disk + offset, n);
    }
    offset += n;
  }
  assert_int_equal (cache_flush (f->conn), 0);
  disk_model_end (m);
  fixture_stop (f);
  free (got);
}

TEST (random_mix)
{
  random_mix (
    &(struct fixture_config) { .disk_size = DISK, .mode = CACHE_NONE });
  random_mix (&(struct fixture_config) {
    .disk_size = DISK, .min_io = 4096, .mode = CACHE_NONE });
  random_mix (&(struct fixture_config) { .disk_size = DISK,
                                         .sequential_cutoff = 200 * KiB });
  random_mix (&(struct fixture_config) {
    .disk_size = DISK, .min_io = 4096, .sequential_cutoff = 1 });
}

/* --- streams --- */

CACHE_TEST (cutoff, .sequential_cutoff = 1 * MiB)
{
  unsigned i;

  /* Dirty data in the stream's way. */
  put (f, 3 * MiB + PAGE, PAGE, 1);
  for (i = 0; i < 40; i++) {
    put (f, i * 128 * KiB, 128 * KiB, 2);
    put (f, 8 * MiB + i * 64 * KiB % (1 * MiB), PAGE, 3);
  }
  store_expect (f, 1 * MiB, 4 * MiB, 2);
  assert_true (atomic_load (&f->mapping->folios.nr_dirty) <=
               1 * MiB / PAGE + 40);
  expect (f, 0, 5 * MiB, 2);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 5 * MiB, 2);
  check_flushed (f);
}

/* A read past the cutoff sees what is dirty. */
CACHE_TEST (cutoff_read, .sequential_cutoff = 256 * KiB)
{
  uint32_t nr_free;
  unsigned i;

  store_put (f, 0, 8 * MiB, 0);
  for (i = 0; i < 64; i++)
    put (f, i * 128 * KiB + 512, 512, 1);
  nr_free = atomic_load (&f->mapping->folios.arena->nr_free);
  for (i = 0; i < 64; i++) {
    uint64_t offset = i * 128 * KiB;
    uint8_t got[3 * 512], want[3 * 512];
    uint8_t *buf = xcalloc (1, 128 * KiB);

    assert_int_equal (cache_read (f->conn, buf, 128 * KiB, offset), 0);
    memcpy (got, buf, sizeof got);
    fill_pattern (want, sizeof want, offset, 0);
    fill_pattern (want + 512, 512, offset + 512, 1);
    assert_memory_equal (got, want, sizeof got);
    fill_pattern (want, 512, offset + 128 * KiB - 512, 0);
    assert_memory_equal (buf + 128 * KiB - 512, want, 512);
    free (buf);
  }
  /* Little of it was cached. */
  assert_true (nr_free - atomic_load (&f->mapping->folios.arena->nr_free) <
               512 * KiB / PAGE);
}

/* --- meeting others --- */

/* A write-back of the range is under way: the direct write waits for it. */
CACHE_TEST (during_writeback, .sequential_cutoff = 512 * KiB)
{
  static uint8_t buf[1 << 20];
  struct job flush = { .op = JOB_FLUSH };
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };

  put (f, 0, 16 * PAGE, 1);
  job_start_held (f, 0, &flush, STORE_WRITE);
  fill_pattern (buf, sizeof buf, 0, 2);
  job_start (f, 1, &write);
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 1);
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  job_let_go (f, &write, STORE_WRITE);
  assert_int_equal (job_join (&flush), 0);
  expect (f, 0, 1 * MiB, 2);
  store_expect (f, 0, 1 * MiB, 2);
}

/* A fill that read before a direct write does not stay behind it. */
CACHE_TEST (during_fill, .sequential_cutoff = 512 * KiB)
{
  static uint8_t buf[1 << 20], got[PAGE_SIZE];
  struct job read = { .op = JOB_READ, .buf = got, .count = sizeof got };
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };

  store_put (f, 0, 1 * MiB, 1);
  fill_pattern (buf, sizeof buf, 0, 2);
  job_start_held (f, 0, &read, STORE_READ);
  job_start (f, 1, &write);
  UNTIL (fake_store_bytes (f->fake, STORE_WRITE) == sizeof buf);
  fixture_until_asleep (f, 2);
  store_put (f, 0, PAGE, 1); /* as if the read had come first */
  fake_store_release (f->fake, STORE_READ, 1);
  store_put (f, 0, PAGE, 2);
  job_let_go (f, &write, STORE_READ);
  assert_int_equal (job_join (&read), 0);
  expect (f, 0, 1 * MiB, 2);
}

/* A direct write that fails leaves dirty data as it was. */
CACHE_TEST (write_fails, .sequential_cutoff = 1 * MiB)
{
  put (f, 4 * PAGE, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -ENOSPC);
  assert_int_equal (put_flags (f, 1, 0, 1 * MiB, 2, 0), -ENOSPC);
  expect (f, 4 * PAGE, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 4 * PAGE, PAGE, 1);
}

/* --- flushes that fail --- */

/* Nobody has a copy of what was lost: every connection is told, once. */
FIXTURE_TEST (each_is_told_once, start_none (512))
{
  unsigned i;

  put (f, 0, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conns[2]), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), i == 2 ? 0 : -EIO);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), 0);
}

/* Also of what was written after a flush that failed with others under way. */
FIXTURE_TEST (told_of_each_failure, start_none (512))
{
  struct job flush = { .op = JOB_FLUSH };

  fake_store_volatile (f->fake);
  fake_store_lossy (f->fake, 0);
  put (f, 0, PAGE, 1);
  job_start_held (f, 0, &flush, STORE_FLUSH);
  assert_int_equal (put_flags (f, 1, 1 * MiB, PAGE, 1, 0), 0);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);

  put (f, 2 * MiB, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conns[2]), -EIO);
  store_expect (f, 2 * MiB, PAGE, 0);
  assert_int_equal (cache_flush (f->conn), -EIO);
  flush_ok (f, 0);
}

/* Also when the connection writes over a zero before it flushes. */
FIXTURE_TEST (told_despite_zero, start_none (512))
{
  assert_int_equal (put_flags (f, 1, 0, PAGE, 1, 0), 0);
  assert_int_equal (cache_zero (f->conn, PAGE, 1 * MiB, 0), 0);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  put_flags (f, 1, 1 * MiB, PAGE, 1, 0);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
}

/* The store has done the write, and its flush fails, before the writer has got
 * that far.
 */
static void
overtaken_by_flush (unsigned flags)
{
  struct fixture *f = start_none (512);
  struct gate gate = { 0 };
  static uint8_t buf[PAGE_SIZE];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = PAGE, .flags = flags, .gate = &gate
  };

  fake_store_volatile (f->fake);
  fake_store_lossy (f->fake, 0);
  fake_store_hold (f->fake, STORE_WRITE);
  fill_pattern (buf, PAGE, 0, 1);
  job_start (f, 1, &write);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  fixture_until_asleep (f, 1);
  fake_store_unhold (f->fake, STORE_WRITE);
  gate_await (&gate);
  put (f, 1 * MiB + 1, 1, 1); /* through the cache */
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  gate_open (f, &gate);
  /* It is done again, by who still has the data. */
  assert_int_equal (job_join (&write), 0);
  if (!(flags & CACHE_FUA))
    flush_ok (f, 1);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 1);
  fixture_stop (f);
}

TEST (overtaken_by_flush)
{
  overtaken_by_flush (0);
}

TEST (fua_overtaken_by_flush)
{
  overtaken_by_flush (CACHE_FUA);
}

FIXTURE_TEST (fua, start_none (512))
{
  fake_store_volatile (f->fake);
  assert_int_equal (put_flags (f, 0, 100, 100000, 1, CACHE_FUA), 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 100, 0);
  store_expect (f, 100, 100000, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 0, PAGE, 2, CACHE_FUA), -EIO);
}

/* --- memory --- */

/* Write-back goes on while direct reads have all the bounce memory. */
static _Atomic unsigned mapped_for_writeback;
static const struct iomap_ops *below;

static int
counting_map (struct fs *fs, const struct iomap_run *runs, unsigned n,
              struct iomap_place *place)
{
  atomic_fetch_add (&mapped_for_writeback, 1);
  return below->map_for_writeback (fs, runs, n, place);
}

CACHE_TEST (bounce_memory_used_up, .mode = CACHE_NONE, .cache_size = 1 * MiB)
{
  static uint8_t bufs[2][1 << 20], byte;
  struct job reads[2];
  struct job write = {
    .op = JOB_WRITE, .buf = &byte, .count = 1, .offset = 8 * MiB + 1
  };
  unsigned i;

  below = f->raw_ops;
  f->ops.map_for_writeback = counting_map;
  atomic_store (&mapped_for_writeback, 0);
  fake_store_hold (f->fake, STORE_READ);
  for (i = 0; i < 2; i++) {
    reads[i] = (struct job) { .op = JOB_READ,
                              .buf = bufs[i],
                              .count = sizeof bufs[i],
                              .offset = i * 2 * MiB };
    job_start (f, i, &reads[i]);
  }
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_held (f->fake, STORE_READ), 1);
  assert_int_equal (atomic_load (&f->cache->bounce->nr_free), 0);
  /* Its block must be read, too. */
  job_start (f, 2, &write);
  fake_store_wait_held (f->fake, STORE_READ, 2);
  fake_store_release_newest (f->fake, STORE_READ);
  assert_int_equal (job_join (&write), 0);
  assert_true (atomic_load (&mapped_for_writeback) > 0);
  fake_store_unhold (f->fake, STORE_READ);
  for (i = 0; i < 2; i++)
    assert_int_equal (job_join (&reads[i]), 0);
}

RUN_TESTS ()
