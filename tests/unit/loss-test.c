/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses, without an error, what was not flushed, as a remote
 * server that is restarted: everything is written again, and no client sees
 * more of it than that it takes a little longer; but for direct writes, which
 * are told of.  At these moments, and see loss-moments-test.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"

#define PAGE ((uint64_t) PAGE_SIZE)

static struct fixture *
start_volatile (const struct fixture_config *config)
{
  struct fixture_config c = *config;
  struct fixture *f;

  c.disk_size = 4 * MiB;
  c.cache_size = 8 * MiB;
  f = fixture_start (&c);
  store_put (f, 0, f->config.disk_size, 0);
  fake_store_volatile (f->fake);
  return f;
}

static void
flush_ok (struct fixture *f, unsigned conn)
{
  assert_int_equal (cache_flush (f->conns[conn]), 0);
}

static void
lose (struct fixture *f)
{
  fake_store_lose (f->fake, 0);
}

/* What the store has now, it has for ever. */
static void
power_cut (struct fixture *f)
{
  fake_store_crash (f->fake, 0);
}

/* No client was bothered, nor the log. */
static void
stop (struct fixture *f)
{
  assert_int_equal (atomic_load (&f->errors), 0);
  fixture_stop (f);
}

static void
until_saved (struct fixture *f)
{
  UNTIL (atomic_load (&f->mapping->nr_unsaved) == 0);
}

/* --- data --- */

/* Written, not flushed, and lost: written again without anybody's help. */
static void
test_unstable (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_WRITETHROUGH });

  (void) state;
  put (f, 0, 100 * PAGE, 1);
  put (f, 3 * MiB + 512, 1024, 1);
  lose (f);
  until_saved (f);
  power_cut (f);
  store_expect (f, 0, 100 * PAGE, 1);
  store_expect (f, 3 * MiB + 512, 1024, 1);
  check_state (f);
  stop (f);
}

/* The same, if a flush comes first. */
static void
test_unstable_then_flush (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_WRITETHROUGH });
  unsigned i;

  (void) state;
  for (i = 1; i <= 20; i++) {
    put (f, 0, 100 * PAGE, i);
    lose (f);
    flush_ok (f, i % NR_CONNS);
    power_cut (f);
    store_expect (f, 0, 100 * PAGE, i);
  }
  check_flushed (f);
  stop (f);
}

/* What is durable is not written again. */
static void
test_durable (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
  put (f, 0, 100 * PAGE, 1);
  flush_ok (f, 0);
  check_flushed (f);
  fake_store_clear (f->fake);
  lose (f);
  flush_ok (f, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  stop (f);
}

/* Some of a write in flight may have been lost even if the store says that it
 * was done: it is written once more.
 */
static void
test_write_in_flight (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  put (f, 0, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 0, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  lose (f);
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  assert_false (atomic_load (&flush.done));
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&flush), 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 2 * 16 * PAGE);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  stop (f);
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

static void
test_write_told_late (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_WRITETHROUGH });
  struct store_ops ops = *f->fake->store.ops;
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .flags = CACHE_FUA
  };

  (void) state;
  put (f, 3 * MiB, PAGE, 1);
  store_below = f->fake->store.ops;
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
  stop (f);
}

/* The flush in flight fails at the store, for nobody else. */
static void
test_flush_in_flight (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };
  unsigned i;

  (void) state;
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
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_WRITE), 6 * 16 * PAGE);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  stop (f);
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

static void
test_just_before_flush (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
  below = f->raw_ops;
  f->ops.flush = losing_flush;
  atomic_store (&lose_before_flush, true);
  put (f, 0, 16 * PAGE, 1);
  flush_ok (f, 0);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  stop (f);
}

/* A batch that waits for the flush before it, and that flush. */
static void
test_waiting_batch (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  struct job flushes[2] = { { .op = JOB_FLUSH }, { .op = JOB_FLUSH } };

  (void) state;
  put (f, 0, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 0, &flushes[0]);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  put (f, 1 * MiB, 16 * PAGE, 1);
  job_start (f, 1, &flushes[1]);
  UNTIL (page_masks (f, MiB / PAGE) == 0xff0000ff);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flushes[0]), 0);
  assert_int_equal (job_join (&flushes[1]), 0);
  power_cut (f);
  store_expect (f, 0, 16 * PAGE, 1);
  store_expect (f, 1 * MiB, 16 * PAGE, 1);
  stop (f);
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
  stop (f);
}

static void
test_fua (void **state)
{
  (void) state;
  fua (CACHE_WRITEBACK, STORE_WRITE);
  fua (CACHE_WRITEBACK, STORE_FLUSH);
  fua (CACHE_WRITETHROUGH, STORE_WRITE);
  fua (CACHE_WRITETHROUGH, STORE_FLUSH);
  fua (CACHE_NONE, STORE_WRITE);
  fua (CACHE_NONE, STORE_FLUSH);
}

/* At shutdown nobody comes back to ask once more. */
static void
test_shutdown (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
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
  stop (f);
}

/* --- zeroes and trims --- */

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
  stop (f);
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
  stop (f);
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
  stop (f);
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
  stop (f);
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

/* --- direct writes --- */

/* There is no copy of what was lost: every connection is told, once. */
static void
test_direct (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  unsigned i;

  (void) state;
  put (f, 0, 16 * PAGE, 1);
  lose (f);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  stop (f);
}

/* Once told, they read what the store has, though more was cached meanwhile. */
static void
test_direct_cached (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .sequential_cutoff = 64 * KiB });
  unsigned i;

  (void) state;
  for (i = 0; i < 16; i++)
    put (f, i * 64 * KiB, 64 * KiB, 1);
  for (i = 0; i < 16; i++)
    expect (f, 1 * MiB - (i + 1) * PAGE, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  lose (f);
  assert_int_equal (cache_flush (f->conn), -EIO);
  expect (f, 512 * KiB, 512 * KiB, 0);
  expect (f, 2 * MiB, PAGE, 1);
  stop (f);
}

/* So they are if a flush was in flight. */
static void
test_direct_flushing (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  struct job flush = { .op = JOB_FLUSH };

  (void) state;
  put (f, 0, 16 * PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 0, &flush);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&flush), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  flush_ok (f, 0);
  flush_ok (f, 1);
  stop (f);
}

/* What is in flight is done again by who waits for it: nobody need be told. */
static void
test_direct_in_flight (void **state)
{
  struct fixture *f =
    start_volatile (&(struct fixture_config) { .mode = CACHE_NONE });
  static uint8_t buf[16 * PAGE_SIZE];
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };
  unsigned i;

  (void) state;
  fill_pattern (buf, sizeof buf, 0, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 1, &write);
  for (i = 0; i < 3; i++) {
    fake_store_wait_held (f->fake, STORE_WRITE, 1);
    lose (f);
    fake_store_release (f->fake, STORE_WRITE, 1);
  }
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&write), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 4);
  for (i = 0; i < NR_CONNS; i++)
    flush_ok (f, i);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
  stop (f);
}

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
  fake_store_hold (f->fake, STORE_ZERO);
  job_start (f, 1, &zero);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  job_start (f, 0, &write);
  fixture_until_asleep (f, 2);
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_unhold (f->fake, STORE_ZERO);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  lose (f);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&zero), 0);
  assert_int_equal (job_join (&write), 0);
  flush_ok (f, 1);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);
  stop (f);
}

static void
test_direct_behind_zero (void **state)
{
  (void) state;
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
  fake_store_hold (f->fake, STORE_WRITE);
  job_start (f, 0, &write);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  first = nth_request (f, STORE_WRITE, 0).length;
  assert_true (first < sizeof buf);
  assert_int_equal (cache_zero (f->conns[1], PAGE, first, 0), 0);
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  lose (f);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&write), 0);
  flush_ok (f, 1);
  power_cut (f);
  store_expect (f, 0, sizeof buf, 1);

  /* Once it is flushed it is in nobody's way. */
  fake_store_clear (f->fake);
  put (f, first - PAGE, 3 * PAGE, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  stop (f);
}

static void
test_direct_around_zero (void **state)
{
  (void) state;
  direct_around_zero (0);
  direct_around_zero (CACHE_FUA);
}

/* --- a store that gives up, and is back --- */

static void
test_back (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
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
  fixture_stop (f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_unstable),
    cmocka_unit_test (test_unstable_then_flush),
    cmocka_unit_test (test_durable),
    cmocka_unit_test (test_write_in_flight),
    cmocka_unit_test (test_write_told_late),
    cmocka_unit_test (test_flush_in_flight),
    cmocka_unit_test (test_just_before_flush),
    cmocka_unit_test (test_waiting_batch),
    cmocka_unit_test (test_fua),
    cmocka_unit_test (test_shutdown),
    cmocka_unit_test (test_zero),
    cmocka_unit_test (test_sync_waits_for_zero),
    cmocka_unit_test (test_zero_behind_sync),
    cmocka_unit_test (test_zero_fails),
    cmocka_unit_test (test_zero_fails_at_limit),
    cmocka_unit_test (test_zero_in_flight),
    cmocka_unit_test (test_end_during_redo),
    cmocka_unit_test (test_end_without_redo),
    cmocka_unit_test (test_direct),
    cmocka_unit_test (test_direct_cached),
    cmocka_unit_test (test_direct_flushing),
    cmocka_unit_test (test_direct_in_flight),
    cmocka_unit_test (test_direct_behind_zero),
    cmocka_unit_test (test_direct_around_zero),
    cmocka_unit_test (test_back),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
