/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes, trims and direct writes of a client that hangs up while they wait; and
 * what others write while one is under way.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/request/write.h"
#include "gone-world.h"
#include "tests/tools/util.h"

/* --- waiting for the range --- */

/* A second request waits for the range of the first, the store's request for
 * which is held, and its client hangs up: the store is not told of it.
 */
static void
range_waits (enum cache_mode mode, enum job_op first, enum job_op second)
{
  struct fixture *f = start_gone (&(struct fixture_config) { .mode = mode });
  struct job other = write_job (0, 4 * PAGE), job = write_job (PAGE, PAGE);
  enum store_op held = first == JOB_WRITE  ? STORE_WRITE
                       : first == JOB_ZERO ? STORE_ZERO
                                           : STORE_TRIM;

  store_put (f, 0, 8 * PAGE, 1);
  other.op = first;
  job.op = second;
  fake_store_hold (f->fake, held);
  job_start (f, 1, &other);
  fake_store_wait_held (f->fake, held, 1);
  job_start (f, 0, &job);
  fixture_until_asleep (f, 2);
  world.gone = true;
  fake_store_unhold (f->fake, held);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  assert_int_equal (job_join (&other), 0);
  if (first == JOB_WRITE)
    expect (f, 0, 4 * PAGE, WRITE_JOB);
  else
    expect_zero (f, 0, 4 * PAGE);
  expect (f, 4 * PAGE, 4 * PAGE, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE) +
                      fake_store_count (f->fake, STORE_ZERO) +
                      fake_store_count (f->fake, STORE_TRIM),
                    1);
  flush_ok (f, 1);
  check_flushed (f);
  free (job.buf);
  free (other.buf);
  fixture_stop (f);
}

TEST (range)
{
  static const enum job_op ops[] = { JOB_WRITE, JOB_ZERO, JOB_TRIM };
  unsigned k;

  for (k = 0; k < 3; k++)
    range_waits (CACHE_NONE, JOB_WRITE, ops[k]);
}

/* --- under way already --- */

/* What another client writes while memory is gone through stays, also after the
 * request is over; and the request has failed, for a client that has only closed
 * its half hears of it.
 */
static struct fixture *zeroed;

static bool
gone_meanwhile (void *opaque)
{
  (void) opaque;
  if (!world.gone) {
    world.gone = true;
    assert_int_equal (put_flags (zeroed, 1, 9 * PAGE, PAGE, 3, 0), 0);
    assert_int_equal (put_flags (zeroed, 1, 20 * PAGE, PAGE, 3, 0), 0);
  }
  return true;
}

static void
newer_stays (bool trim)
{
  struct fixture *f = zeroed =
    start_gone (&(struct fixture_config) { .small_folios = true });
  struct origin origin = { .client = &f->conn->client, .waited = true };

  store_put (f, 0, 64 * PAGE, 1);
  expect (f, 40 * PAGE, 4 * PAGE, 1);
  put (f, 8 * PAGE, 4 * PAGE, 2);
  conn_set_gone (f->conn, gone_meanwhile, NULL);
  {
    struct iomap_range range = { .start = 0, .end = 64 * PAGE };

    assert_int_equal (f->fs->ops->zero (f->fs, &range, !trim), 0);
    assert_int_equal (
      folios_zero_range (&f->mapping->folios, &origin, 0, 64 * PAGE),
      -ECONNABORTED);
    f->fs->ops->zero_end (f->fs, &range);
  }
  expect (f, 9 * PAGE, PAGE, 3);
  expect (f, 20 * PAGE, PAGE, 3);
  expect_zero (f, 0, 8 * PAGE);
  expect_zero (f, 21 * PAGE, 43 * PAGE);
  flush_ok (f, 1);
  store_expect (f, 9 * PAGE, PAGE, 3);
  store_expect (f, 20 * PAGE, PAGE, 3);
  check_flushed (f);
  fixture_stop (f);
}

TEST (newer_stays)
{
  newer_stays (false);
  newer_stays (true);
}

/* One that waits for nothing is asked as well: its thread may have stood still. */
GONE_TEST (without_waiting)
{
  put (f, 0, 8 * PAGE, 1);
  world.gone = true;
  assert_int_equal (cache_zero (f->conn, 4 * PAGE, 0, 0), -ECONNABORTED);
  expect (f, 0, 8 * PAGE, 1);
}

static bool
gone_when_begun (void *opaque)
{
  (void) opaque;
  if (world.asked++ == 0)
    return false;
  return gone_meanwhile (NULL);
}

/* Also when it has begun. */
TEST (stands_still)
{
  struct fixture *f = zeroed = start_gone (&(struct fixture_config) { 0 });

  put (f, 0, 64 * PAGE, 1);
  world.asked = 0;
  conn_set_gone (f->conn, gone_when_begun, NULL);
  assert_int_equal (cache_trim (f->conn, 64 * PAGE, 0, 0), -ECONNABORTED);
  expect (f, 9 * PAGE, PAGE, 3);
  expect (f, 20 * PAGE, PAGE, 3);
  flush_ok (f, 1);
  store_expect (f, 9 * PAGE, PAGE, 3);
  store_expect (f, 20 * PAGE, PAGE, 3);
  check_flushed (f);
  fixture_stop (f);
}

/* The same of a direct write. */
GONE_TEST (newer_stays_direct, .mode = CACHE_NONE)
{
  struct job job = write_job (0, 8 * PAGE), part = write_job (PAGE + 10, 100);

  store_put (f, 0, 64 * PAGE, 1);
  job_start_held (f, 0, &job, STORE_WRITE);
  world.gone = true;
  fill_pattern (part.buf, 100, PAGE + 10, 3);
  job_start (f, 1, &part);
  fixture_until_asleep (f, 2);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  assert_int_equal (job_join (&part), 0);
  expect (f, PAGE + 10, 100, 3);
  store_expect (f, PAGE + 10, 100, 3);
  flush_ok (f, 1);
  check_flushed (f);
  free (job.buf);
  free (part.buf);
}

/* A direct write in parts, the store at the first. */
GONE_TEST (direct_parts, .mode = CACHE_NONE)
{
  struct job job = write_job (0, 3 * MiB);

  job_start_held (f, 0, &job, STORE_WRITE);
  world.gone = true;
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
  store_expect_zero (f, 1 * MiB, 2 * MiB);
  free (job.buf);
}

/* With ends that go through the cache: the first of them is written. */
GONE_TEST (direct_ends, .mode = CACHE_NONE)
{
  struct job job = write_job (100, 4096);

  store_put (f, 0, 4 * PAGE, 1);
  job_start_held (f, 0, &job, STORE_READ);
  world.gone = true;
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  store_expect (f, 0, 4 * PAGE, 1);
  expect (f, 0, 4 * PAGE, 1);
  free (job.buf);
}

/* --- beside a flush --- */

static void
put_buffered (struct fixture *f, uint64_t offset, uint64_t n, unsigned version)
{
  uint8_t *buf = xcalloc (1, n);

  fill_pattern (buf, n, offset, version);
  assert_int_equal (write_buffered (f->mapping, NULL, buf, n, offset), 0);
  free (buf);
}

/* Eight pages of another client's that the store has, though not for ever, and one
 * that it has not.
 */
static void
put_unstable (struct fixture *f)
{
  fake_store_volatile (f->fake);
  put_buffered (f, 0, 8 * PAGE, 2);
  assert_int_equal (inbox_sync (&f->mapping->inbox, 0, 8 * PAGE, SYNC_WRITE),
                    0);
  put_buffered (f, 32 * PAGE, PAGE, 2);
}

/* What another client has written, and the store as well, is overwritten there
 * when the client of that hangs up; or the store fails half way.  It is dirty again
 * then, and a flush that is at it, with other data, has to write it once more.
 * flushing: the flush is as far as the store's own.
 */
static void
flush_meanwhile (enum cache_mode mode, enum job_op op, bool fails,
                 bool flushing)
{
  struct fixture *f = start_gone (&(struct fixture_config) { .mode = mode });
  struct job job = write_job (0, 8 * PAGE), flush = { .op = JOB_FLUSH };
  enum store_op held = op == JOB_WRITE ? STORE_WRITE : STORE_ZERO;
  uint8_t part[2 * PAGE_SIZE] = { 0 };

  put_unstable (f);
  job.op = op;
  if (fails)
    fake_store_fail (
      f->fake, &(struct fake_rule) {
                 .op = held, .length = 8 * PAGE, .error = -EIO, .count = 1 });
  fake_store_hold (f->fake, held);
  job_start (f, 0, &job);
  fake_store_wait_held (f->fake, held, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 1 + (op == JOB_WRITE));
  if (flushing) {
    fake_store_release_newest (f->fake, STORE_WRITE);
    fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  }
  if (fails)
    fake_store_poke (f->fake, 4 * PAGE, part, sizeof part);
  else
    world.gone = true;
  fake_store_release (f->fake, held, 1);
  assert_int_equal (job_join (&job), fails ? -EIO : -ECONNABORTED);
  fake_store_unhold (f->fake, STORE_WRITE);
  job_let_go (f, &flush, STORE_FLUSH);
  fake_store_crash (f->fake, 0);
  expect (f, 0, 8 * PAGE, 2);
  store_expect (f, 0, 8 * PAGE, 2);
  store_expect (f, 32 * PAGE, PAGE, 2);
  free (job.buf);
  fixture_stop (f);
}

TEST (flush_meanwhile)
{
  unsigned i;

  for (i = 0; i < 4; i++) {
    flush_meanwhile (CACHE_NONE, JOB_WRITE, i & 1, i & 2);
  }
}

RUN_TESTS ()
