/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Who waits for a sync does the loop thread's work, and makes its store write.
 */

#include <errno.h>

#include "cache/writeback/help.h"
#include "cache/writeback/writeback.h"
#include "cache-fixture.h"

#define PAGE ((uint64_t) PAGE_SIZE)

/* The fixture's loop thread, as seen by the fs; and a store that has who awaits a
 * write wait in submit.
 */
static struct fixture *f;
static pthread_t tester;
static _Atomic unsigned others_steps;
static struct store_ops ops;
static const struct store_ops *fake_ops;
static struct gate *_Atomic gate, *_Atomic looked;

static bool
count_step (struct fs *fs, uint64_t now)
{
  if (!pthread_equal (pthread_self (), tester))
    atomic_fetch_add (&others_steps, 1);
  return f->raw_ops->step && f->raw_ops->step (fs, now);
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct gate *here = atomic_load (&gate);

  if (here && n == 1 && reqs[0]->op == STORE_WRITE &&
      (reqs[0]->flags & STORE_AWAITED)) {
    atomic_store (&here->arrived, 1);
    while (atomic_load (&here->open) == 0)
      f->real.wait (&f->real, &here->open, 0, ENV_FOREVER);
  }
  fake_ops->submit (store, reqs, n);
}

/* The loop thread looks when to wake, and then is slow to sleep. */
static uint64_t
look_too_early (struct fs *fs)
{
  struct gate *here = atomic_exchange (&looked, NULL);

  if (here) {
    atomic_store (&here->arrived, 1);
    UNTIL (atomic_load (&f->asleep) == 1);
  }
  return f->raw_ops->deadline (fs);
}

static void
start (void)
{
  f = fixture_start (&(struct fixture_config) { .fua = true, .no_loop = true });
  f->ops.step = count_step;
  f->ops.deadline = look_too_early;
  tester = pthread_self ();
  fake_ops = f->fake->store.ops;
  ops = *fake_ops;
  ops.submit = submit;
  f->fake->store.ops = &ops;
  assert_int_equal (mapping_start (f->mapping), 0);
  store_put (f, 0, 4 * MiB, 0);
  learn_extents (f);
}

/* Did the last flush find the loop thread asleep, and do its work? */
static bool
was_helped (void)
{
  struct fake_record record = { 0 };

  return fake_store_record (f->fake, 0, &record) &&
         (record.flags & STORE_AWAITED);
}

/* Write a page and flush; returns whether it was helped. */
static bool
put_and_flush (uint64_t page, int result)
{
  fake_store_clear (f->fake);
  put (f, page * PAGE, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), result);
  return was_helped ();
}

/* All of it is done by the thread that waits for it.  (Not while the loop thread is
 * awake, as it is now and then.)
 */
TEST (nobody_is_woken)
{
  unsigned before;
  bool helped;

  start ();
  do {
    before = atomic_load (&others_steps);
    helped = put_and_flush (0, 0);
  } while (!helped || atomic_load (&others_steps) != before);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 1);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  fixture_stop (f);
}

/* The loop thread goes on with what others want meanwhile. */
TEST (nobody_is_kept)
{
  struct gate here = { 0 };
  struct job flush = { .op = JOB_FLUSH };

  start ();
  do {
    while (!put_and_flush (0, 0))
      ;
    put (f, 0, PAGE, 2);
    atomic_store (&gate, &here);
    job_start (f, 1, &flush);
    UNTIL (atomic_load (&here.arrived) || atomic_load (&flush.done));
    atomic_store (&gate, NULL);
    if (!atomic_load (&here.arrived))
      job_join (&flush);
  } while (!atomic_load (&here.arrived));
  assert_int_equal (put_flags (f, 0, 8 * PAGE, PAGE, 3, CACHE_FUA), 0);
  store_expect (f, 8 * PAGE, PAGE, 3);
  assert_false (atomic_load (&flush.done));
  gate_open (f, &here);
  assert_int_equal (job_join (&flush), 0);
  store_expect (f, 0, PAGE, 2);
  check_state (f);
  fixture_stop (f);
}

/* What is to be done later is the loop thread's again: a failed write is tried
 * again, though it slept, and not until then.
 */
TEST (rest_is_left)
{
  unsigned i;
  bool helped;

  do {
    start ();
    for (i = 0; i < 2; i++)
      put_and_flush (0, 0);
    fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
    helped = put_and_flush (1, -EIO);
    UNTIL (atomic_load (&f->mapping->folios.nr_dirty) == 0);
    fixture_stop (f);
  } while (!helped);
}

static void
count_ring (void *opaque)
{
  _Atomic unsigned *rings = opaque;

  atomic_fetch_add (rings, 1);
}

static void
tick (struct fixture *fixture)
{
  atomic_fetch_add (&fixture->clock, NSEC_PER_MSEC);
}

/* Whoever helps does so for a moment, and has the loop thread woken for what is left;
 * and for what is to be done before it wakes by itself.
 */
TEST (loop_is_woken)
{
  struct sync_req req = { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  struct store_req *own;
  struct writeback *wb;
  uint64_t deadline;
  _Atomic unsigned rings = 0;
  unsigned moments = 0;
  bool more;

  f = fixture_start (&(struct fixture_config) {
    .no_loop = true, .fake_clock = true, .tick = tick });
  wb = &f->mapping->wb;
  f->mapping->bell = (struct bell) { .ring = count_ring, .opaque = &rings };
  put (f, 0, PAGE, 1);
  inbox_queue (&f->mapping->inbox, &req);
  do {
    atomic_store (&rings, 0);
    more = help (wb, 0, &own);
    moments++;
  } while ((own && help_wait (wb, own)) || more || atomic_load (&rings));
  assert_true (moments > 2);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
  deadline = writeback_deadline (wb);
  assert_true (deadline < ENV_FOREVER);
  assert_true (help (wb, deadline + 1, &own));
  assert_false (help (wb, deadline, &own));
  f->mapping->bell = (struct bell) { 0 };
  fixture_stop (f);
}

/* A store may not wait, though it could: the loop thread sees to what it ends. */
TEST (store_does_not_wait)
{
  struct sync_req req = { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  _Atomic unsigned rings = 0;
  struct store_req *own;
  struct writeback *wb;

  f = fixture_start (
    &(struct fixture_config) { .no_loop = true, .fake_clock = true });
  wb = &f->mapping->wb;
  f->mapping->bell = (struct bell) { .ring = count_ring, .opaque = &rings };
  put (f, 0, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  inbox_queue (&f->mapping->inbox, &req);
  help (wb, 0, &own);
  assert_non_null (own);
  assert_false (help_wait (wb, own));
  atomic_store (&rings, 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (atomic_load (&rings), 1);
  while (writeback_step (wb) || !writeback_idle (wb))
    ;
  assert_int_equal (req.error, 0);
  f->mapping->bell = (struct bell) { 0 };
  fixture_stop (f);
}

/* Or it is awake, but has looked already. */
TEST (about_to_sleep)
{
  struct job flush = { .op = JOB_FLUSH };
  struct gate here = { 0 };

  start ();
  put (f, 0, PAGE, 2);
  atomic_store (&looked, &here);
  fs_ring (f->fs);
  gate_await (&here);
  job_start (f, 1, &flush);
  assert_int_equal (job_join (&flush), 0);
  store_expect (f, 0, PAGE, 2);
  fixture_stop (f);
}

/* Where several come together they share flushes, which takes the loop thread. */
TEST (not_in_a_crowd)
{
  static uint8_t buf[PAGE_SIZE];
  struct job flush = { .op = JOB_FLUSH };
  struct job fua = { .op = JOB_WRITE,
                     .buf = buf,
                     .count = PAGE,
                     .offset = 8 * PAGE,
                     .flags = CACHE_FUA };
  unsigned i;

  start ();
  while (!put_and_flush (0, 0))
    ;
  fake_store_hold (f->fake, STORE_WRITE);
  put (f, 0, PAGE, 2);
  job_start (f, 1, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  job_start (f, 2, &fua);
  fake_store_wait_held (f->fake, STORE_WRITE, 2);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&flush), 0);
  assert_int_equal (job_join (&fua), 0);
  for (i = 0; i < 2; i++)
    assert_false (put_and_flush (0, 0));
  while (!put_and_flush (0, 0))
    ;
  fixture_stop (f);
}

RUN_TESTS ()
