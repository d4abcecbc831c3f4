/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses zeroes and trims that were not flushed: they are done again,
 * before what was written over them.
 */

#include <errno.h>
#include <string.h>

#include "volatile-fixture.h"

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

TEST (zero)
{
  zero_lost (false, 0);
  zero_lost (false, CACHE_MAY_TRIM);
  zero_lost (true, 0);
}

/* A sync that is under way waits until they are done again. */
UNBOTHERED_TEST (sync_waits_for_zero)
{
  struct job flush = { .op = JOB_FLUSH };

  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  job_start_held (f, 1, &flush, STORE_FLUSH);
  fake_store_hold (f->fake, STORE_ZERO);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  lose (f); /* the one that is done again, too */
  fake_store_release (f->fake, STORE_ZERO, 1);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  assert_false (atomic_load (&flush.done));
  job_let_go (f, &flush, STORE_ZERO);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE);
  store_expect (f, 7 * PAGE, PAGE, 1);
  store_expect_zero (f, 8 * PAGE, 56 * PAGE);
}

/* It fails if they cannot be, and with why; all that can be written is. */
VOLATILE_TEST (zero_fails)
{
  struct job flush = { .op = JOB_FLUSH };

  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, CACHE_MAY_TRIM), 0);
  put (f, 7 * PAGE, PAGE, 1);
  job_start_held (f, 1, &flush, STORE_FLUSH);
  fake_store_fail_next (f->fake, STORE_TRIM, UINT32_MAX, -ENOSPC);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -ENOSPC);
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  expect_zero (f, 0, 7 * PAGE);
  expect (f, 7 * PAGE, PAGE, 1);
  fake_store_heal (f->fake);
  fake_store_back (f->fake);
  flush_until_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE);
  store_expect (f, 7 * PAGE, PAGE, 1);
}

/* One that the store is at is done again by the store, and then by us. */
UNBOTHERED_TEST (zero_in_flight)
{
  struct job flush = { .op = JOB_FLUSH };

  assert_int_equal (cache_zero (f->conn, 8 * PAGE, 0, 0), 0);
  job_start_held (f, 1, &flush, STORE_ZERO);
  lose (f);
  job_let_go (f, &flush, STORE_ZERO);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 2);
  power_cut (f);
  store_expect_zero (f, 0, 8 * PAGE);
}

/* A flush that was sent before the loss was seen fails: what has been done again by
 * then is lost once more.
 */
UNBOTHERED_TEST (zero_before_failed_flush)
{
  struct job flush = { .op = JOB_FLUSH };

  flush_behind_loss (f, &flush);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  job_let_go (f, &flush, STORE_FLUSH);
  power_cut (f);
  store_expect_zero (f, 0, 64 * KiB);
}

/* What was there is not read again when the store goes back to it, nor does it
 * become part of a block that is written in part; also if the zero is done, and
 * nobody else remembers it.
 */
VOLATILE_TEST (read_before_again)
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  mapping_kick (f->mapping);
  UNTIL (fake_store_count (f->fake, STORE_ZERO) == 1);
  fake_store_hold (f->fake, STORE_ZERO);
  lose (f);
  expect_zero (f, 0, PAGE);
  put (f, 2 * PAGE + 100, 10, 1);
  expect_zero (f, 2 * PAGE, 100);
  fake_store_unhold (f->fake, STORE_ZERO);
  flush_until_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 2 * PAGE + 100);
  store_expect (f, 2 * PAGE + 100, 10, 1);
  store_expect_zero (f, 2 * PAGE + 110, 61 * PAGE);
  store_expect (f, 64 * PAGE, PAGE, 0);
}

/* The mapping ends while they are being done again, or can never be. */
TEST (end)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_ZERO);
  mapping_kick (f->mapping);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  fixture_stop (f);

  f = start_volatile (&(struct fixture_config) { 0 });
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, 7 * PAGE, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  mapping_kick (f->mapping);
  fixture_stop (f);
}

/* Writes of others, one after the other, with a sync each: what began before does not
 * wait for itself any more.
 */
static void
flush_elsewhere (struct fixture *f)
{
  unsigned i;

  for (i = 1; i <= 8; i++)
    assert_int_equal (put_flags (f, 2, i * MiB + 10, 100, 1, CACHE_FUA), 0);
}

/* Past the cache a part of a block, FUA, is zeroed on its way, by a zero that is not
 * durable: then that has to be.
 */
static void
part_zeroed (bool fua)
{
  struct fixture *f = start_volatile (
    &(struct fixture_config) { .mode = CACHE_NONE, .fua = fua });
  struct ranges *ranges = &f->mapping->folios.ranges;
  struct range range = { .start = 0, .end = PAGE };
  static uint8_t buf[100];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = 100, .offset = 10, .flags = CACHE_FUA
  };
  struct job zero = { .op = JOB_ZERO, .count = PAGE };

  memset (buf, 1, sizeof buf);
  ranges_add_wait (ranges, &range); /* it can't be sent */
  job_start (f, 0, &write);
  UNTIL (atomic_load (&f->mapping->folios.nr_dirty) == 1);
  fixture_until_asleep (f, 1);
  job_start_held (f, 1, &zero, STORE_ZERO);
  folios_end_range (&f->mapping->folios, &range);
  flush_elsewhere (f);
  job_let_go (f, &write, STORE_ZERO);
  assert_int_equal (job_join (&zero), 0);
  power_cut (f);
  store_expect_zero (f, 0, 512); /* the block that was written */
  store_expect (f, PAGE, PAGE, 0);
  stop_unbothered (f);
}

TEST (part_zeroed)
{
  part_zeroed (true);
  part_zeroed (false);
}

RUN_TESTS ()
