/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses, without an error, what was not flushed, as a remote
 * server that is restarted: everything is written again, and no client sees
 * more of it than that it takes a little longer.  At these moments, and see
 * loss-moments-test; loss-zero-test and loss-direct-test for what is no data
 * of the cache's.
 */

#include <errno.h>

#include "volatile-fixture.h"

/* Written, not flushed, and lost: written again without anybody's help. */
UNBOTHERED_TEST (unstable, .mode = CACHE_WRITETHROUGH)
{
  put (f, 0, 100 * PAGE, 1);
  put (f, 3 * MiB + 512, 1024, 1);
  lose (f);
  until_saved (f);
  power_cut (f);
  store_expect (f, 0, 100 * PAGE, 1);
  store_expect (f, 3 * MiB + 512, 1024, 1);
  check_state (f);
}

/* The same, if a flush comes first. */
UNBOTHERED_TEST (unstable_then_flush, .mode = CACHE_WRITETHROUGH)
{
  unsigned i;

  for (i = 1; i <= 20; i++) {
    put (f, 0, 100 * PAGE, i);
    lose (f);
    flush_ok (f, i % NR_CONNS);
    power_cut (f);
    store_expect (f, 0, 100 * PAGE, i);
  }
  check_flushed (f);
}

/* What is durable is not written again. */
UNBOTHERED_TEST (durable)
{
  put (f, 0, 100 * PAGE, 1);
  flush_ok (f, 0);
  check_flushed (f);
  fake_store_clear (f->fake);
  lose (f);
  flush_ok (f, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
}

/* Some of a write in flight may have been lost even if the store says that it
 * was done: it is written once more.
 */
UNBOTHERED_TEST (write_in_flight)
{
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, 16 * PAGE, 1);
  job_start_held (f, 0, &flush, STORE_WRITE);
  lose (f);
  /* As if on the loop thread, as a store would: seen before the write's end. */
  UNTIL (!atomic_load (&f->mapping->inbox.store_changed));
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  assert_false (atomic_load (&flush.done));
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  job_let_go (f, &flush, STORE_WRITE);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 2 * 16 * PAGE);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
}

/* A write that the store did before the loss, and says so after it. */
static const struct store_ops *store_below;
static struct store_req *_Atomic late;
static void (*tell) (struct store_req *req, int error);

static void
catch_done (struct store_req *req, int error)
{
  assert_int_equal (error, 0);
  atomic_store (&late, req);
}

static void
catching_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  if (reqs[0]->op == STORE_WRITE && tell == NULL) {
    tell = reqs[0]->done;
    reqs[0]->done = catch_done;
  }
  store_below->submit (store, reqs, n);
}

UNBOTHERED_TEST (write_told_late, .mode = CACHE_WRITETHROUGH)
{
  static struct store_ops ops;
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .flags = CACHE_FUA
  };

  put (f, 3 * MiB, PAGE, 1);
  store_below = f->fake->store.ops;
  ops = *store_below;
  ops.submit = catching_submit;
  f->fake->store.ops = &ops;
  fill_pattern (buf, sizeof buf, 0, 1);
  job_start (f, 0, &write);
  UNTIL (atomic_load (&late));
  lose (f);
  /* By now the loss has been seen to, but for this write. */
  UNTIL (page_masks (f, 3 * MiB / PAGE) == 0xffff);
  tell (atomic_load (&late), 0);
  assert_int_equal (job_join (&write), 0);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
}

/* The flush in flight fails at the store, for nobody else. */
UNBOTHERED_TEST (flush_in_flight)
{
  struct job flush = { .op = JOB_FLUSH };
  unsigned i;

  put (f, 0, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 0, &flush);
  for (i = 0; i < 5; i++) {
    fake_store_wait_held (f->fake, STORE_FLUSH, 1);
    lose (f);
    fake_store_release (f->fake, STORE_FLUSH, 1);
  }
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_false (atomic_load (&flush.done));
  job_let_go (f, &flush, STORE_FLUSH);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 6 * 16 * PAGE);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
}

/* A flush that the store acknowledged, but lost before it was sent what it was
 * to make durable: the loss is seen only when it is over.
 */
static _Atomic bool lose_before_flush;
static const struct iomap_ops *below;

static void
losing_flush (struct fs *fs, struct store_req *req)
{
  struct fake_store *fake = (struct fake_store *) fs->store;

  if (atomic_exchange (&lose_before_flush, false))
    fake_store_lose (fake, 0);
  below->flush (fs, req);
}

UNBOTHERED_TEST (just_before_flush)
{
  below = f->raw_ops;
  f->ops.flush = losing_flush;
  atomic_store (&lose_before_flush, true);
  put (f, 0, 16 * PAGE, 1);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
}

/* A batch that waits for the flush before it, and that flush. */
UNBOTHERED_TEST (waiting_batch)
{
  struct job flushes[2] = { { .op = JOB_FLUSH }, { .op = JOB_FLUSH } };

  put (f, 0, 16 * PAGE, 1);
  job_start_held (f, 0, &flushes[0], STORE_FLUSH);
  put (f, 1 * MiB, 16 * PAGE, 1);
  job_start (f, 1, &flushes[1]);
  UNTIL (page_masks (f, MiB / PAGE) == 0xff0000ff);
  lose (f);
  job_let_go (f, &flushes[0], STORE_FLUSH);
  assert_int_equal (job_join (&flushes[1]), 0);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  store_expect (f, 1 * MiB, 16 * PAGE, 1);
}

/* FUA makes its own range durable, in spite of it. */
static void
fua (enum cache_mode mode, enum store_op held)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = mode });
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .flags = CACHE_FUA
  };

  fill_pattern (buf, sizeof buf, 0, 1);
  fake_store_hold (f->fake, held);
  job_start (f, 0, &write);
  fake_store_wait_held (f->fake, held, 1);
  lose (f);
  fake_store_unhold (f->fake, held);
  assert_int_equal (job_join (&write), 0);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
  /* What it had gone over, with no copy, was lost, too. */
  stop_lost (f, mode == CACHE_NONE && held == STORE_FLUSH);
}

TEST (fua)
{
  fua (CACHE_WRITEBACK, STORE_WRITE);
  fua (CACHE_WRITEBACK, STORE_FLUSH);
  fua (CACHE_WRITETHROUGH, STORE_WRITE);
  fua (CACHE_WRITETHROUGH, STORE_FLUSH);
  fua (CACHE_NONE, STORE_WRITE);
  fua (CACHE_NONE, STORE_FLUSH);
}

/* At shutdown nobody comes back to ask once more. */
UNBOTHERED_TEST (shutdown)
{
  below = f->raw_ops;
  f->ops.flush = losing_flush;
  atomic_store (&lose_before_flush, true);
  put (f, 0, 100 * PAGE, 1);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 1 * MiB, 0), 0);
  put (f, 1 * MiB + 7 * PAGE, PAGE, 1);
  mapping_shutdown (f->mapping);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), 0);
  power_cut (f);
  store_expect (f, 0, 100 * PAGE, 1);
  store_expect_zero (f, 1 * MiB, 7 * PAGE);
  store_expect (f, 1 * MiB + 7 * PAGE, PAGE, 1);
  store_expect_zero (f, 1 * MiB + 8 * PAGE, 56 * PAGE);
}

/* Nothing was unsaved: the disk can be closed though its store is gone. */
UNBOTHERED_TEST (shutdown_saved)
{
  put (f, 0, 100 * PAGE, 1);
  flush_ok (f, 0);
  fake_store_clear (f->fake);
  fake_store_fail_next (f->fake, STORE_FLUSH, UINT32_MAX, -EHOSTDOWN);
  lose (f);
  mapping_shutdown (f->mapping);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  fake_store_heal (f->fake);
}

/* A store that gives up, and is back. */
VOLATILE_TEST (back)
{
  put (f, 0, 100 * PAGE, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  assert_int_equal (put_flags (f, 2, 1 * MiB, PAGE, 1, CACHE_FUA), -EIO);
  expect (f, 0, 100 * PAGE, 1);
  fake_store_heal (f->fake);
  lose (f);
  until_saved (f);
  power_cut (f);
  store_expect (f, 0, 100 * PAGE, 1);
  store_expect (f, 1 * MiB, PAGE, 1);
}

/* What was written past the cache, and is lost, takes along what it has gone over in
 * memory: who waits for that to be durable is told at once.
 */
static void
over_fua (enum job_op op)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .sequential_cutoff = 64 * KiB });
  static uint8_t buf[PAGE_SIZE];
  struct job fua = { .op = op, .buf = buf, .count = PAGE, .flags = CACHE_FUA };

  job_start_held (f, 1, &fua, STORE_FLUSH);
  put (f, 0, 64 * KiB, 2);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&fua), -EIO);
  fixture_stop (f);
}

TEST (over_fua)
{
  over_fua (JOB_WRITE);
  over_fua (JOB_ZERO);
}

RUN_TESTS ()
