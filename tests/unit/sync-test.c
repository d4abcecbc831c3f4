/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Flush, FUA, write-through, and write-back as far as they show it: what
 * reaches the store, when, and what shares a store flush.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "tests/tools/util.h"

CACHE_TEST (flush_covers_all)
{
  fake_store_volatile (f->fake);
  put (f, 0, 3 * MiB, 1);
  put (f, 5 * MiB + 512, 512, 1);
  put (f, 7 * MiB + 100, 3000, 1);
  put (f, 16 * MiB - 1, 1, 1);
  flush_ok (f, 1);
  check_flushed (f);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_dirty), 0);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_writeback), 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 3 * MiB, 1);
  store_expect (f, 5 * MiB + 512, 512, 1);
  store_expect (f, 7 * MiB + 100, 3000, 1);
  store_expect (f, 16 * MiB - 1, 1, 1);
}

/* What is side by side goes out together. */
CACHE_TEST (clustering)
{
  uint64_t page;

  for (page = 0; page < 64; page++)
    put (f, page * PAGE, PAGE, 1);
  put (f, 4 * MiB, 512, 1);
  fake_store_clear (f->fake);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 2);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, 0);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).length, 64 * PAGE);
  assert_int_equal (nth_request (f, STORE_WRITE, 1).offset, 4 * MiB);
  assert_int_equal (nth_request (f, STORE_WRITE, 1).length, 512);
}

CACHE_TEST (clean_disk)
{
  expect_zero (f, 0, 1 * MiB);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  put (f, 0, 512, 1);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
  flush_ok (f, 0);
  flush_ok (f, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
}

/* Wait until all that have asked wait for nothing but a flush: who comes behind them
 * is sent behind them, and waits for the same.
 */
static void
until_ready (struct fixture *f)
{
  assert_int_equal (inbox_sync (&f->mapping->inbox, 0, UINT64_MAX, SYNC_WRITE),
                    0);
}

/* While one store flush is held, any number of further flushes share one. */
CACHE_TEST (group_commit)
{
  struct job jobs[9];
  unsigned i;

  fake_store_hold (f->fake, STORE_FLUSH);
  put (f, 0, PAGE, 1);
  for (i = 0; i < 9; i++) {
    jobs[i] = (struct job) { .op = JOB_FLUSH };
    put (f, i * PAGE, PAGE, 2);
    job_start (f, i % NR_CONNS, &jobs[i]);
    if (i == 0)
      fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  }
  fixture_until_asleep (f, 9);
  until_ready (f);
  assert_int_equal (fake_store_release (f->fake, STORE_FLUSH, 1), 1);
  assert_int_equal (job_join (&jobs[0]), 0);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  for (i = 1; i < 9; i++)
    assert_false (atomic_load (&jobs[i].done));
  assert_int_equal (fake_store_release (f->fake, STORE_FLUSH, 1), 1);
  for (i = 1; i < 9; i++)
    assert_int_equal (job_join (&jobs[i]), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 2);
}

/* A flush that comes while the store is flushing needs another: the store's
 * may have begun before the write.
 */
CACHE_TEST (no_late_joining)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };

  fake_store_hold (f->fake, STORE_FLUSH);
  put (f, 0, PAGE, 1);
  job_start (f, 0, &a);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  put (f, MiB, PAGE, 1);
  job_start (f, 1, &b);
  UNTIL (fake_store_count (f->fake, STORE_WRITE) == 2);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&a), 0);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_false (atomic_load (&b.done));
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&b), 0);
}

/* Written again while being sent: what arrives is the old version exactly, and
 * then the new one.
 */
CACHE_TEST (stable_snapshot)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };

  fake_store_hold (f->fake, STORE_WRITE);
  put (f, 0, 64 * PAGE, 1);
  job_start (f, 0, &a);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  put (f, 0, 64 * PAGE, 2);
  expect (f, 0, 64 * PAGE, 2);
  assert_int_equal (page_masks (f, 0), 0x00ffffff);
  fake_store_release (f->fake, STORE_WRITE, 1);
  assert_int_equal (job_join (&a), 0);
  store_expect (f, 0, 64 * PAGE, 1);
  check_flushed (f);
  assert_int_equal (page_masks (f, 0) & 0xffff, 0xffff);

  job_start (f, 0, &b);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  job_let_go (f, &b, STORE_WRITE);
  store_expect (f, 0, 64 * PAGE, 2);
}

/* A flush that begins while an older version is being sent waits for it and
 * then sends the newer one.
 */
CACHE_TEST (redirtied_is_flushed)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };

  fake_store_volatile (f->fake);
  fake_store_hold (f->fake, STORE_WRITE);
  put (f, PAGE, PAGE, 1);
  job_start (f, 0, &a);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  put (f, PAGE, PAGE, 2);
  job_start (f, 1, &b);
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 1);
  job_let_go (f, &a, STORE_WRITE);
  assert_int_equal (job_join (&b), 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, PAGE, PAGE, 2);
}

/* A write that completes while the store flushes is not clean afterwards. */
CACHE_TEST (unstable_past_flush)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };

  put (f, 0, PAGE, 1);
  job_start_held (f, 0, &a, STORE_FLUSH);
  put (f, MiB, PAGE, 1);
  job_start (f, 1, &b);
  UNTIL (page_masks (f, MiB / PAGE) == 0xff0000ff);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&a), 0);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_int_equal (page_masks (f, 0), 0xff);
  assert_int_equal (page_masks (f, MiB / PAGE), 0xff0000ff);
  job_let_go (f, &b, STORE_FLUSH);
  UNTIL (page_masks (f, MiB / PAGE) == 0xff);
}

/* But what is beside it in the same folio is. */
CACHE_TEST (unstable_by_page)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };
  unsigned page;

  put (f, 0, 16 * PAGE, 1);
  job_start_held (f, 0, &a, STORE_FLUSH);
  put (f, 5 * PAGE, PAGE, 2);
  job_start (f, 1, &b);
  UNTIL (page_masks (f, 5) == 0xff0000ff);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&a), 0);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  for (page = 0; page < 16; page++)
    assert_int_equal (page_masks (f, page), page == 5 ? 0xff0000ff : 0xff);
  job_let_go (f, &b, STORE_FLUSH);
  check_flushed (f);
}

/* FUA sends its own range and nothing else, and it is durable. */
CACHE_TEST (fua)
{
  fake_store_volatile (f->fake);
  put (f, 0, PAGE, 1);
  put (f, 2 * MiB, 16 * PAGE, 1);
  fake_store_clear (f->fake);
  assert_int_equal (put_flags (f, 0, 1 * MiB, PAGE, 1, CACHE_FUA), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, 1 * MiB);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).length, PAGE);
  fake_store_crash (f->fake, 0);
  store_expect (f, 1 * MiB, PAGE, 1);
  expect (f, 0, PAGE, 1);
}

/* Also where the range lies in the middle of a large folio. */
CACHE_TEST (fua_in_large_folio)
{
  uint64_t page;

  put (f, 0, 64 * PAGE, 1);
  flush_ok (f, 0);
  fake_store_volatile (f->fake);
  for (page = 1; page < 64; page += 7) {
    fake_store_clear (f->fake);
    assert_int_equal (put_flags (f, 0, page * PAGE, 512, 2, CACHE_FUA), 0);
    assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
    assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, page * PAGE);
    fake_store_crash (f->fake, 0);
    store_expect (f, page * PAGE, 512, 2);
  }
}

/* Write-through has written when it returns, and has not flushed. */
CACHE_TEST (writethrough, .mode = CACHE_WRITETHROUGH)
{
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, 64 * PAGE, 1);
  store_expect (f, 0, 64 * PAGE, 1);
  put (f, 33 * PAGE + 5, 10000, 2);
  store_expect (f, 33 * PAGE + 5, 10000, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);

  /* Nor does it wait for one that is under way. */
  job_start_held (f, 1, &flush, STORE_FLUSH);
  put (f, 5 * MiB, PAGE, 1);
  store_expect (f, 5 * MiB, PAGE, 1);
  put (f, PAGE, PAGE, 3);
  store_expect (f, PAGE, PAGE, 3);
  job_let_go (f, &flush, STORE_FLUSH);
}

/* Above the background threshold write-back begins by itself. */
CACHE_TEST (background, .dirty_background = 1 * MiB)
{
  put (f, 0, 3 * MiB, 1);
  UNTIL (atomic_load (&f->mapping->folios.nr_dirty) +
           atomic_load (&f->mapping->folios.nr_writeback) <=
         MiB / PAGE);
  assert_true (fake_store_bytes (f->fake, STORE_WRITE) >= 2 * MiB);
  flush_ok (f, 0);
  store_expect (f, 0, 3 * MiB, 1);
  check_flushed (f);
}

/* mapping_kick: as when the last client leaves. */
CACHE_TEST (kick)
{
  fake_store_volatile (f->fake);
  put (f, 123, 456789, 1);
  mapping_kick (f->mapping);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 123, 456789, 1);
}

/* Never more store writes in flight than io-depth; they run side by side. */
CACHE_TEST (io_depth, .io_depth = 3)
{
  struct job flush = { .op = JOB_FLUSH };
  unsigned i;

  for (i = 0; i < 10; i++)
    put (f, i * MiB, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 0, &flush);
  for (i = 0; i < 8; i++) {
    fake_store_wait_held (f->fake, STORE_WRITE, 3);
    assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 3);
    fake_store_release_newest (f->fake, STORE_WRITE);
  }
  job_let_go (f, &flush, STORE_WRITE);
  for (i = 0; i < 10; i++)
    store_expect (f, i * MiB, PAGE, 1);
}

RUN_TESTS ()
