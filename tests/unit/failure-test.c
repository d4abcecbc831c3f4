/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores that fail: nothing acknowledged is lost while the server lives, no
 * flush succeeds too early, and every connection is told.  A store whose flush
 * fails loses, in these tests, all that it had not made durable.
 */

#include <errno.h>

#include "volatile-fixture.h"

/* --- writes that fail --- */

VOLATILE_TEST (write_fails_once)
{
  put (f, 0, 10 * PAGE, 1);
  put (f, 1 * MiB, 10 * PAGE, 1);
  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_WRITE,
                                                  .offset = 2 * PAGE,
                                                  .length = 1,
                                                  .error = -ENOSPC,
                                                  .count = 1 });
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  expect (f, 0, 10 * PAGE, 1);
  expect (f, 1 * MiB, 10 * PAGE, 1);
  flush_ok (f, 1);
  check_flushed (f);
  power_cut (f);
  store_expect (f, 0, 10 * PAGE, 1);
  store_expect (f, 1 * MiB, 10 * PAGE, 1);
  assert_true (atomic_load (&f->errors) > 0);
}

/* Until it succeeds, every flush on every connection fails. */
VOLATILE_TEST (write_fails_for_long)
{
  unsigned i;

  put (f, 100, 3 * MiB, 1);
  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_WRITE,
                                                  .offset = 2 * MiB,
                                                  .length = 512,
                                                  .error = -EIO,
                                                  .count = 1000 });
  for (i = 0; i < 3 * NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i % NR_CONNS]), -EIO);
  expect (f, 100, 3 * MiB, 1);
  put (f, 2 * MiB, 1000, 2);
  assert_int_equal (cache_flush (f->conn), -EIO);
  fake_store_heal (f->fake);
  flush_ok (f, 3);
  power_cut (f);
  store_expect (f, 100, 2 * MiB - 100, 1);
  store_expect (f, 2 * MiB, 1000, 2);
  store_expect (f, 2 * MiB + 1000, 1 * MiB - 900, 1);
}

/* A failed FUA write over a block that is cached and clean leaves it dirty. */
VOLATILE_TEST (fua_fails)
{
  expect (f, 0, 1 * MiB, 0);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  assert_int_equal (put_flags (f, 0, 5 * PAGE, PAGE, 1, CACHE_FUA), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  fake_store_heal (f->fake);
  expect (f, 5 * PAGE, PAGE, 1);
  flush_ok (f, 2);
  power_cut (f);
  store_expect (f, 5 * PAGE, PAGE, 1);

  /* The same when it is the store flush that fails. */
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 9 * PAGE, PAGE, 1, CACHE_FUA), -EIO);
  expect (f, 9 * PAGE, PAGE, 1);
  flush_ok (f, 2);
  power_cut (f);
  store_expect (f, 9 * PAGE, PAGE, 1);
}

VOLATILE_TEST (writethrough_fails, .mode = CACHE_WRITETHROUGH)
{
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 0, PAGE, 1, 0), -EIO);
  put (f, 1 * MiB, PAGE, 1);
  flush_ok (f, 1);
  power_cut (f);
  expect (f, 0, PAGE, 1);
  store_expect (f, 0, PAGE, 1);
  store_expect (f, 1 * MiB, PAGE, 1);
}

/* Writes of an older batch fail while a flush waits for them. */
VOLATILE_TEST (fails_in_background, .dirty_background = PAGE)
{
  struct job flush = { .op = JOB_FLUSH };

  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  fake_store_hold (f->fake, STORE_WRITE);
  put (f, 0, 4 * PAGE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  job_start (f, 1, &flush);
  fixture_until_asleep (f, 1);
  fake_store_unhold (f->fake, STORE_WRITE);
  /* Told, or tried again with success. */
  if (job_join (&flush) < 0)
    flush_ok (f, 2);
  power_cut (f);
  store_expect (f, 0, 4 * PAGE, 1);
}

/* A flush that waits only for the one before it is told, too, though what it has
 * sent is an older version.
 */
VOLATILE_TEST (write_fails_behind_ready)
{
  struct job a = { .op = JOB_FLUSH }, b = { .op = JOB_FLUSH };
  uint64_t end = UINT64_MAX;

  fake_store_hold (f->fake, STORE_FLUSH);
  put (f, 0, PAGE, 1);
  job_start (f, 0, &a);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  put (f, PAGE, PAGE, 1);
  job_start (f, 1, &b);
  fixture_until_asleep (f, 2);
  assert_int_equal (inbox_sync (&f->mapping->inbox, 0, end, SYNC_WRITE), 0);
  put (f, PAGE, PAGE, 2);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  assert_int_equal (inbox_sync (&f->mapping->inbox, 0, end, SYNC_WRITE), -EIO);
  job_let_go (f, &a, STORE_FLUSH);
  assert_int_equal (job_join (&b), -EIO);
  fake_store_heal (f->fake);
  flush_ok (f, 2);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
  store_expect (f, PAGE, PAGE, 2);
}

/* --- flushes that fail --- */

/* What was written before, by whomever, is written again before a flush
 * succeeds.
 */
VOLATILE_TEST (flush_fails)
{
  unsigned i;

  put (f, 0, 64 * PAGE, 1);
  put (f, 3 * MiB + 512, 1024, 1);
  for (i = 0; i < 3; i++) {
    fake_store_clear (f->fake);
    flush_fails (f, i);
    assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE),
                      64 * PAGE + 1024);
    expect (f, 0, 64 * PAGE, 1);
  }
  flush_ok (f, 3);
  power_cut (f);
  store_expect (f, 0, 64 * PAGE, 1);
  store_expect (f, 3 * MiB + 512, 1024, 1);
  store_expect (f, 3 * MiB, 512, 0);
  check_flushed (f);
}

/* Everyone who waits for it is told; who comes while it is under way gets one
 * of their own, that begins after all was written again.
 */
VOLATILE_TEST (shared_flush_fails)
{
  struct job jobs[4];
  unsigned i;

  fake_store_hold (f->fake, STORE_FLUSH);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  put (f, 0, PAGE, 1);
  for (i = 0; i < 4; i++) {
    jobs[i] = (struct job) { .op = JOB_FLUSH };
    job_start (f, i, &jobs[i]);
    if (i == 0)
      fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  }
  fixture_until_asleep (f, 4);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&jobs[0]), -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  for (i = 1; i < 4; i++)
    if (job_join (&jobs[i]) == 0)
      store_expect (f, 0, PAGE, 1);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
}

/* What became unstable while the failing flush was under way, or was written
 * again, too.
 */
VOLATILE_TEST (flush_fails_in_the_middle, .mode = CACHE_WRITETHROUGH)
{
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, 4 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  job_start_held (f, 1, &flush, STORE_FLUSH);
  put (f, 1 * MiB, PAGE, 2);
  put (f, PAGE, PAGE, 2);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  flush_ok (f, 2);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
  store_expect (f, PAGE, PAGE, 2);
  store_expect (f, 2 * PAGE, 2 * PAGE, 1);
  store_expect (f, 1 * MiB, PAGE, 2);
}

/* Unstable data stays in memory however short that is. */
VOLATILE_TEST (unstable_not_evicted, .disk_size = 32 * MiB,
               .cache_size = 2 * MiB, .dirty_limit = 512 * KiB,
               .mode = CACHE_WRITETHROUGH)
{
  struct job flush = { .op = JOB_FLUSH };
  uint64_t page;

  fake_store_hold (f->fake, STORE_FLUSH);
  put (f, 0, 32 * PAGE, 1);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  expect (f, 1 * MiB, 31 * MiB, 0);
  for (page = 0; page < 32; page++)
    assert_int_equal (page_masks (f, page), 0xff0000ff);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  assert_int_equal (job_join (&flush), -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, 32 * PAGE, 1);
  expect (f, 0, 32 * PAGE, 1);
}

RUN_TESTS ()
