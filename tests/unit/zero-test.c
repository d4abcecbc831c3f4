/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim: what is read afterwards, and what the store is asked.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"

static void
zero (struct fixture *f, uint64_t offset, uint64_t n, unsigned flags)
{
  assert_int_equal (cache_zero (f->conn, n, offset, flags), 0);
}

CACHE_TEST (reads_zero_at_once)
{
  store_put (f, 0, 16 * MiB, 1);
  expect (f, 0, 1 * MiB, 1);
  put (f, 2 * MiB, 1 * MiB, 2);
  put (f, 4 * MiB, 1 * MiB, 2);
  flush_ok (f, 0);
  zero (f, 10, 5 * MiB, 0);
  expect (f, 0, 10, 1);
  expect_zero (f, 10, 5 * MiB);
  expect (f, 5 * MiB + 10, 100000, 1);
  assert_int_equal (cache_trim (f->conn, 3 * MiB, 6 * MiB + 1, 0), 0);
  expect (f, 6 * MiB, 1, 1);
  expect_zero (f, 6 * MiB + 1, 3 * MiB);
  expect (f, 9 * MiB + 1, 1000, 1);
  flush_ok (f, 0);
  store_expect (f, 0, 10, 1);
  store_expect_zero (f, 10, 5 * MiB);
  store_expect (f, 5 * MiB + 10, 1 * MiB - 10, 1);
  store_expect_zero (f, 6 * MiB + 1, 3 * MiB);
  check_flushed (f);
}

/* Dirty data under the range is dropped, not written first. */
CACHE_TEST (dirty_is_dropped)
{
  put (f, 0, 4 * MiB, 1);
  zero (f, PAGE, 4 * MiB - 2 * PAGE, 0);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_dirty), 2);
  check_state (f);
  flush_ok (f, 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 2 * PAGE);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 1);
  expect (f, 0, PAGE, 1);
  expect_zero (f, PAGE, 4 * MiB - 2 * PAGE);
  expect (f, 4 * MiB - PAGE, PAGE, 1);
}

/* Less than a block goes through the cache. */
CACHE_TEST (small, .min_io = 4096)
{
  store_put (f, 0, 1 * MiB, 1);
  zero (f, 5000, 1000, 0);
  zero (f, 10 * PAGE - 1, 2, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  expect (f, 0, 5000, 1);
  expect_zero (f, 5000, 1000);
  expect (f, 6000, 10 * PAGE - 1 - 6000, 1);
  expect_zero (f, 10 * PAGE - 1, 2);
  expect (f, 10 * PAGE + 1, PAGE, 1);
  flush_ok (f, 0);
  store_expect_zero (f, 5000, 1000);
  store_expect (f, 6000, PAGE, 1);
}

/* Zeroing a huge disk takes no request before the flush, one then, and no memory. */
CACHE_TEST (cost, .disk_size = 1 * TiB)
{
  const struct arena *arena = f->mapping->folios.arena;
  uint64_t offset;
  uint32_t nr_free;

  put (f, 1 * MiB, 1 * MiB, 1);
  put (f, 1 * TiB - PAGE, PAGE, 1);
  expect (f, 1 * MiB, 1 * MiB, 1);
  fake_store_clear (f->fake);
  for (offset = 0; offset < 1 * TiB; offset += 32 * MiB)
    zero (f, offset, 32 * MiB, CACHE_MAY_TRIM);
  assert_int_equal (fake_store_count (f->fake, STORE_TRIM), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  nr_free = atomic_load (&arena->nr_free);
  assert_int_equal (nr_free, arena->nr_pages);
  expect_zero (f, 1 * MiB, 1 * MiB);
  expect_zero (f, 1 * TiB - PAGE, PAGE);
  assert_int_equal (atomic_load (&arena->nr_free), nr_free);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (cache_trim (f->conn, 1 * TiB - 1, 1, 0), 0);
  flush_ok (f, 0);
  assert_true (fake_store_count (f->fake, STORE_WRITE) <= 1);
  /* The store is sent no more than a part at a time. */
  assert_true (fake_store_count (f->fake, STORE_TRIM) <= 16384 + 1);
}

TEST (fast_zero)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .no_zero = true });

  put (f, 0, PAGE, 1);
  assert_int_equal (cache_zero (f->conn, PAGE, 0, CACHE_FAST_ZERO), -ENOTSUP);
  expect (f, 0, PAGE, 1);
  zero (f, 0, PAGE, 0);
  expect_zero (f, 0, PAGE);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  fixture_stop (f);

  /* It takes no time, whatever the store says of its own. */
  f = fixture_start (&(struct fixture_config) { 0 });
  put (f, 0, PAGE, 1);
  zero (f, 0, PAGE, CACHE_FAST_ZERO);
  expect_zero (f, 0, PAGE);
  flush_ok (f, 0);
  assert_int_equal (nth_request (f, STORE_ZERO, 0).flags, 0);
  fixture_stop (f);
}

/* What a store has to write counts by bytes, and waits for room like data. */
CACHE_TEST (written_zeroes_are_paced, .no_zero = true, .dirty_limit = 1 * MiB)
{
  struct job job = { .op = JOB_ZERO, .count = 8 * MiB };

  job_start_held (f, 1, &job, STORE_ZERO);
  fixture_until_asleep (f, 1);
  assert_true (atomic_load (&f->fs->unsaved) <= 1 * MiB / PAGE);
  assert_true (atomic_load (&f->fs->unsaved) > 1 * MiB / PAGE / 2);
  job_let_go (f, &job, STORE_ZERO);
  flush_ok (f, 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_ZERO), 8 * MiB);
}

/* Too many for the limit: the client waits until some are done and flushed. */
CACHE_TEST (room, .dirty_limit = 64 * KiB)
{
  unsigned i;

  store_put (f, 0, 16 * MiB, 1);
  for (i = 0; i < 100; i++) {
    zero (f, i * 2 * PAGE, PAGE, 0);
    assert_true (atomic_load (&f->fs->unsaved) <= 64 * KiB / PAGE);
  }
  assert_true (fake_store_count (f->fake, STORE_FLUSH) >= 5);
  flush_ok (f, 0);
  for (i = 0; i < 100; i++)
    store_expect_zero (f, i * 2 * PAGE, PAGE);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 100);
}

static void
count_ring (void *opaque)
{
  ++*(unsigned *) opaque;
}

/* Nobody waits for them: the loop thread is told of the first, and when there are
 * many; then it has them sent.
 */
CACHE_TEST (many, .dirty_background = 32 * KiB, .no_loop = true)
{
  unsigned i, rings = 0;

  f->mapping->bell = (struct bell) { .ring = count_ring, .opaque = &rings };
  for (i = 0; i < 16; i++) {
    zero (f, i * 2 * PAGE, PAGE, 0);
    assert_int_equal (rings, i < 8 ? 1 : 2);
  }
  writeback_step (&f->mapping->wb);
  assert_true (fake_store_count (f->fake, STORE_ZERO) > 0);
}

/* For some, not for all. */
CACHE_TEST (room_for_one, .dirty_limit = 64 * KiB)
{
  struct job one = { .op = JOB_ZERO, .count = PAGE, .offset = 8 * MiB };
  unsigned i;

  fake_store_hold (f->fake, STORE_ZERO);
  for (i = 0; atomic_load (&f->fs->unsaved) < 64 * KiB / PAGE; i++)
    zero (f, i * 2 * PAGE, PAGE, 0);
  job_start (f, 1, &one);
  fake_store_wait_held (f->fake, STORE_ZERO, 2);
  fake_store_release (f->fake, STORE_ZERO, 1);
  assert_int_equal (job_join (&one), 0);
  assert_true (fake_store_held (f->fake, STORE_ZERO) > 0);
  fake_store_unhold (f->fake, STORE_ZERO);
  flush_ok (f, 0);
}

/* They are written back by themselves, and counted until then. */
CACHE_TEST (unsaved)
{
  zero (f, 0, 1 * MiB, 0);
  assert_true (mapping_work_left (f->mapping) > 0);
  mapping_kick (f->mapping);
  UNTIL (fake_store_count (f->fake, STORE_ZERO) == 1);
  flush_ok (f, 0);
  assert_int_equal (mapping_work_left (f->mapping), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 1);
  zero (f, 0, 1 * MiB, 0);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), 0);
  assert_int_equal (mapping_work_left (f->mapping), 0);
}

/* The store fails: the client has its answer, and flushes fail until it is done. */
CACHE_TEST (failure)
{
  store_put (f, 0, 1 * MiB, 1);
  put (f, 0, 64 * PAGE, 2);
  fake_store_fail_next (f->fake, STORE_ZERO, 3, -EIO);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  assert_int_equal (cache_flush (f->conns[0]), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  expect_zero (f, 0, 64 * PAGE);
  check_state (f);
  while (cache_flush (f->conn) < 0)
    ;
  store_expect_zero (f, 0, 64 * PAGE);
  assert_int_equal (fixture_logged (f, "zeroing bytes 0 to 262144 failed"), 1);
  assert_int_equal (fixture_logged (f, "zeroing works again"), 1);
}

CACHE_TEST (fua)
{
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
}

/* A zero alone must be flushed too. */
CACHE_TEST (flush_after_zero)
{
  store_put (f, 0, 1 * MiB, 1);
  fake_store_volatile (f->fake);
  zero (f, 0, 64 * PAGE, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  flush_ok (f, 0);
  fake_store_crash (f->fake, 0);
  store_expect_zero (f, 0, 64 * PAGE);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
}

/* Zeroes become uptodate by whole blocks: what would be left of a block could
 * not be read from a store that reads by blocks.
 */
CACHE_TEST (missing_blocks, .min_io = 4096)
{
  put (f, 0, 2 * PAGE, 1);
  zero (f, PAGE, PAGE, 0);
  assert_int_equal (page_masks (f, 1), 0);
  expect_zero (f, PAGE + 1000, 10);
  assert_int_equal (page_masks (f, 1), 0xff);
}

/* A mapping given out before, of what was unknown then and learned to be zero since,
 * does not hold: the store may go back to what was there.
 */
CACHE_TEST (over_learned)
{
  struct iomap iomap;

  fake_store_set_status (f->fake, 0, 16 * MiB, STORE_UNWRITTEN);
  assert_int_equal (f->fs->ops->begin (f->fs, 0, PAGE, IOMAP_NOWAIT, &iomap),
                    0);
  assert_int_equal (iomap.type, IOMAP_MAPPED);
  learn_extents (f);
  assert_true (f->fs->ops->valid (f->fs, &iomap));
  zero (f, 0, PAGE, 0);
  assert_false (f->fs->ops->valid (f->fs, &iomap));
}

RUN_TESTS ()
