/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: calls that fail for no reason of their own are made again, at
 * once and then with pauses, but not for ever.  Between the store and its engine
 * stands one that makes up such results.  No thread runs the loop, and the time
 * that passes is the test's.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file/engine.h"
#include "fs/file/request.h"
#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

struct attempt {
  struct rig rig;       /* first */
  struct store_req req; /* the only one */
  struct iovec iov;
  uint8_t *buf;
  bool done;
  int error;

  uint64_t now;      /* ns */
  uint64_t step;     /* ns that pass by each call that fails */
  int result;        /* of these */
  unsigned failures; /* so many calls are yet to fail */
  unsigned calls;
  bool failed; /* the last call has, and was not reaped */
};

/* The store's env is the first member of its rig, and that of the attempt. */
static struct attempt *
attempt_of (struct file_store *file)
{
  return (struct attempt *) file->store.env;
}

static uint64_t
test_now (struct env *env)
{
  return ((struct attempt *) env)->now;
}

/* -------------------------------------------------- the engine in between */

static const struct file_engine *real;

static void
failing_add (struct file_store *file, struct store_req *req,
             const struct file_call *call)
{
  struct attempt *a = attempt_of (file);

  a->calls++;
  if (a->failures == 0) {
    real->add (file, req, call);
    return;
  }
  a->failures--;
  a->failed = true;
  a->now += a->step;
  file_wake_loop (file);
}

static void
failing_kick (struct file_store *file)
{
  real->kick (file);
}

static unsigned
failing_reap (struct file_store *file, struct file_result *results,
              unsigned max)
{
  struct attempt *a = attempt_of (file);

  if (!a->failed)
    return real->reap (file, results, max);
  a->failed = false;
  results[0] = (struct file_result) { &a->req, a->result };
  return 1;
}

static bool
failing_ready (struct file_store *file)
{
  return attempt_of (file)->failed || real->ready (file);
}

static void
failing_stop (struct file_store *file)
{
  real->stop (file);
}

static const struct file_engine failing = {
  .name = "failing",
  .stop = failing_stop,
  .add = failing_add,
  .kick = failing_kick,
  .reap = failing_reap,
  .ready = failing_ready,
};

/* ------------------------------------------------------------- one attempt */

static void
attempt_done (struct store_req *req, int error)
{
  struct attempt *a =
    (struct attempt *) ((char *) req - offsetof (struct attempt, req));

  a->done = true;
  a->error = error;
}

static void
attempt_begin (struct attempt *a)
{
  struct file_store_options o = options_for (first_place ());
  struct file_store *file;

  memset (a, 0, sizeof *a);
  a->now = 1;
  a->buf = aligned_memory (4096, 0xaa);
  a->iov = (struct iovec) { a->buf, 4096 };
  rig_open (&a->rig, &o);
  a->rig.env.now = test_now;
  assert_int_equal (a->rig.store->ops->attach (a->rig.store, a->rig.on.ev), 0);
  file = file_store_of (a->rig.store);
  real = file->engine;
  file->engine = &failing;
}

/* What becomes of a request when the next n calls fail with this result, each
 * after so long.
 */
static int
attempt_run (struct attempt *a, enum store_op op, unsigned n, int result,
             uint64_t step)
{
  struct store_req *req = &a->req;
  bool data = op == STORE_READ || op == STORE_WRITE;

  a->req = (struct store_req) {
    .op = op,
    .length = op == STORE_FLUSH ? 0 : 4096,
    .iov = data ? &a->iov : NULL,
    .niov = data,
    .done = attempt_done,
  };
  a->failures = n;
  a->result = result;
  a->step = step;
  a->calls = 0;
  a->done = false;
  a->rig.store->ops->submit (a->rig.store, &req, 1);
  while (!a->done)
    ev_run (a->rig.on.ev, EVRUN_ONCE);
  return a->error;
}

static void
attempt_end (struct attempt *a)
{
  a->rig.store->ops->detach (a->rig.store);
  rig_close (&a->rig);
  free (a->buf);
}

/* --------------------------------------------------------------- the tests */

static const enum store_op ops[] = { STORE_WRITE, STORE_READ, STORE_ZERO,
                                     STORE_TRIM, STORE_FLUSH };
static const int errors[] = { -EAGAIN, -EINTR, -ECANCELED };

/* Of a flush that had begun, nothing is tried again. */
static bool
is_final (enum store_op op, int error)
{
  return op == STORE_FLUSH && error != -ECANCELED;
}

TEST (what_fails_for_a_while_succeeds)
{
  struct attempt a;
  unsigned i, e;

  attempt_begin (&a);
  for (i = 0; i < 5; i++)
    for (e = 0; e < 3; e++) {
      if (is_final (ops[i], errors[e]))
        continue;
      assert_int_equal (attempt_run (&a, ops[i], 5, errors[e], NSEC_PER_MSEC),
                        0);
      assert_true (a.calls >= 6);
    }
  assert_int_equal (attempt_run (&a, STORE_WRITE, 1, -EFAULT, 0), 0);
  attempt_end (&a);
}

TEST (what_never_succeeds_ends)
{
  struct attempt a;
  unsigned i, e;

  attempt_begin (&a);
  for (i = 0; i < 5; i++)
    for (e = 0; e < 3; e++) {
      if (is_final (ops[i], errors[e]))
        continue;
      assert_int_equal (attempt_run (&a, ops[i], 1000, errors[e], NSEC_PER_SEC),
                        -EIO);
      assert_in_range (a.calls, 8, 13);
    }
  assert_int_equal (attempt_run (&a, STORE_READ, 0, 0, 0), 0);
  attempt_end (&a);
}

/* The error may be that of a write-back, which is told only once: that the next
 * flush succeeds does not make good what was lost.
 */
TEST (a_flush_that_fails_has_failed)
{
  struct attempt a;
  unsigned e;

  attempt_begin (&a);
  for (e = 0; e < 3; e++) {
    if (!is_final (STORE_FLUSH, errors[e]))
      continue;
    assert_int_equal (attempt_run (&a, STORE_FLUSH, 1, errors[e], 1), -EIO);
    assert_int_equal (a.calls, 1);
    assert_int_equal (attempt_run (&a, STORE_FLUSH, 0, 0, 0), 0);
  }
  attempt_end (&a);
}

/* Only the second try is made at once, or the loop thread would be kept busy. */
TEST (it_pauses)
{
  struct attempt a;
  struct env clock;
  uint64_t before;

  env_init (&clock);
  attempt_begin (&a);
  before = clock.now (&clock);
  assert_int_equal (attempt_run (&a, STORE_READ, 11, -EAGAIN, 1), 0);
  assert_true (clock.now (&clock) - before >= 5 * FILE_PAUSE);
  attempt_end (&a);
}

/* Patience is with each piece: whoever makes progress is given time anew. */
TEST (progress_is_given_time)
{
  struct file_store *file;
  struct attempt a;

  attempt_begin (&a);
  file = file_store_of (a.rig.store);
  a.req = (struct store_req) {
    .op = STORE_WRITE, .length = 4096, .iov = &a.iov, .niov = 1
  };
  assert_int_equal (file_begin (file, &a.req), FILE_AGAIN);
  for (a.now = 1; a.now < 40 * NSEC_PER_SEC; a.now += 8 * NSEC_PER_SEC) {
    assert_int_equal (file_advance (file, &a.req, -EAGAIN), FILE_AGAIN);
    assert_int_equal (file_advance (file, &a.req, -EAGAIN), FILE_LATER);
    assert_int_equal (file_advance (file, &a.req, 512), FILE_AGAIN);
  }
  attempt_end (&a);
}

RUN_WITH_ENGINES ()
