/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses direct writes that were not flushed, and zeroes beneath them.
 */

#include <errno.h>
#include <stdlib.h>

#include "volatile-fixture.h"

/* One that waited for a zero of the same range, both lost: it was the later
 * one, and stays so when they are done again.
 */
static void
direct_behind_zero (unsigned flags)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  static uint8_t buf[16 * PAGE_SIZE];
  struct job zero = { .op = JOB_ZERO, .count = sizeof buf };
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .flags = flags
  };

  fill_pattern (buf, sizeof buf, 0, 1);
  job_start_held (f, 1, &zero, STORE_ZERO);
  job_start (f, 0, &write);
  fixture_until_asleep (f, 2);
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_unhold (f->fake, STORE_ZERO);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  lose (f);
  job_let_go (f, &zero, STORE_WRITE);
  assert_int_equal (job_join (&write), 0);
  flush_ok (f, 1);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
  stop_unbothered (f);
}

TEST (direct_behind_zero)
{
  direct_behind_zero (0);
  direct_behind_zero (CACHE_FUA);
}

/* The zero comes while the write is busy with what is before it. */
static void
direct_around_zero (unsigned flags)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  static uint8_t buf[2 << 20];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .flags = flags
  };
  uint64_t first;

  fill_pattern (buf, sizeof buf, 0, 1);
  job_start_held (f, 0, &write, STORE_WRITE);
  first = nth_request (f, STORE_WRITE, 0).length;
  assert_true (first < sizeof buf);
  assert_int_equal (cache_zero (f->conns[1], PAGE, first, 0), 0);
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  lose (f);
  job_let_go (f, &write, STORE_WRITE);
  /* What was written before the loss, and not flushed, was gone, and others are
   * told; but not whoever wrote it, who waits until it is there again.
   */
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  flush_ok (f, 1);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);

  /* It takes no flush to write over it. */
  assert_int_equal (cache_zero (f->conns[1], PAGE, first, 0), 0);
  fake_store_clear (f->fake);
  put (f, first - PAGE, 3 * PAGE, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  stop_lost (f, 1);
}

TEST (direct_around_zero)
{
  direct_around_zero (0);
  direct_around_zero (CACHE_FUA);
}

/* One that fails leaves the zero beneath it, done and not flushed, to be done again
 * should the store lose it; be that before, while or after it is written.
 */
static void
failed_over_zero (bool before, bool meanwhile)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  unsigned i;

  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, 0), 0);
  if (before)
    lose (f);
  job_start_held (f, 1, &write, STORE_WRITE);
  if (meanwhile) {
    lose (f);
    fake_store_release (f->fake, STORE_WRITE, 1);
    fake_store_wait_held (f->fake, STORE_WRITE, 1);
  }
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&write), -EIO);
  lose (f);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  power_cut (f);
  store_expect_zero (f, 0, 16 * PAGE);
  fixture_stop (f);
}

TEST (failed_over_zero)
{
  failed_over_zero (false, false);
  failed_over_zero (true, false);
  failed_over_zero (false, true);
}

static struct fixture *
fixture_of (struct fs *fs)
{
  return (struct fixture *) fs->store->env; /* its first member */
}

/* Once one has arrived the zero beneath is gone.  If it is lost before it is known to be
 * kept, and fails when it is done again, clients are told.
 */
static int
end_and_lose (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
              unsigned flags, const struct iomap *iomap)
{
  struct fixture *f = fixture_of (fs);
  int r = f->raw_ops->end (fs, pos, length, written, flags, iomap);

  if (written == length) {
    fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
    lose (f);
  }
  return r;
}

VOLATILE_TEST (failed_after_arriving, .mode = CACHE_NONE)
{
  unsigned i;

  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, 0), 0);
  f->ops.end = end_and_lose;
  assert_int_equal (put_flags (f, 0, 0, 16 * PAGE, 1, 0), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
}

/* The store loses what it has, and that is seen. */
static void
lose_seen (struct fixture *f)
{
  uint32_t undone = atomic_load (&f->fs->undone);

  lose (f);
  UNTIL (atomic_load (&f->fs->undone) != undone);
}

/* The first that arrives is lost before it is known to be kept, with the zero beneath;
 * what is written then the store holds.
 */
static int
end_lose_and_hold (struct fs *fs, uint64_t pos, uint64_t length,
                   uint64_t written, unsigned flags, const struct iomap *iomap)
{
  struct fixture *f = fixture_of (fs);
  int r = f->raw_ops->end (fs, pos, length, written, flags, iomap);

  f->ops.end = f->raw_ops->end;
  fake_store_hold (f->fake, STORE_WRITE);
  lose_seen (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  return r;
}

/* Who had that zero acknowledged is told, while it is done again. */
TEST (lost_over_zero)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  unsigned i;
  int r;

  fill_pattern (buf, sizeof buf, 0, 1);
  assert_int_equal (cache_zero (f->conns[1], sizeof buf, 0, 0), 0);
  f->ops.end = end_lose_and_hold;
  job_start (f, 0, &write);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  for (i = 0; i < NR_CONNS; i++) {
    r = cache_flush (f->conns[i]);
    if (r == 0)
      store_expect_zero (f, 0, sizeof buf);
    assert_int_equal (r, -EIO);
  }
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&write), 0);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
  stop_lost (f, 1);
}

static _Atomic bool settles;

static uint64_t
note_settle (struct fs *fs, uint64_t start, uint64_t end)
{
  atomic_store (&settles, true);
  return fixture_of (fs)->raw_ops->settle (fs, start, end);
}

static uint64_t
lose_and_settle (struct fs *fs, uint64_t start, uint64_t end)
{
  struct fixture *f = fixture_of (fs);

  f->ops.settle = note_settle;
  fake_store_hold (f->fake, STORE_FLUSH);
  lose_seen (f);
  return f->raw_ops->settle (fs, start, end);
}

/* If it is to be done again in any case, for a loss before, the zero stays, and who had
 * that acknowledged waits.
 */
UNBOTHERED_TEST (lost_twice_over_zero, .mode = CACHE_NONE)
{
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  struct job flush = { .op = JOB_FLUSH };

  fill_pattern (buf, sizeof buf, 0, 1);
  assert_int_equal (cache_zero (f->conns[1], sizeof buf, 0, 0), 0);
  f->ops.settle = lose_and_settle;
  f->ops.end = end_lose_and_hold;
  job_start (f, 0, &write);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  atomic_store (&settles, false);
  job_start (f, 1, &flush);
  UNTIL (atomic_load (&flush.done) || atomic_load (&settles));
  if (atomic_load (&flush.done))
    store_expect_zero (f, 0, sizeof buf);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&write), 0);
  assert_int_equal (job_join (&flush), 0);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
}

/* In the place of fs's: a flush has failed, and before the loop thread sees that,
 * what is written past the cache is done.
 */
static struct job *past;
static _Atomic enum { LOOK_ON, LOOK_NEXT, LOOK_STOPPED } look;
static struct fixture *flushing;
static struct store_req raw_flush, *outer_flush;

static void
raw_flush_done (struct store_req *req, int error)
{
  (void) req;
  if (error) {
    fake_store_unhold (flushing->fake, STORE_WRITE);
    atomic_store (&look, LOOK_ON);
    UNTIL (atomic_load (&past->done) || atomic_load (&settles));
  }
  outer_flush->done (outer_flush, error);
}

static void
flush_after_write (struct fs *fs, struct store_req *req)
{
  outer_flush = req;
  raw_flush = *req;
  raw_flush.done = raw_flush_done;
  flushing->raw_ops->flush (fs, &raw_flush);
}

/* A zero is to be done again since a flush has failed, after it was done, and before
 * what is written in its place: that is written again.
 */
static void
over_zero_at_failed_flush (unsigned flags)
{
  struct fixture *f = start_volatile (
    &(struct fixture_config) { .mode = CACHE_NONE, .fua = true });
  struct job flush = { .op = JOB_FLUSH };
  struct job write = { .op = JOB_WRITE,
                       .buf = malloc (16 * PAGE),
                       .count = 16 * PAGE,
                       .flags = flags };

  assert_non_null (write.buf);
  fill_pattern (write.buf, 16 * PAGE, 0, 1);
  assert_int_equal (cache_zero (f->conn, 16 * PAGE, 0, 0), 0);
  flushing = f;
  f->ops.flush = flush_after_write;
  f->ops.settle = note_settle;
  job_start_held (f, 1, &flush, STORE_FLUSH);
  fake_store_hold (f->fake, STORE_WRITE);
  past = &write;
  job_start (f, 0, &write);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  atomic_store (&settles, false);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  assert_int_equal (job_join (&write), 0);
  expect (f, 0, 16 * PAGE, 1);
  flush_until_ok (f, 2);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  free (write.buf);
  fixture_stop (f);
}

TEST (over_zero_at_failed_flush)
{
  over_zero_at_failed_flush (CACHE_FUA);
  over_zero_at_failed_flush (0);
}

/* The next that looks at this page alone does so when a flush has failed. */
static bool
look_later (struct fs *fs, uint64_t start, uint64_t end)
{
  if (end == PAGE && atomic_load (&look) == LOOK_NEXT) {
    atomic_store (&look, LOOK_STOPPED);
    UNTIL (atomic_load (&look) == LOOK_ON);
  }
  return fixture_of (fs)->raw_ops->unsettled (fs, start, end);
}

/* Data with FUA has been zeroed, and that has been written over past the cache; both are
 * lost while whoever waits for the data looks for what has become of it.
 */
VOLATILE_TEST (fua_beneath, .sequential_cutoff = 64 * KiB)
{
  static uint8_t buf[PAGE_SIZE];
  struct job flush = { .op = JOB_FLUSH };
  struct job fua = {
    .op = JOB_WRITE, .buf = buf, .count = PAGE, .flags = CACHE_FUA
  };

  fill_pattern (buf, PAGE, 0, 1);
  flushing = f;
  past = &fua;
  f->ops.flush = flush_after_write;
  f->ops.settle = note_settle;
  f->ops.unsettled = look_later;
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 1, &fua);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  assert_int_equal (cache_zero (f->conn, PAGE, 0, 0), 0);
  fake_store_hold (f->fake, STORE_FLUSH);
  fake_store_unhold (f->fake, STORE_WRITE);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  atomic_store (&look, LOOK_NEXT);
  fake_store_unhold (f->fake, STORE_FLUSH);
  UNTIL (atomic_load (&look) == LOOK_STOPPED);

  put (f, 0, 64 * KiB, 2);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 2, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  atomic_store (&settles, false);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&fua), -EIO);
  assert_int_equal (job_join (&flush), -EIO);
}

RUN_TESTS ()
