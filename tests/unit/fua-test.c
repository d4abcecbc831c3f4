/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Durable by the store's FUA: what is sent so, what that makes clean, and when it
 * takes a flush all the same.
 */

#include <errno.h>

#include "cache-fixture.h"

#define CLEAN 0x000000ffu
#define UNSTABLE 0xff0000ffu

static struct fixture *
start (const struct fixture_config *config)
{
  struct fixture_config c = *config;
  struct fixture *f;

  c.fua = true;
  f = fixture_start (&c);
  store_put (f, 0, 4 * MiB, 0);
  learn_extents (f);
  fake_store_volatile (f->fake);
  fake_store_clear (f->fake);
  return f;
}

/* The requests that the store got: how many writes, those with FUA, and flushes. */
static void
check_requests (struct fixture *f, unsigned writes, unsigned fua,
                unsigned flushes)
{
  struct fake_record record;
  unsigned with = 0;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    with += record.op == STORE_WRITE && (record.flags & STORE_FUA);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), writes);
  assert_int_equal (with, fua);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), flushes);
}

static int
sync_page (struct fixture *f, uint64_t page, enum sync_kind kind)
{
  return inbox_sync (&f->mapping->inbox, page * PAGE, (page + 1) * PAGE, kind);
}

static int
put_fua (struct fixture *f, uint64_t page, unsigned version)
{
  return put_flags (f, 0, page * PAGE, PAGE, version, CACHE_FUA);
}

/* A FUA write is one to the store. */
FIXTURE_TEST (fua_is_fua, start (&(struct fixture_config) { 0 }))
{
  unsigned i;

  for (i = 0; i < 8; i++) {
    assert_int_equal (put_fua (f, 2 * i, 1), 0);
    assert_int_equal (page_masks (f, 2 * i), CLEAN);
  }
  check_requests (f, 8, 8, 0);
  fake_store_crash (f->fake, 0);
  for (i = 0; i < 8; i++)
    store_expect (f, 2 * i * PAGE, PAGE, 1);
  check_state (f);
}

/* It sends what is unstable, too, and of its own range alone. */
FIXTURE_TEST (unstable_is_sent, start (&(struct fixture_config) { 0 }))
{
  put (f, 0, 4 * PAGE, 1);
  assert_int_equal (inbox_sync (&f->mapping->inbox, 0, 4 * PAGE, SYNC_WRITE),
                    0);
  assert_int_equal (page_masks (f, 1), UNSTABLE);
  assert_int_equal (put_flags (f, 0, PAGE + 512, 512, 2, 0), 0);
  fake_store_clear (f->fake);
  assert_int_equal (sync_page (f, 1, SYNC_FUA), 0);
  check_requests (f, 1, 1, 0);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, PAGE);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).length, PAGE);
  assert_int_equal (page_masks (f, 0), UNSTABLE);
  assert_int_equal (page_masks (f, 1), CLEAN);
  assert_int_equal (page_masks (f, 2), UNSTABLE);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 0);
  store_expect (f, PAGE, 512, 1);
  store_expect (f, PAGE + 512, 512, 2);
  store_expect (f, PAGE + 1024, PAGE - 1024, 1);
}

/* Over a zero that is not done, or not flushed, it goes in its place; it takes a flush
 * only if that was not all.
 */
FIXTURE_TEST (in_place_of_zero, start (&(struct fixture_config) { 0 }))
{
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  assert_int_equal (put_fua (f, 1, 1), 0);
  assert_int_equal (put_fua (f, 3, 1), 0);
  check_requests (f, 2, 2, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  assert_int_equal (fs_settle_wait (f->fs, 0, UINT64_MAX), 0);
  fake_store_clear (f->fake);
  assert_int_equal (put_fua (f, 5, 1), 0);
  check_requests (f, 1, 1, 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, PAGE, PAGE, 1);
  store_expect (f, 3 * PAGE, PAGE, 1);
  store_expect (f, 5 * PAGE, PAGE, 1);
}

/* What is in write-back is waited for, and sent again. */
FIXTURE_TEST (after_writeback, start (&(struct fixture_config) { 0 }))
{
  struct job flush = { .op = JOB_FLUSH }, fua = { .op = JOB_WRITE };
  static uint8_t buf[PAGE_SIZE];

  put (f, 0, 32 * PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  fake_store_hold (f->fake, STORE_FLUSH);
  fill_pattern (buf, 512, PAGE, 2);
  fua.buf = buf;
  fua.count = 512;
  fua.offset = PAGE;
  fua.flags = CACHE_FUA;
  job_start (f, 0, &fua);
  fixture_until_asleep (f, 2);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 1);
  job_let_go (f, &fua, STORE_WRITE);
  assert_int_equal (nth_request (f, STORE_WRITE, 1).offset, PAGE);
  assert_int_equal (nth_request (f, STORE_WRITE, 1).length, 512);
  assert_true (nth_request (f, STORE_WRITE, 1).flags & STORE_FUA);
  job_let_go (f, &flush, STORE_FLUSH);
  check_requests (f, 2, 1, 1);
}

/* A large one is not cut into many that are durable each, but flushed. */
FIXTURE_TEST (large, start (&(struct fixture_config) { .best_io = 64 * KiB }))
{
  assert_int_equal (put_flags (f, 0, 0, 64 * KiB + PAGE, 1, CACHE_FUA), 0);
  check_requests (f, 2, 0, 1);
}

/* Nobody shares the flush, and there is nothing else for it: one request. */
FIXTURE_TEST (lone_flush, start (&(struct fixture_config) { 0 }))
{
  unsigned i;

  for (i = 0; i < 5; i++) {
    put (f, i * PAGE, PAGE, 1);
    flush_ok (f, 0);
    assert_int_equal (page_masks (f, i), CLEAN);
  }
  check_requests (f, 5, 5, 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 5 * PAGE, 1);

  /* Else it is a flush. */
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (sync_page (f, 256, SYNC_WRITE), 0);
  put (f, 1 * MiB + PAGE, PAGE, 1);
  flush_ok (f, 0);
  check_requests (f, 7, 5, 1);
  fake_store_crash (f->fake, 0);
  store_expect (f, 1 * MiB, 2 * PAGE, 1);
  put (f, 0, 2 * MiB, 2);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 2);
}

/* What is written in the background while a flush sends with FUA is not durable by
 * that: the flush covers it.
 */
FIXTURE_TEST (lone_flush_accompanied, start (&(struct fixture_config) { 0 }))
{
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  assert_int_equal (cache_zero (f->conn, PAGE, MiB, 0), 0);
  job_let_go (f, &flush, STORE_WRITE);
  check_requests (f, 1, 1, 1);
}

static int
refuse (struct fs *fs, const struct iomap_run *runs, unsigned n,
        struct iomap_place *place)
{
  (void) fs;
  (void) runs;
  (void) n;
  (void) place;
  return -EAGAIN;
}

static void
step_until (struct fixture *f, const struct sync_req *req,
            enum sync_state state)
{
  unsigned i;

  for (i = 0; i < 1000 && req->state != state; i++)
    writeback_step (&f->mapping->wb);
  assert_int_equal (req->state, state);
}

/* Without FUA: what was written for it is not flushed yet, and what is dirty over it has
 * been taken to be written, by somebody else, and could not be.
 */
CACHE_TEST (taken_and_not_sent, .no_loop = true, .dirty_background = 1)
{
  struct sync_req write = { .end = PAGE, .kind = SYNC_WRITE };
  struct sync_req fua = { .end = PAGE, .kind = SYNC_FUA };

  fake_store_volatile (f->fake);
  put (f, 0, PAGE, 1);
  inbox_queue (&f->mapping->inbox, &write);
  step_until (f, &write, SYNC_OVER);
  assert_int_equal (page_masks (f, 0), UNSTABLE);
  inbox_queue (&f->mapping->inbox, &fua);
  step_until (f, &fua, SYNC_SENDING);
  put (f, 0, PAGE, 2);
  f->ops.map_for_writeback = refuse;
  step_until (f, &fua, SYNC_OVER);
  assert_int_equal (fua.error, 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 1);
  f->ops.map_for_writeback = f->raw_ops->map_for_writeback;
}

/* --- zeroes, which the store may lose --- */

/* A zero that is done again must not wipe out what was written over it with FUA. */
FIXTURE_TEST (over_zero, start (&(struct fixture_config) { 0 }))
{
  assert_int_equal (cache_zero (f->conn, 4 * PAGE, 0, 0), 0);
  assert_int_equal (put_fua (f, 1, 1), 0);
  fake_store_lose (f->fake, 0);
  flush_ok (f, 0);
  fake_store_crash (f->fake, 0);
  store_expect_zero (f, 0, PAGE);
  store_expect (f, PAGE, PAGE, 1);
  store_expect_zero (f, 2 * PAGE, 2 * PAGE);
  expect (f, PAGE, PAGE, 1);
}

/* Nor if both are lost while it is written. */
FIXTURE_TEST (over_zero_lost, start (&(struct fixture_config) { 0 }))
{
  static uint8_t buf[PAGE_SIZE];
  struct job fua = { .op = JOB_WRITE,
                     .buf = buf,
                     .count = PAGE,
                     .offset = PAGE,
                     .flags = CACHE_FUA };

  fill_pattern (buf, PAGE, PAGE, 1);
  assert_int_equal (cache_zero (f->conn, 4 * PAGE, 0, 0), 0);
  assert_int_equal (fs_settle_wait (f->fs, 0, UINT64_MAX), 0);
  job_start_held (f, 0, &fua, STORE_WRITE);
  fake_store_lose (f->fake, 0);
  job_let_go (f, &fua, STORE_WRITE);
  fake_store_lose (f->fake, 0);
  store_expect (f, PAGE, PAGE, 1);
  flush_ok (f, 0);
  fake_store_crash (f->fake, 0);
  store_expect_zero (f, 0, PAGE);
  store_expect (f, PAGE, PAGE, 1);
}

/* A zero drops what a FUA write is about to send: that is not done before the
 * zero is durable, or there would be what was there before both.
 */
static struct fixture *zeroing;

static int
zero_then_map (struct fs *fs, const struct iomap_run *runs, unsigned n,
               struct iomap_place *place)
{
  struct fixture *f = zeroing;

  f->ops.map_for_writeback = f->raw_ops->map_for_writeback;
  assert_int_equal (cache_zero (f->conns[2], 4 * PAGE, 0, 0), 0);
  return f->raw_ops->map_for_writeback (fs, runs, n, place);
}

TEST (under_zero)
{
  struct fixture *f = zeroing = start (&(struct fixture_config) { 0 });

  store_put (f, 0, 4 * PAGE, 2);
  f->ops.map_for_writeback = zero_then_map;
  assert_int_equal (put_fua (f, 1, 1), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  assert_int_equal (fake_store_bytes (f->fake, STORE_ZERO), PAGE);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 2);
  store_expect_zero (f, PAGE, PAGE);
  store_expect (f, 2 * PAGE, 2 * PAGE, 2);
  expect_zero (f, 0, 4 * PAGE);
  fixture_stop (f);
}

/* --- what goes wrong --- */

FIXTURE_TEST (fails, start (&(struct fixture_config) { 0 }))
{
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (put_fua (f, 0, 1), -EIO);
  expect (f, 0, PAGE, 1);
  flush_ok (f, 0);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 1);
}

/* The store turns out not to be able to. */
FIXTURE_TEST (not_supported, start (&(struct fixture_config) { 0 }))
{
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EOPNOTSUPP);
  assert_int_equal (put_fua (f, 0, 1), 0);
  assert_int_equal (put_fua (f, 1, 1), 0);
  check_requests (f, 3, 1, 2);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 2 * PAGE, 1);
  assert_int_equal (atomic_load (&f->errors), 0);
}

/* A loss while it is in flight, of something else for all we know. */
FIXTURE_TEST (loss, start (&(struct fixture_config) { 0 }))
{
  static uint8_t buf[PAGE_SIZE];
  struct job fua = {
    .op = JOB_WRITE, .buf = buf, .count = PAGE, .flags = CACHE_FUA
  };

  fill_pattern (buf, PAGE, 0, 1);
  job_start_held (f, 0, &fua, STORE_WRITE);
  fake_store_lose (f->fake, 0);
  fake_store_release (f->fake, STORE_WRITE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  assert_false (atomic_load (&fua.done));
  job_let_go (f, &fua, STORE_WRITE);
  assert_true (nth_request (f, STORE_WRITE, 1).flags & STORE_FUA);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, PAGE, 1);
}

/* --- past the cache --- */

FIXTURE_TEST (direct, start (&(struct fixture_config) { .mode = CACHE_NONE,
                                                        .min_io = 4096 }))
{
  assert_int_equal (put_flags (f, 0, 0, 4 * PAGE, 1, CACHE_FUA), 0);
  check_requests (f, 1, 1, 0);
  assert_int_equal (put_flags (f, 0, 8 * PAGE + 100, 2 * PAGE, 1, CACHE_FUA),
                    0);
  check_requests (f, 4, 4, 0);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EOPNOTSUPP);
  assert_int_equal (put_flags (f, 0, 16 * PAGE, PAGE, 1, CACHE_FUA), 0);
  check_requests (f, 6, 5, 1);
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, 4 * PAGE, 1);
  store_expect (f, 8 * PAGE + 100, 2 * PAGE, 1);
  store_expect (f, 16 * PAGE, PAGE, 1);
  /* Nothing is left that could be lost. */
  fake_store_lose (f->fake, 0);
  flush_ok (f, 0);
}

RUN_TESTS ()
