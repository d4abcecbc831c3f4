/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What somebody waits for goes before what is written in the background.
 */

#include "cache-fixture.h"

#define PIECE (64 * KiB)
#define DEPTH 16u

/* The writes in the store's record, by whether they are in the background. */
struct writes {
  unsigned background, background_held; /* not done yet */
  unsigned urgent, urgent_held;
};

static struct writes
count_writes (struct fixture *f)
{
  struct writes w = { 0 };
  struct fake_record record;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++) {
    bool background = record.flags & STORE_BACKGROUND;

    if (record.op != STORE_WRITE)
      continue;
    w.background += background;
    w.background_held += background && !record.done;
    w.urgent += !background;
    w.urgent_held += !background && !record.done;
  }
  return w;
}

static struct fixture *
start (uint64_t background)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .dirty_background = background, .io_depth = DEPTH, .best_io = PIECE });

  fake_store_hold (f->fake, STORE_WRITE);
  return f;
}

/* However much is written in the background, there is room for one with FUA,
 * and it does not wait for the others.
 */
FIXTURE_TEST (fua_overtakes, start (PAGE))
{
  struct job fua = {
    .op = JOB_WRITE, .count = PAGE, .offset = 10 * MiB, .flags = CACHE_FUA
  };
  static uint8_t buf[PAGE_SIZE];

  put (f, 0, 4 * MiB, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, DEPTH - DEPTH / 4);
  fua.buf = buf;
  fill_pattern (buf, PAGE, fua.offset, 1);
  job_start (f, 1, &fua);
  fake_store_wait_held (f->fake, STORE_WRITE, DEPTH - DEPTH / 4 + 1);
  assert_int_equal (count_writes (f).background, DEPTH - DEPTH / 4);
  assert_int_equal (count_writes (f).urgent, 1);
  fake_store_release_newest (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&fua), 0);
  store_expect (f, fua.offset, PAGE, 1);
  store_expect_zero (f, 0, 4 * MiB);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 4 * MiB, 1);
  check_flushed (f);
}

/* What a FUA write waits for may be under way in the background already: that
 * is waited for.
 */
FIXTURE_TEST (fua_waits_for_its_own, start (PAGE))
{
  static uint8_t buf[PAGE_SIZE];
  struct job fua = { .op = JOB_WRITE,
                     .buf = buf,
                     .count = PAGE,
                     .offset = 3 * PAGE,
                     .flags = CACHE_FUA };

  put (f, 0, 4 * PAGE, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  fill_pattern (buf, PAGE, fua.offset, 2);
  job_start (f, 1, &fua);
  fixture_until_asleep (f, 1);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 1);
  job_let_go (f, &fua, STORE_WRITE);
  store_expect (f, 3 * PAGE, PAGE, 2);
}

/* While a long sync is at work the background has a small share: when the sync
 * has sent the last it has to send, and half of what is in flight is done.
 */
FIXTURE_TEST (share_during_sync, start (PAGE))
{
  static uint8_t buf[2 << 20];
  struct job fua = { .op = JOB_WRITE,
                     .buf = buf,
                     .count = sizeof buf,
                     .offset = 8 * MiB,
                     .flags = CACHE_FUA };
  struct writes w;

  put (f, 0, 4 * MiB, 1);
  fake_store_wait_held (f->fake, STORE_WRITE, DEPTH - DEPTH / 4);
  fill_pattern (buf, sizeof buf, fua.offset, 1);
  job_start (f, 1, &fua);
  while (count_writes (f).urgent < sizeof buf / PIECE)
    if (fake_store_held (f->fake, STORE_WRITE) >= DEPTH - 1)
      fake_store_release (f->fake, STORE_WRITE, 1);
  while (count_writes (f).urgent_held > DEPTH / 2)
    fake_store_release (f->fake, STORE_WRITE, 1);
  w = count_writes (f);
  assert_int_equal (w.urgent_held, DEPTH / 2);
  /* Those that are done are seen to, and no more comes in their place. */
  UNTIL (atomic_load (&f->mapping->folios.nr_writeback) ==
           (DEPTH / 2 + DEPTH / 8) * (PIECE / PAGE) &&
         count_writes (f).background_held == DEPTH / 8);
  job_let_go (f, &fua, STORE_WRITE);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 4 * MiB, 1);
  store_expect (f, 8 * MiB, sizeof buf, 1);
}

/* With one request at a time both get on. */
CACHE_TEST (depth_of_one, .dirty_background = PAGE, .io_depth = 1,
            .best_io = PIECE)
{
  unsigned i;

  put (f, 0, 2 * MiB, 1);
  for (i = 0; i < 16; i++)
    assert_int_equal (
      put_flags (f, 1, 8 * MiB + i * 2 * PAGE, PAGE, 1, CACHE_FUA), 0);
  UNTIL (atomic_load (&f->mapping->folios.nr_dirty) <= 1);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 2 * MiB, 1);
}

/* --- among syncs: the test makes the steps --- */

/* The offset of the i-th write, by fake_store_count. */
static uint64_t
write_at (struct fixture *f, unsigned i)
{
  return nth_request (f, STORE_WRITE, i).offset;
}

/* Go on while there is something to do at once. */
static void
step (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb))
    ;
}

static void
ask (struct fixture *f, struct sync_req *req, uint64_t start, uint64_t end)
{
  *req = (struct sync_req) { .start = start, .end = end, .kind = SYNC_WRITE };
  inbox_queue (&f->mapping->inbox, req);
  step (f);
}

/* The store does so many writes, and what comes after them is sent. */
static void
release (struct fixture *f, unsigned n)
{
  assert_int_equal (fake_store_release (f->fake, STORE_WRITE, n), n);
  step (f);
}

static bool
is_done (struct sync_req *req)
{
  return atomic_load (&req->done.word) != 0;
}

static struct fixture *
start_steps (unsigned depth)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .io_depth = depth, .best_io = PIECE, .no_loop = true, .fake_clock = true });

  put (f, 0, 8 * PIECE, 1);
  put (f, 1 * MiB, 2 * PIECE, 1);
  put (f, 2 * MiB, PAGE, 1);
  put (f, 3 * MiB, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  return f;
}

/* All that was asked for is done. */
static void
finish (struct fixture *f)
{
  fake_store_unhold (f->fake, STORE_WRITE);
  while (!writeback_idle (&f->mapping->wb))
    step (f);
}

/* The smaller overtakes the larger, also one that is being sent. */
FIXTURE_TEST (smallest_first, start_steps (1))
{
  struct sync_req all, middle, small;

  ask (f, &all, 0, UINT64_MAX);
  ask (f, &middle, 1 * MiB, 2 * MiB);
  ask (f, &small, 2 * MiB, 2 * MiB + PAGE);
  assert_int_equal (write_at (f, 0), 0);
  release (f, 1);
  assert_int_equal (write_at (f, 1), 2 * MiB);
  release (f, 1);
  assert_true (is_done (&small));
  assert_int_equal (write_at (f, 2), 1 * MiB);
  release (f, 1);
  assert_int_equal (write_at (f, 3), 1 * MiB + PIECE);
  release (f, 1);
  assert_true (is_done (&middle));
  assert_int_equal (write_at (f, 4), PIECE);
  assert_false (is_done (&all));
  finish (f);
}

/* But not one that has waited for a second: of those the oldest is first. */
FIXTURE_TEST (overdue, start_steps (1))
{
  struct sync_req all, middle, small;

  ask (f, &all, 0, UINT64_MAX);
  atomic_fetch_add (&f->clock, 1);
  ask (f, &middle, 1 * MiB, 2 * MiB);
  atomic_fetch_add (&f->clock, NSEC_PER_SEC);
  ask (f, &small, 2 * MiB, 2 * MiB + PAGE);
  release (f, 1);
  assert_int_equal (write_at (f, 1), PIECE);
  assert_false (is_done (&small));
  finish (f);
}

/* One ioend is kept for those that need no more, whoever is overdue. */
FIXTURE_TEST (kept, start_steps (4))
{
  struct sync_req all, small, another;

  ask (f, &all, 0, UINT64_MAX);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 3);
  atomic_fetch_add (&f->clock, NSEC_PER_SEC);
  ask (f, &small, 2 * MiB, 2 * MiB + PAGE);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 4);
  assert_int_equal (write_at (f, 3), 2 * MiB);
  ask (f, &another, 3 * MiB, 3 * MiB + PAGE);
  assert_int_equal (fake_store_release_newest (f->fake, STORE_WRITE), 1);
  step (f);
  assert_true (is_done (&small));
  assert_int_equal (write_at (f, 4), 3 * MiB);
  finish (f);
}

/* What becomes dirty once a sync has begun is not its; but of one that joins. */
FIXTURE_TEST (joins, start_steps (1))
{
  struct sync_req first, second;

  ask (f, &first, 0, 8 * PIECE + PAGE);
  put (f, 8 * PIECE, PAGE, 2);
  ask (f, &second, 8 * PIECE, 8 * PIECE + PAGE);
  release (f, 1);
  assert_int_equal (write_at (f, 1), 8 * PIECE);
  put (f, 8 * PIECE, PAGE, 3);
  release (f, 1);
  assert_true (is_done (&second));
  while (!is_done (&first))
    release (f, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 9);
  assert_int_equal (page_masks (f, 8 * PIECE / PAGE), 0xff00ffff);
  finish (f);
}

RUN_TESTS ()
