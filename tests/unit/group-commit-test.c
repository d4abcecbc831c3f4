/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Group commit: whom a flush waits for, and for how long.  The test makes the
 * steps of write-back, the clock is its own, and syncs are queued without
 * anyone waiting for them.
 */

#include <string.h>

#include "cache-fixture.h"

#define MS NSEC_PER_MSEC
#define FLUSH_TIME (10 * MS)
#define WAIT (FLUSH_TIME / GROUP_COMMIT_PART)
#define PART 4

/* --- the arithmetic --- */

/* A flush of so long ends at `now' with this many syncs; `back' of them come
 * again at once.
 */
static void
cycle (struct group_commit *gc, uint64_t now, uint64_t took, unsigned released,
       unsigned back)
{
  group_commit_flushed (gc, now - took, now, released);
  while (back-- > 0)
    group_commit_join (gc, now);
}

TEST (expects_what_was)
{
  struct group_commit gc = { 0 };

  /* Nothing is known yet. */
  cycle (&gc, 100 * MS, 10 * MS, 8, 0);
  assert_false (group_commit_hold (&gc, 100 * MS));
  /* Nobody came back. */
  cycle (&gc, 200 * MS, 10 * MS, 8, 4);
  assert_false (group_commit_hold (&gc, 200 * MS));
  /* Half of them did: half of these will. */
  cycle (&gc, 300 * MS, 10 * MS, 6, 2);
  assert_true (group_commit_hold (&gc, 300 * MS));
  group_commit_join (&gc, 301 * MS);
  assert_false (group_commit_hold (&gc, 301 * MS));
  /* More came than were released. */
  cycle (&gc, 400 * MS, 10 * MS, 2, 5);
  cycle (&gc, 500 * MS, 10 * MS, 7, 6);
  assert_true (group_commit_hold (&gc, 500 * MS));
  group_commit_join (&gc, 500 * MS);
  assert_false (group_commit_hold (&gc, 500 * MS));
}

/* One client alone never waits for itself. */
TEST (alone)
{
  struct group_commit gc = { 0 };
  uint64_t now;

  for (now = 100 * MS; now < 1000 * MS; now += 100 * MS) {
    cycle (&gc, now, 20 * MS, 1, 1);
    assert_false (group_commit_hold (&gc, now));
  }
}

static void
holds_for (uint64_t took, uint64_t wait)
{
  struct group_commit gc = { 0 };

  cycle (&gc, 10000 * MS, took, 2, 2);
  cycle (&gc, 20000 * MS, took, 2, 1);
  assert_int_equal (group_commit_hold (&gc, 20000 * MS), wait > 0);
  assert_int_equal (gc.until, 20000 * MS + wait);
  assert_false (group_commit_hold (&gc, gc.until));
  /* Who comes later does not count, nor who had come before. */
  group_commit_join (&gc, gc.until);
  group_commit_join (&gc, 20000 * MS - 1);
  assert_int_equal (gc.back, wait > 0);
}

TEST (how_long)
{
  holds_for (10 * MS, WAIT);
  holds_for (GROUP_COMMIT_MIN * GROUP_COMMIT_PART, GROUP_COMMIT_MIN);
  holds_for (GROUP_COMMIT_MIN * GROUP_COMMIT_PART - 4, 0);
  holds_for (5000 * MS, GROUP_COMMIT_MAX);
}

/* --- write-back --- */

struct syncs {
  struct fixture *f;
  struct sync_req a[PART], b[PART];
};

/* Go on until only a flush, or the clock, is waited for. */
static void
step (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb) ||
         f->mapping->wb.ioends.in_flight > 0)
    sched_yield ();
}

static bool
is_done (struct sync_req *req)
{
  return atomic_load (&req->done.word) != 0;
}

/* Dirty a page and ask for all to be flushed. */
static void
ask (struct fixture *f, struct sync_req *req)
{
  put (f, 0, PAGE, 1);
  memset (req, 0, sizeof *req);
  req->end = UINT64_MAX;
  req->kind = SYNC_FLUSH;
  inbox_queue (&f->mapping->inbox, req);
  step (f);
}

static void
ask_all (struct fixture *f, struct sync_req *part)
{
  unsigned i;

  for (i = 0; i < PART; i++)
    ask (f, &part[i]);
}

static bool
all_done (struct sync_req *part)
{
  unsigned i, n = 0;

  for (i = 0; i < PART; i++)
    n += is_done (&part[i]);
  assert_true (n == 0 || n == PART);
  return n == PART;
}

static unsigned
flushing (struct fixture *f)
{
  return fake_store_held (f->fake, STORE_FLUSH);
}

/* The flush that the store is at takes its time and ends. */
static void
end_flush (struct fixture *f)
{
  assert_int_equal (flushing (f), 1);
  atomic_fetch_add (&f->clock, FLUSH_TIME);
  fake_store_release (f->fake, STORE_FLUSH, 1);
  UNTIL (atomic_load (&f->mapping->inbox.flush_done));
  step (f);
}

/* Two parts of the clients: a has just been released and b waits for a flush,
 * which waits for a.
 */
static void
start_parts (struct syncs *s)
{
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .no_loop = true, .fake_clock = true });
  struct sync_req first;

  s->f = f;
  fake_store_hold (f->fake, STORE_FLUSH);
  ask (f, &first);
  ask_all (f, s->a);
  end_flush (f);
  assert_true (is_done (&first));
  ask_all (f, s->b);
  end_flush (f);
  assert_true (all_done (s->a));
  assert_int_equal (flushing (f), 0);
}

static void
stop_parts (struct syncs *s)
{
  fake_store_unhold (s->f->fake, STORE_FLUSH);
  while (writeback_step (&s->f->mapping->wb) ||
         !writeback_idle (&s->f->mapping->wb))
    atomic_fetch_add (&s->f->clock, MS);
  fixture_stop (s->f);
}

/* The parts become one. */
TEST (parts_meet)
{
  struct syncs s;
  unsigned i;

  start_parts (&s);
  assert_int_equal (writeback_deadline (&s.f->mapping->wb),
                    atomic_load (&s.f->clock) + WAIT);
  for (i = 0; i < PART; i++) {
    assert_int_equal (flushing (s.f), 0);
    ask (s.f, &s.a[i]);
  }
  end_flush (s.f);
  assert_true (all_done (s.a) && all_done (s.b));

  /* And stay so: the first to come back waits for the others. */
  ask_all (s.f, s.b);
  assert_int_equal (flushing (s.f), 0);
  ask_all (s.f, s.a);
  end_flush (s.f);
  assert_true (all_done (s.a) && all_done (s.b));
  check_state (s.f);
  stop_parts (&s);
}

/* Whoever does not come back is waited for once. */
TEST (nobody_comes)
{
  struct syncs s;

  start_parts (&s);
  atomic_fetch_add (&s.f->clock, WAIT - 1);
  step (s.f);
  assert_int_equal (flushing (s.f), 0);
  atomic_fetch_add (&s.f->clock, 1);
  step (s.f);
  ask_all (s.f, s.a); /* too late */
  end_flush (s.f);
  assert_true (all_done (s.b) && !all_done (s.a));
  end_flush (s.f);
  assert_true (all_done (s.a));
  stop_parts (&s);
}

/* Writes may go on. */
static void
until_quiet (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb))
    ;
}

/* One comes back in time, and the store is at what it wrote: the first part waits
 * for it, and another WAIT at most.
 */
static void
start_writing (struct syncs *s)
{
  struct fixture *f;

  start_parts (s);
  f = s->f;
  fake_store_hold (f->fake, STORE_WRITE);
  put (f, PAGE, PAGE, 2);
  s->a[0] = (struct sync_req) { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  inbox_queue (&f->mapping->inbox, &s->a[0]);
  until_quiet (f);
  atomic_fetch_add (&f->clock, WAIT);
  until_quiet (f);
  assert_int_equal (fake_store_held (f->fake, STORE_WRITE), 1);
  assert_int_equal (flushing (f), 0);
  assert_int_equal (writeback_deadline (&f->mapping->wb),
                    atomic_load (&f->clock) + WAIT);
}

TEST (written_in_time)
{
  struct syncs s;

  start_writing (&s);
  fake_store_unhold (s.f->fake, STORE_WRITE);
  step (s.f);
  end_flush (s.f);
  assert_true (is_done (&s.a[0]) && all_done (s.b));
  stop_parts (&s);
}

TEST (written_late)
{
  struct syncs s;

  start_writing (&s);
  atomic_fetch_add (&s.f->clock, WAIT);
  until_quiet (s.f);
  assert_int_equal (flushing (s.f), 1);
  fake_store_unhold (s.f->fake, STORE_WRITE);
  step (s.f);
  end_flush (s.f);
  assert_true (!is_done (&s.a[0]) && all_done (s.b));
  atomic_fetch_add (&s.f->clock, WAIT); /* nobody else comes */
  step (s.f);
  end_flush (s.f);
  assert_true (is_done (&s.a[0]));
  stop_parts (&s);
}

/* Nobody starts a flush of the store's own accord that the batch is about to
 * make.
 */
TEST (no_flush_beside)
{
  struct syncs s;

  start_parts (&s);
  atomic_store (&s.f->mapping->throttle.balance.limits.unstable, 0);
  step (s.f);
  assert_int_equal (flushing (s.f), 0);
  stop_parts (&s);
}

/* Who waits for room does not wait for clients that may themselves. */
TEST (not_with_waiters)
{
  struct syncs s;

  start_parts (&s);
  atomic_fetch_add (&s.f->mapping->throttle.waiters, 1);
  step (s.f);
  end_flush (s.f);
  assert_true (all_done (s.b));
  atomic_fetch_sub (&s.f->mapping->throttle.waiters, 1);
  stop_parts (&s);
}

/* The time to wait may be over between the look at it and the setting of the
 * timer: then that is at once.
 */
TEST (over_before_the_timer)
{
  struct syncs s;
  uint64_t until;

  start_parts (&s);
  until = atomic_load (&s.f->clock) + WAIT;
  atomic_store (&s.f->clock, until + 1);
  assert_int_equal (writeback_deadline (&s.f->mapping->wb), until);
  step (s.f);
  end_flush (s.f);
  assert_true (all_done (s.b));
  stop_parts (&s);
}

RUN_TESTS ()
