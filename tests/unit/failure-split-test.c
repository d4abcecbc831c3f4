/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores of which a part fails: the rest of what is dirty does not wait for it,
 * and it is known exactly what cannot be written.
 */

#include <errno.h>
#include <string.h>

#include "cache-fixture.h"

/* Writes of any byte of [offset, offset+length) fail, count times. */
static void
break_range (struct fixture *f, uint64_t offset, uint64_t length, int error,
             unsigned count)
{
  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_WRITE,
                                                  .offset = offset,
                                                  .length = length,
                                                  .error = error,
                                                  .count = count });
}

static void
break_for_ever (struct fixture *f, uint64_t offset, uint64_t length, int error)
{
  break_range (f, offset, length, error, UINT32_MAX);
}

static int
flush (struct fixture *f, unsigned conn)
{
  return cache_flush (f->conns[conn]);
}

/* The clock has gone on, and the loop thread is told. */
static void
advance (struct fixture *f, uint64_t ns)
{
  atomic_fetch_add (&f->clock, ns);
  bell_ring (&f->mapping->bell);
}

static void
until_dirty (struct fixture *f, unsigned pages)
{
  UNTIL (atomic_load (&f->mapping->folios.nr_dirty) == pages &&
         atomic_load (&f->mapping->folios.nr_writeback) == 0);
}

/* Time goes on until no more pages than that are dirty. */
static void
wait_until_dirty (struct fixture *f, unsigned pages)
{
  while (atomic_load (&f->mapping->folios.nr_dirty) > pages ||
         atomic_load (&f->mapping->folios.nr_writeback) > 0) {
    advance (f, NSEC_PER_SEC);
    sched_yield ();
  }
}

/* What is not saved is this sector alone. */
static void
expect_unsaved (void *opaque, uint64_t offset, uint64_t length)
{
  uint64_t *sector = opaque;

  assert_int_equal (offset, *sector);
  assert_int_equal (length, 512);
  *sector = 0;
}

/* One bad sector in a cluster of 1 MiB: with no time gone by, and after few
 * writes, it alone is dirty.
 */
CACHE_TEST (bad_sector, .fake_clock = true, .best_io = 1 * MiB)
{
  uint64_t bad = 1 * MiB + 300 * KiB + 512;
  unsigned i, writes;

  break_for_ever (f, bad, 512, -EIO);
  put (f, 1 * MiB, 1 * MiB, 1);
  put (f, 3 * MiB, 1 * MiB, 1);
  put (f, 5 * MiB + 700, 1234, 1);
  assert_int_equal (flush (f, 0), -EIO);
  until_dirty (f, 1);
  assert_int_equal (page_masks (f, bad / PAGE) >> STATE_DIRTY_SHIFT & 0xff, 2);
  store_expect (f, 1 * MiB, bad - 1 * MiB, 1);
  store_expect (f, bad + 512, 2 * MiB - bad - 512, 1);
  store_expect_zero (f, bad, 512);
  store_expect (f, 3 * MiB, 1 * MiB, 1);
  /* A bounce buffer is half a cluster or more; 11 cuts. */
  writes = fake_store_count (f->fake, STORE_WRITE);
  assert_true (writes <= 5 + 2 * 11);

  /* It is tried by each flush, and nothing else is written again. */
  for (i = 0; i < 2 * NR_CONNS; i++)
    assert_int_equal (flush (f, i % NR_CONNS), -EIO);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), writes + i);
  /* All else is made durable, though the flushes fail. */
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 1);
  /* What others wait for does not fail. */
  assert_int_equal (put_flags (f, 1, 9 * MiB, 10000, 1, CACHE_FUA), 0);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 1);
  mapping_unsaved (f->mapping, expect_unsaved, &bad);
  assert_int_equal (bad, 0);
  expect (f, 1 * MiB, 1 * MiB, 1);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 3), 0);
  check_flushed (f);
  store_expect (f, 1 * MiB, 1 * MiB, 1);
}

/* Syncs of some bytes fail for these only, not for the rest of their page. */
static void
beside_bad_sector (enum cache_mode mode, unsigned flags)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { .mode = mode });
  uint64_t bad = 1 * MiB + 5 * PAGE + 1024;

  break_for_ever (f, bad, 512, -EIO);
  put_flags (f, 0, 1 * MiB, 64 * PAGE, 1, 0);
  assert_int_equal (flush (f, 0), -EIO);
  until_dirty (f, 1);

  assert_int_equal (put_flags (f, 1, bad - 512, 512, 2, flags), 0);
  store_expect (f, bad - 512, 512, 2);
  assert_int_equal (put_flags (f, 2, bad + 512, 100, 3, flags), 0);
  store_expect (f, bad + 512, 100, 3);
  assert_int_equal (put_flags (f, 1, bad, 512, 4, flags), -EIO);
  assert_int_equal (put_flags (f, 1, bad - 1, 2, 5, flags), -EIO);
  assert_int_equal (put_flags (f, 2, bad + 511, 1, 6, flags), -EIO);
  assert_int_equal (put_flags (f, 2, bad - 100, 100, 7, flags), 0);
  store_expect (f, bad - 100, 100, 7);
  assert_int_equal (flush (f, 3), -EIO);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 0), 0);
  expect (f, bad + 1, 510, 4);
  check_flushed (f);
  fixture_stop (f);
}

TEST (beside_bad_sector)
{
  beside_bad_sector (CACHE_WRITEBACK, CACHE_FUA);
  beside_bad_sector (CACHE_WRITETHROUGH, 0);
}

/* With two bad sectors in the middle of 1 MiB that is dirty, write length bytes
 * from 'from' after the first of them on, durable or just to the store.
 */
static void
first_to_fail (struct fixture *f, uint64_t offset, int64_t from,
               uint64_t length, bool durable, int result)
{
  uint64_t bad = offset + 300 * KiB + 512, at = bad + (uint64_t) from;
  int r;

  break_for_ever (f, bad, 1024, -EIO);
  put (f, offset, 1 * MiB, 1);
  r = put_flags (f, 1, at, length, 2, durable ? CACHE_FUA : 0);
  if (!durable)
    r = inbox_sync (&f->mapping->inbox, at, at + length, SYNC_WRITE);
  assert_int_equal (r, result);
  if (result == 0)
    store_expect (f, at, length, 2);
}

/* Also when they are the first to find out, as part of something larger. */
CACHE_TEST (first_to_fail, .fake_clock = true)
{
  first_to_fail (f, 1 * MiB, -512, 512, true, 0);
  first_to_fail (f, 3 * MiB, 0, 512, true, -EIO);
  first_to_fail (f, 5 * MiB, 512, 600, false, -EIO);
  first_to_fail (f, 7 * MiB, 1024, 600, false, 0);
  first_to_fail (f, 9 * MiB, -5000, 5000, true, 0);
  first_to_fail (f, 11 * MiB, -5000, 10000, true, -EIO);
  assert_int_equal (flush (f, 0), -EIO);
  until_dirty (f, 6);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 0), 0);
  check_flushed (f);
}

/* It is written in the end without anyone's help. */
static void
fails_for_a_while (uint64_t offset, uint64_t length, unsigned count)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .fake_clock = true });

  break_range (f, offset, length, -EIO, count);
  put (f, 0, 3 * MiB, 1);
  assert_int_equal (flush (f, 0), -EIO);
  UNTIL (fixture_logged (f, "write-back works again") == 1 ||
         (advance (f, NSEC_PER_SEC), false));
  /* By then nothing is known to be bad; the rest has its turn. */
  wait_until_dirty (f, 0);
  store_expect (f, 0, 3 * MiB, 1);
  assert_int_equal (fixture_logged (f, "Input/output error"),
                    fixture_logged (f, "cannot be written back") + 1);
  assert_int_equal (flush (f, 0), 0);
  fixture_stop (f);
}

TEST (for_a_while)
{
  fails_for_a_while (1 * MiB, 512, 1);
  fails_for_a_while (2 * MiB + 512, 512, 50);
  fails_for_a_while (1 * MiB, 1 * MiB, 3000);
  fails_for_a_while (0, 3 * MiB, 500);
}

/* How many single sectors have been tried. */
static unsigned
sectors_tried (struct fixture *f)
{
  struct fake_record record;
  unsigned n = 0;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    n += record.op == STORE_WRITE && record.length == 512 && record.done;
  return n;
}

/* The log does not repeat itself. */
CACHE_TEST (log, .fake_clock = true)
{
  unsigned i;

  break_for_ever (f, 8 * PAGE, 512, -EIO);
  break_for_ever (f, 5 * MiB, PAGE, -ENOSPC);
  put (f, 0, 32 * KiB + 512, 1);
  put (f, 5 * MiB, PAGE, 1);
  assert_true (flush (f, 0) < 0);
  UNTIL (sectors_tried (f) >= 1 + 8);
  until_dirty (f, 2);
  UNTIL (fixture_logged (f, "cannot be written back") == 2 ||
         (advance (f, NSEC_PER_SEC), false));
  assert_int_equal (fixture_logged (f, "bytes 32768 to 33280 cannot be written "
                                       "back: Input/output error"),
                    1);
  assert_int_equal (fixture_logged (f, "bytes 5242880 to 5246976 cannot be "
                                       "written back: No space left on device"),
                    1);
  for (i = 0; i < 100; i++) {
    assert_true (flush (f, 0) < 0);
    advance (f, NSEC_PER_SEC);
  }
  assert_int_equal (fixture_logged (f, "failed, the data is kept"), 2);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 0), 0);
  check_flushed (f);
  assert_int_equal (fixture_logged (f, "write-back works again"), 1);
  assert_int_equal (atomic_load (&f->errors), 2 + 2 + 1);
}

/* No lack of space is taken for an I/O error, nor hides one. */
CACHE_TEST (no_space, .fake_clock = true)
{
  break_for_ever (f, 1 * MiB, 1 * MiB, -ENOSPC);
  put (f, 0, 3 * MiB, 1);
  assert_int_equal (flush (f, 0), -ENOSPC);
  assert_int_equal (put_flags (f, 1, 1 * MiB, PAGE, 1, CACHE_FUA), -ENOSPC);
  assert_int_equal (put_flags (f, 1, 4 * MiB, PAGE, 1, CACHE_FUA), 0);
  assert_int_equal (flush (f, 2), -ENOSPC);
  break_for_ever (f, 0, 512, -EIO);
  put (f, 0, 512, 1);
  assert_int_equal (flush (f, 3), -EIO);
  assert_int_equal (put_flags (f, 1, 1 * MiB, PAGE, 1, CACHE_FUA), -ENOSPC);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 0), 0);
  store_expect (f, 0, 3 * MiB, 1);
}

/* Also while it is retried and written over. */
CACHE_TEST (write_over, .fake_clock = true)
{
  uint64_t bad = 1 * MiB + 5 * PAGE;
  unsigned i;

  break_for_ever (f, bad, 512, -EIO);
  for (i = 1; i < 20; i++) {
    put (f, 1 * MiB, 64 * PAGE, i);
    assert_int_equal (flush (f, i % NR_CONNS), -EIO);
    until_dirty (f, 1);
    advance (f, NSEC_PER_SEC);
    store_expect (f, 1 * MiB, 5 * PAGE, i);
    store_expect (f, bad + 512, 59 * PAGE - 512, i);
    expect (f, 1 * MiB, 64 * PAGE, i);
  }
  /* What is dropped is no more to be written. */
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 1 * MiB, 0), 0);
  assert_int_equal (flush (f, 0), 0);
  UNTIL (fixture_logged (f, "write-back works again") == 1 ||
         (advance (f, NSEC_PER_SEC), false));
}

/* Above the background threshold all is written but for what is bad, while no
 * time goes by: nothing waits for a backoff.  What is bad does, however often the
 * loop thread wakes up.
 */
CACHE_TEST (others_go_on, .fake_clock = true, .dirty_background = PAGE,
            .small_folios = true)
{
  unsigned i, writes;

  for (i = 0; i < 8; i++)
    break_for_ever (f, i * 2 * MiB + 37 * PAGE, 512, -EIO);
  put (f, 0, 16 * MiB, 1);
  until_dirty (f, 8);
  put (f, 5 * MiB, 3 * MiB, 2);
  until_dirty (f, 8);
  store_expect (f, 5 * MiB, 1 * MiB + 37 * PAGE, 2);
  store_expect (f, 6 * MiB + 38 * PAGE, 2 * MiB - 38 * PAGE, 2);
  UNTIL (sectors_tried (f) >= 8);
  writes = fake_store_count (f->fake, STORE_WRITE);
  for (i = 0; i < 100; i++)
    assert_int_equal (put_flags (f, 1, 9 * MiB, PAGE, 3, CACHE_FUA), 0);
  assert_true (fake_store_count (f->fake, STORE_WRITE) <= writes + 100 + 8);
  fake_store_heal (f->fake);
  wait_until_dirty (f, 0);
  assert_int_equal (flush (f, 0), 0);
}

/* A store that takes nothing is not asked all the time. */
CACHE_TEST (all_fails, .fake_clock = true, .dirty_background = PAGE)
{
  unsigned i, most = 0;

  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  for (i = 0; i < 512; i++)
    put (f, i * 8 * PAGE, PAGE, 1);
  for (i = 0; i < 20; i++) {
    assert_int_equal (flush (f, 0), -EIO);
    most += 512 + ALL_FAILING * (PAGE / 512 - 1);
  }
  /* Each flush tries it all once, some of it in pieces. */
  most += 2 * BAD_RANGES_PATIENCE + 4 * ALL_FAILING;
  assert_true (fake_store_count (f->fake, STORE_WRITE) <= most);
  expect (f, 511 * 8 * PAGE, PAGE, 1);
  assert_int_equal (fixture_logged (f, "failed, the data is kept"), 1);
  fake_store_heal (f->fake);
  /* In the end it is, and that ends all waiting. */
  wait_until_dirty (f, 1);
  assert_int_equal (flush (f, 0), 0);
}

/* At the limit: the store's error after a bounded time, whatever it is, and all
 * that is cached can be read meanwhile and afterwards.
 */
static void
writer_at_limit (int error)
{
  static uint8_t buf[1 << 20];
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .dirty_limit = 256 * KiB, .fake_clock = true });
  struct job job = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .offset = 2 * MiB
  };

  fill_pattern (buf, sizeof buf, 2 * MiB, 2);
  store_put (f, 8 * MiB, 64 * PAGE, 1);
  expect (f, 8 * MiB, 64 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, error);
  put (f, 0, 16 * PAGE, 1);
  job_start (f, 1, &job);
  do {
    expect (f, 0, 16 * PAGE, 1);
    expect (f, 8 * MiB, 64 * PAGE, 1);
  } while (!atomic_load (&job.done));
  assert_int_equal (job_join (&job), error);
  expect (f, 0, 16 * PAGE, 1);
  assert_int_equal (flush (f, 2), error);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 2), 0);
  fixture_stop (f);
}

TEST (writer_at_limit)
{
  writer_at_limit (-EIO);
  writer_at_limit (-ENOSPC);
}

/* Blocks of 4096 bytes are not cut. */
CACHE_TEST (large_blocks, .fake_clock = true, .min_io = 4096)
{
  struct fake_record record;
  size_t i;

  break_for_ever (f, 100 * PAGE + 512, 512, -EIO);
  put (f, 0, 3 * MiB, 1);
  assert_int_equal (flush (f, 0), -EIO);
  until_dirty (f, 1);
  assert_int_equal (page_masks (f, 100) >> STATE_DIRTY_SHIFT & 0xff, 0xff);
  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    if (record.op == STORE_WRITE)
      assert_int_equal (record.offset % 4096 + record.length % 4096, 0);
  fake_store_heal (f->fake);
  assert_int_equal (flush (f, 0), 0);
  store_expect (f, 0, 3 * MiB, 1);
}

RUN_TESTS ()
