/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores that fail, with zeroes and trims not flushed yet; and everything of it
 * at random.  A store whose flush fails loses, in these tests, all that it had
 * not made durable.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk-model.h"
#include "seed.h"
#include "volatile-fixture.h"

/* --- doing them again --- */

/* A zero whose flush failed is done again, before what was written over it. */
static void
zero_again (bool trim, unsigned flags)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  if (trim)
    assert_int_equal (cache_trim (f->conn, 64 * PAGE, 0, 0), 0);
  else
    assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, flags), 0);
  put (f, 7 * PAGE + 100, PAGE, 1);
  flush_fails (f, 0);
  fake_store_fail_next (f->fake, STORE_FLUSH, UINT32_MAX, -EIO);
  put (f, 20 * PAGE, PAGE, 1);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  fake_store_heal (f->fake);
  expect_zero (f, 0, 7 * PAGE);
  flush_until_ok (f, 2);
  power_cut (f);
  store_expect_zero (f, 0, 7 * PAGE + 100);
  store_expect (f, 7 * PAGE + 100, PAGE, 1);
  store_expect_zero (f, 8 * PAGE + 100, 12 * PAGE - 100);
  store_expect (f, 20 * PAGE, PAGE, 1);
  store_expect_zero (f, 21 * PAGE, 43 * PAGE);
  store_expect (f, 64 * PAGE, PAGE, 0);
  expect_zero (f, 0, 7 * PAGE);
  expect (f, 7 * PAGE + 100, PAGE, 1);
  fixture_stop (f);
}

/* The same with nothing written over it. */
static void
zero_alone_again (bool trim, unsigned flags)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  learn_extents (f);
  if (trim)
    assert_int_equal (cache_trim (f->conn, 64 * PAGE, 0, 0), 0);
  else
    assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, flags), 0);
  flush_fails (f, 0);
  flush_until_ok (f, 1);
  power_cut (f);
  store_expect_zero (f, 0, 64 * PAGE);
  store_expect (f, 64 * PAGE, PAGE, 0);
  fixture_stop (f);
}

TEST (zero_alone_again)
{
  zero_alone_again (false, 0);
  zero_alone_again (false, CACHE_MAY_TRIM);
  zero_alone_again (true, 0);
}

TEST (zero_again)
{
  zero_again (false, 0);
  zero_again (false, CACHE_MAY_TRIM);
  zero_again (true, 0);
}

/* Doing it again fails as well: no flush succeeds before it is done, but for what
 * has nothing to do with it.
 */
VOLATILE_TEST (zero_again_fails)
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conns[0]), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  assert_int_equal (cache_flush (f->conns[2]), -EIO);
  assert_int_equal (put_flags (f, 0, 1 * MiB, PAGE, 1, CACHE_FUA), 0);
  expect_zero (f, 0, 64 * PAGE);
  fake_store_heal (f->fake);
  flush_until_ok (f, 1);
  power_cut (f);
  store_expect_zero (f, 0, 64 * PAGE);
  store_expect (f, 1 * MiB, PAGE, 1);
}

/* Data that is written through over a zero which is still to be done again goes
 * to the store once more, after it.
 */
VOLATILE_TEST (written_before_again, .mode = CACHE_WRITETHROUGH)
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conns[0]), -EIO);
  put (f, 8 * PAGE, 8 * PAGE, 1);
  store_expect (f, 8 * PAGE, 8 * PAGE, 1);
  fake_store_heal (f->fake);
  flush_until_ok (f, 1);
  power_cut (f);
  store_expect_zero (f, 0, 8 * PAGE);
  store_expect (f, 8 * PAGE, 8 * PAGE, 1);
  store_expect_zero (f, 16 * PAGE, 48 * PAGE);
}

/* After a failed flush with a zero in it, what is dirty is still written back
 * in the background, with no client to ask for it.
 */
VOLATILE_TEST (background_after_zero)
{
  assert_int_equal (cache_zero (f->conn, PAGE, 0, 0), 0);
  put (f, 1 * MiB, PAGE, 1);
  flush_fails (f, 0);
  mapping_kick (f->mapping);
  until_saved (f);
  power_cut (f);
  store_expect_zero (f, 0, PAGE);
  store_expect (f, 1 * MiB, PAGE, 1);
}

/* While it fails no flush succeeds, but data is written all the same: should
 * this be the end, that much is on the store.
 */
VOLATILE_TEST (data_is_written)
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  store_expect (f, 1 * MiB, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), -EIO);
  store_expect (f, 2 * MiB, PAGE, 1);
}

static void
fail_zeroes_at (struct fixture *f, uint64_t offset, int error)
{
  fake_store_fail (f->fake, &(struct fake_rule) {
                              .op = STORE_ZERO,
                              .offset = offset,
                              .length = PAGE,
                              .error = error,
                              .count = UINT32_MAX,
                            });
}

static unsigned
count_zeroes_at (struct fixture *f, uint64_t offset)
{
  struct fake_record record;
  unsigned n = 0;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    n += record.op == STORE_ZERO && record.offset == offset;
  return n;
}

/* Those that can be done are, once, though others can't; and flushes fail for one of
 * these.
 */
VOLATILE_TEST (some_fail)
{
  unsigned i;

  for (i = 0; i < 4; i++)
    assert_int_equal (cache_zero (f->conn, 4 * PAGE, i * MiB, 0), 0);
  put (f, 1 * MiB, PAGE, 1);
  fail_zeroes_at (f, 0, -EIO);
  fail_zeroes_at (f, 2 * MiB, -EIO);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  store_expect (f, 1 * MiB, PAGE, 1);
  store_expect_zero (f, 1 * MiB + PAGE, 3 * PAGE);
  store_expect_zero (f, 3 * MiB, 4 * PAGE);
  assert_true (count_zeroes_at (f, 2 * MiB) >= NR_CONNS);
  assert_int_equal (count_zeroes_at (f, 3 * MiB), 1);
  fake_store_heal (f->fake);
  flush_until_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 4 * PAGE);
  store_expect (f, 1 * MiB, PAGE, 1);
  store_expect_zero (f, 1 * MiB + PAGE, 3 * PAGE);
  store_expect_zero (f, 2 * MiB, 4 * PAGE);
  store_expect_zero (f, 3 * MiB, 4 * PAGE);
}

/* What works again is no reason any more for others to give up waiting, though there
 * are zeroes that nobody has asked for yet.
 */
VOLATILE_TEST (works_again)
{
  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (outbox_error (&f->mapping->outbox), -EIO);
  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 2 * MiB, 0), 0);
  fake_store_heal (f->fake);
  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, CACHE_FUA), 0);
  assert_int_equal (outbox_error (&f->mapping->outbox), 0);
  flush_ok (f, 0);
}

/* What can't be zeroed may be written, past the cache, too; and then nothing of it is
 * left to be zeroed.
 */
VOLATILE_TEST (written_past_instead, .mode = CACHE_NONE)
{
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, 0), -EIO);
  put (f, 0, 16 * PAGE, 1);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
}

/* What may make room is trimmed before what there was none for is written. */
VOLATILE_TEST (trim_makes_room)
{
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -ENOSPC);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  assert_int_equal (cache_trim (f->conn, 1 * MiB, 4 * MiB, 0), 0);
  fake_store_hold (f->fake, STORE_TRIM);
  fake_store_back (f->fake); /* so that it is tried again now */
  fake_store_wait_held (f->fake, STORE_TRIM, 1);
  fake_store_clear (f->fake);
  fake_store_heal (f->fake);
  fake_store_unhold (f->fake, STORE_TRIM);
  flush_ok (f, 0);
  store_expect (f, 1 * MiB, PAGE, 1);

  /* Also for one who waits for what he writes. */
  assert_int_equal (cache_trim (f->conn, 1 * MiB, 8 * MiB, 0), 0);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -ENOSPC);
  assert_int_equal (put_flags (f, 0, 2 * MiB, PAGE, 1, CACHE_FUA), 0);
}

/* One that fails while the store is full is left in peace, too. */
VOLATILE_TEST (failing_while_full, .fake_clock = true, .no_loop = true)
{
  unsigned i;

  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -ENOSPC);
  fake_store_fail_next (f->fake, STORE_TRIM, UINT32_MAX, -EIO);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_trim (f->conn, 1 * MiB, 4 * MiB, 0), 0);
  mapping_kick (f->mapping);
  for (i = 0; i < 1000; i++)
    writeback_step (&f->mapping->wb);
  assert_true (f->mapping->wb.failing.full);
  /* Each part of the page has been written alone, and the trim tried before. */
  assert_true (fake_store_count (f->fake, STORE_TRIM) < 20);
  fake_store_heal (f->fake);
}

/* What failed, and then made way for data, is no reason any more for anything. */
VOLATILE_TEST (failed_zero_is_covered)
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (outbox_error (&f->mapping->outbox), -EIO);
  put (f, 0, 64 * PAGE, 1);
  flush_until_ok (f, 0);
  UNTIL (outbox_error (&f->mapping->outbox) == 0);
  fake_store_heal (f->fake);
}

/* --- at random --- */

#define DISK (2 * MiB)

/* A flush in which this or that fails. */
static void
random_flush (struct disk_model *m)
{
  static const enum store_op ops[] = { STORE_WRITE, STORE_FLUSH, STORE_FLUSH,
                                       STORE_ZERO, STORE_TRIM };
  enum store_op op = ops[rng_below (&m->rng, 5)];
  unsigned conn = (unsigned) rng_below (&m->rng, NR_CONNS);
  struct fake_rule rule = { .op = op, .error = -EIO, .count = 1 };
  int r;

  rule.skip = op == STORE_FLUSH ? 0 : (unsigned) rng_below (&m->rng, 3);
  if (rng_chance (&m->rng, 70))
    fake_store_fail (m->f->fake, &rule);
  r = cache_flush (m->f->conns[conn]);
  fake_store_heal (m->f->fake);
  if (r == 0) {
    fake_store_crash (m->f->fake, 0);
    disk_model_compare (m, true);
  }
}

VOLATILE_TEST (random_failures, .disk_size = DISK, .cache_size = 16 * MiB)
{
  struct disk_model *m = disk_model_start (f, test_rng ("random_failures"), 0);
  unsigned i;

  fake_store_lossy (m->f->fake, rng_next (&m->rng) | 1);
  for (i = 0; i < 400; i++) {
    if (rng_chance (&m->rng, 70))
      disk_model_change (m, 300000, false); /* as in flush_until_ok */
    else
      random_flush (m);
    if (rng_chance (&m->rng, 10))
      disk_model_compare (m, false);
  }
  flush_until_ok (m->f, 0);
  fake_store_crash (m->f->fake, 0);
  disk_model_end (m);
}

RUN_TESTS ()
