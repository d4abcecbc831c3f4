/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses direct writes that were not flushed, of which there is no
 * copy: clients are told.
 */

#include <errno.h>
#include <stddef.h>

#include "volatile-fixture.h"

/* The next connection to come flushes, and goes. */
static void
expect_next (struct fixture *f, int result)
{
  struct conn *conn;

  assert_int_equal (conn_create (f->mapping, &conn), 0);
  assert_int_equal (cache_flush (conn), result);
  assert_int_equal (cache_flush (conn), 0);
  conn_destroy (conn);
}

static void
put_on (struct conn *conn, uint64_t offset, uint32_t count, uint8_t version)
{
  static uint8_t buf[16 * PAGE_SIZE];

  fill_pattern (buf, count, offset, version);
  assert_int_equal (cache_write (conn, buf, count, offset, 0), 0);
}

/* There is no copy of what was lost: every connection is told, once. */
TEST (direct)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  unsigned i;

  put (f, 0, 16 * PAGE, 1);
  lose (f);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  stop_lost (f, 1);
}

/* Once told, they read what the store has, though more was cached meanwhile. */
TEST (direct_cached)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .sequential_cutoff = 64 * KiB });
  unsigned i;

  for (i = 0; i < 16; i++)
    put (f, i * 64 * KiB, 64 * KiB, 1);
  for (i = 0; i < 16; i++)
    expect (f, 1 * MiB - (i + 1) * PAGE, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  expect (f, 512 * KiB, 512 * KiB, 0);
  expect (f, 2 * MiB, PAGE, 1);
  stop_lost (f, 1);
}

/* So they are if a flush was in flight. */
TEST (direct_flushing)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, 16 * PAGE, 1);
  job_start_held (f, 0, &flush, STORE_FLUSH);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  flush_ok (f, 0);
  flush_ok (f, 1);
  stop_lost (f, 1);
}

/* And if it fails after the loss: that took what was written since. */
TEST (direct_before_failed_flush)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  struct job flush = { .op = JOB_FLUSH };
  unsigned i;

  flush_behind_loss (f, &flush);
  put (f, 1 * MiB, 16 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    if (f->conns[i] != f->conn)
      assert_int_equal (cache_flush (f->conns[i]), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  stop_lost (f, 1);
}

/* Not if it ended with the loss: that did not take what was written after it. */
UNBOTHERED_TEST (direct_after_loss, .mode = CACHE_NONE)
{
  struct job flush = { .op = JOB_FLUSH };
  unsigned i;

  assert_int_equal (cache_zero (f->conn, 64 * KiB, 0, 0), 0);
  job_start_held (f, 0, &flush, STORE_FLUSH);
  lose (f);
  put (f, 1 * MiB, 16 * PAGE, 1);
  job_let_go (f, &flush, STORE_FLUSH);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  power_cut (f);
  store_expect_zero (f, 0, 64 * KiB);
  store_expect (f, 1 * MiB, 16 * PAGE, 1);
}

/* Several flushes of one connection may be those of several clients' writers. */
TEST (direct_flushes)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  struct job flushes[3];
  unsigned i;

  put (f, 0, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  for (i = 0; i < 3; i++) {
    flushes[i] = (struct job) { .op = JOB_FLUSH };
    job_start (f, 0, &flushes[i]);
  }
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  fixture_until_asleep (f, 3);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  for (i = 0; i < 3; i++)
    assert_int_equal (job_join (&flushes[i]), -EIO);
  flush_ok (f, 0);
  stop_lost (f, 1);
}

/* As long as the store cannot flush, no flush succeeds, though there is nothing left
 * that could be flushed.
 */
VOLATILE_TEST (direct_failing_flushes, .mode = CACHE_NONE)
{
  unsigned i;

  put (f, 0, 16 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, UINT32_MAX, -EIO);
  for (i = 0; i < 3 * NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i % NR_CONNS]), -EIO);
  fake_store_heal (f->fake);
  for (i = 0; i < NR_CONNS; i++)
    flush_until_ok (f, i);
}

/* One that comes later is told if nobody has been: it may be the writer. */
TEST (direct_later)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  unsigned i;

  put (f, 0, 16 * PAGE, 1);
  lose (f);
  UNTIL (atomic_load (&f->errors) == 1);
  assert_true (mapping_lost_untold (f->mapping));
  expect_next (f, -EIO);
  assert_false (mapping_lost_untold (f->mapping));
  expect_next (f, 0);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  expect_next (f, 0);
  stop_lost (f, 1);
}

/* If the writer has left without being told, what others were told does not count;
 * only what those were that came after it.
 */
TEST (direct_left)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  struct conn *writer;

  assert_int_equal (conn_create (f->mapping, &writer), 0);
  put_on (writer, 0, 16 * PAGE, 1);
  conn_destroy (writer);
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  expect_next (f, -EIO);
  expect_next (f, 0);

  /* It leaves when others have been told. */
  assert_int_equal (conn_create (f->mapping, &writer), 0);
  put_on (writer, 0, 16 * PAGE, 1);
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  conn_destroy (writer);
  expect_next (f, -EIO);
  expect_next (f, 0);

  /* What it wrote was durable before anything was lost. */
  assert_int_equal (conn_create (f->mapping, &writer), 0);
  put_on (writer, 0, 16 * PAGE, 1);
  conn_destroy (writer);
  flush_ok (f, 0);
  put (f, 0, 16 * PAGE, 1);
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  expect_next (f, 0);
  stop_lost (f, 3);
}

/* What is in flight is done again by who waits for it: nobody need be told. */
UNBOTHERED_TEST (direct_in_flight, .mode = CACHE_NONE)
{
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  unsigned i;

  fill_pattern (buf, sizeof buf, 0, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 1, &write);
  for (i = 0; i < 3; i++) {
    fake_store_wait_held (f->fake, STORE_WRITE, 1);
    lose (f);
    fake_store_release (f->fake, STORE_WRITE, 1);
  }
  job_let_go (f, &write, STORE_WRITE);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 4);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
}

#define SMALL 300

/* A write to a few bytes of what is cached, to be durable. */
static struct job
small_fua (void *buf)
{
  return (struct job) { .op = JOB_WRITE,
                        .buf = buf,
                        .count = SMALL,
                        .offset = PAGE + 100,
                        .flags = CACHE_FUA };
}

/* What it has replaced in the store, and is lost before it has in memory: then newer
 * data in memory is not dropped for it.
 */
VOLATILE_TEST (direct_lost_before_drop, .mode = CACHE_NONE,
               .small_folios = true)
{
  static uint8_t buf[16 * PAGE_SIZE], few[3], small[SMALL];
  struct job fill = { .op = JOB_WRITE, .buf = few, .count = 3, .offset = 100 };
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  struct job fua = small_fua (small);

  expect (f, PAGE + 100, 10, 0);
  fill_pattern (buf, sizeof buf, 0, 1);
  fill_pattern (small, SMALL, PAGE + 100, 2);
  job_start_held (f, 0, &fill, STORE_READ);
  job_start (f, 1, &write); /* which waits for that folio's lock */
  UNTIL (fake_store_count (f->fake, STORE_WRITE) == 1);
  fixture_until_asleep (f, 2);
  lose (f);
  UNTIL (atomic_load (&f->errors) == 1);
  job_start (f, 2, &fua);
  fixture_until_asleep (f, 3);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&write), -EIO);
  assert_int_equal (job_join (&fua), 0);
  job_join (&fill);
  power_cut (f);
  store_expect (f, PAGE + 100, SMALL, 2);
}

/* If it is lost later, those that it took along are written again. */
VOLATILE_TEST (direct_lost_after_drop, .mode = CACHE_NONE, .small_folios = true,
               .fua = true)
{
  static uint8_t buf[16 * PAGE_SIZE], small[SMALL];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  struct job fua = small_fua (small);

  expect (f, PAGE + 100, 10, 0);
  fill_pattern (small, SMALL, PAGE + 100, 2);
  job_start_held (f, 1, &write, STORE_WRITE);
  job_start (f, 2, &fua);
  fixture_until_asleep (f, 2);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_let_go (f, &write, STORE_WRITE);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&fua), 0);
  power_cut (f);
  store_expect (f, PAGE + 100, SMALL, 2);
}

static struct job over;

/* In the place of fs's, once: should a sync ask this while what it wrote is unstable,
 * another writes over it past the cache, before the sync looks at that.
 */
static bool
overwritten_unsettled (struct fs *fs, uint64_t start, uint64_t end)
{
  struct fixture *f =
    (struct fixture *) ((char *) fs->ops - offsetof (struct fixture, ops));

  if (f->mapping->wb.sync.nr[SYNC_DRAINING] > 0 &&
      atomic_load (&f->mapping->folios.nr_unsaved) > 0) {
    f->ops.unsettled = f->raw_ops->unsettled;
    job_start (f, 1, &over);
    assert_int_equal (job_join (&over), 0);
  }
  return f->raw_ops->unsettled (fs, start, end);
}

/* It must not take the one for durable since the other has dropped it. */
VOLATILE_TEST (direct_over_unstable, .sequential_cutoff = 64 * KiB)
{
  static uint8_t buf[64 * KiB];

  fill_pattern (buf, sizeof buf, 0, 1);
  over = (struct job) { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  f->ops.unsettled = overwritten_unsettled;
  assert_int_equal (put_flags (f, 0, 0, PAGE, 2, CACHE_FUA), 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 2);
}

RUN_TESTS ()
