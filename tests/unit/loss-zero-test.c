/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses zeroes and trims that were not flushed: they are done again,
 * before what was written over them.
 */

#include <errno.h>

#include "volatile-fixture.h"

#define PAGE ((uint64_t) PAGE_SIZE)

/* They are done again, before what was written over them. */
static void
zero_lost (bool trim, unsigned flags)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_WRITETHROUGH });

  if (trim)
    assert_int_equal (cache_trim (f->conn, 64 * PAGE, 0, 0), 0);
  else
    assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, flags), 0);
  put (f, 7 * PAGE + 100, PAGE, 1);
  lose (f);
  flush_ok (f, 1);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE + 100);
  store_expect (f, 7 * PAGE + 100, PAGE, 1);
  store_expect_zero (f, 8 * PAGE + 100, 56 * PAGE - 100);
  store_expect (f, 64 * PAGE, PAGE, 0);
  stop_unbothered (f);
}

static void
test_zero (void **state)
{
  (void) state;
  zero_lost (false, 0);
  zero_lost (false, CACHE_MAY_TRIM);
  zero_lost (true, 0);
}

/* A sync that is under way waits until they are done again. */
static void
test_sync_waits_for_zero (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  lose (f); /* the one that is done again, too */
  fake_store_release (f->fake, STORE_ZERO, 1);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  assert_false (atomic_load (&flush.done));
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&flush), 0);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE);
  store_expect (f, 7 * PAGE, PAGE, 1);
  store_expect_zero (f, 8 * PAGE, 56 * PAGE);
  stop_unbothered (f);
}

/* The place in the store's record of the n-th request of op, from 0. */
static size_t
place_of (struct fixture *f, enum store_op op, unsigned n)
{
  struct fake_record record;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    if (record.op == op && n-- == 0)
      break;
  return i;
}

/* What it has written before the zero below was done again goes out once more,
 * before the flush.
 */
static void
test_zero_behind_sync (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 1 * MiB, 0), 0);
  put (f, 1 * MiB, PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  UNTIL (fake_store_count (f->fake, STORE_WRITE) == 2);
  UNTIL (page_masks (f, MiB / PAGE) == 0xff0000ff);
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&flush), 0);
  power_cut (f);
  assert_true (place_of (f, STORE_WRITE, 2) < place_of (f, STORE_FLUSH, 1));
  store_expect_zero (f, 0, 64 * PAGE);
  store_expect (f, 1 * MiB, PAGE, 1);
  store_expect_zero (f, 1 * MiB + PAGE, 63 * PAGE);
  stop_unbothered (f);
}

/* It fails if they cannot be, and with why. */
static void
test_zero_fails (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -ENOSPC);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -ENOSPC);
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  expect_zero (f, 0, 7 * PAGE);
  expect (f, 7 * PAGE, PAGE, 1);
  fake_store_heal (f->fake);
  fake_store_back (f->fake);
  until_saved (f);
  flush_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE);
  store_expect (f, 7 * PAGE, PAGE, 1);
  fixture_stop (f);
}

/* Who waits for room, which a flush would make, is told as well. */
static void
test_zero_fails_at_limit (void **state)
{
  struct fixture *f = start_volatile (
    &(struct fixture_config) { .dirty_limit = 64 * KiB, .fake_clock = true });

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -ENOSPC);
  lose (f);
  assert_int_equal (put_flags (f, 1, 1 * MiB, 256 * KiB, 1, 0), -ENOSPC);
  expect_zero (f, 0, 64 * PAGE);
  fake_store_heal (f->fake);
  fake_store_back (f->fake);
  put (f, 1 * MiB, 256 * KiB, 2);
  flush_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 64 * PAGE);
  store_expect (f, 1 * MiB, 256 * KiB, 2);
  fixture_stop (f);
}

/* A zero under way is done again by the store, and then by us. */
static void
test_zero_in_flight (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job zero = { .op = JOB_ZERO, .count = 8 * PAGE };

  (void) state;
  fake_store_hold (f->fake, STORE_ZERO);
  job_start (f, 1, &zero);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  lose (f);
  fake_store_unhold (f->fake, STORE_ZERO);
  assert_int_equal (job_join (&zero), 0);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 2);
  power_cut (f);
  store_expect_zero (f, 0, 8 * PAGE);
  stop_unbothered (f);
}

/* A flush that was sent before the loss was seen fails: what has been done again by
 * then is lost once more.
 */
static void
test_zero_before_failed_flush (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  flush_behind_loss (f, &flush);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), 0);
  power_cut (f);
  store_expect_zero (f, 0, 64 * KiB);
  stop_unbothered (f);
}

/* The mapping ends while they are being done again, or can never be. */
static void
test_end_during_redo (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  lose (f);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  fixture_stop (f);
}

static int
failing_zero (struct fs *fs, uint64_t offset, uint64_t length, unsigned flags,
              bool trim)
{
  (void) fs;
  (void) offset;
  (void) length;
  (void) flags;
  (void) trim;
  return -EIO;
}

static void
test_end_without_redo (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  f->ops.zero = failing_zero;
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  mapping_kick (f->mapping);
  fixture_stop (f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_zero),
    cmocka_unit_test (test_sync_waits_for_zero),
    cmocka_unit_test (test_zero_behind_sync),
    cmocka_unit_test (test_zero_fails),
    cmocka_unit_test (test_zero_fails_at_limit),
    cmocka_unit_test (test_zero_in_flight),
    cmocka_unit_test (test_zero_before_failed_flush),
    cmocka_unit_test (test_end_during_redo),
    cmocka_unit_test (test_end_without_redo),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
