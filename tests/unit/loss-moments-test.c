/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses what was not flushed, at each step of the loop thread in
 * turn, and at random: no flush fails, and after it everything is there.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "disk-model.h"
#include "seed.h"

/* --- at each step --- */

/* Small, since it is done some hundred times: the data from 0 is about twenty
 * requests.
 */
#define NR_DATA 75u
#define ZEROED (512 * KiB)
#define NR_ZEROED 32u
#define MORE (768 * KiB)

typedef bool moment_fn (const struct writeback *wb);

/* When to lose: the loop thread looks at the clock in each step, and for some
 * of what it does in them.
 */
static struct {
  _Atomic bool armed;
  pthread_t loop;          /* the loop thread; valid while armed */
  unsigned left;           /* until the next loss; 0: none */
  moment_fn *moments[2];   /* and in turn when these are so, until NULL */
  bool held;               /* the first flush, until something is lost */
  unsigned gap;            /* between this and one more, if not 0 */
  uint64_t seed;           /* of what is lost */
  _Atomic unsigned losses; /* so far */
} plan;

/* Is it time? */
static bool
due (const struct writeback *wb)
{
  if (plan.left > 0 && --plan.left == 0) {
    plan.left = plan.gap;
    plan.gap = 0;
    return true;
  }
  if (plan.moments[0] == NULL || !plan.moments[0](wb))
    return false;
  plan.moments[0] = plan.moments[1];
  plan.moments[1] = NULL;
  return true;
}

static void
tick (struct fixture *f)
{
  if (!atomic_load (&plan.armed) ||
      !pthread_equal (pthread_self (), plan.loop) || !due (&f->mapping->wb))
    return;
  plan.losses++;
  fake_store_lose (f->fake, plan.seed);
}

static const struct iomap_ops *below;

static void
noting_flush (struct fs *fs, struct store_req *req)
{
  if (!atomic_load (&plan.armed))
    plan.loop = pthread_self ();
  below->flush (fs, req);
}

static struct fixture *
start (unsigned left, unsigned gap, uint64_t seed)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .disk_size = 1 * MiB,
                                              .cache_size = 1 * MiB,
                                              .best_io = 4 * PAGE,
                                              .io_depth = 4,
                                              .small_folios = true,
                                              .tick = tick });

  store_put (f, ZEROED, NR_ZEROED * PAGE, 0);
  below = f->raw_ops;
  f->ops.flush = noting_flush;
  assert_int_equal (put_flags (f, 0, 1 * MiB - PAGE, PAGE, 1, CACHE_FUA), 0);
  fake_store_volatile (f->fake);
  plan.left = left;
  plan.gap = gap;
  plan.seed = seed;
  plan.losses = 0;
  atomic_store (&plan.armed, true);
  return f;
}

/* Data, a zero, data over it; two flushes side by side, then one more. */
static void
run (struct fixture *f, int error)
{
  struct job flushes[3] = { { .op = JOB_FLUSH },
                            { .op = JOB_FLUSH },
                            { .op = JOB_FLUSH } };
  unsigned i;

  put (f, 0, NR_DATA * PAGE, 1);
  assert_int_equal (cache_zero (f->conn, NR_ZEROED * PAGE, ZEROED, 0), 0);
  put (f, ZEROED + 5 * PAGE + 100, 10 * PAGE, 1);
  if (error)
    fake_store_fail_next (f->fake, STORE_FLUSH, 1, error);
  for (i = 0; i < 3; i++) {
    if (i == 0 && plan.held)
      job_start_held (f, i, &flushes[i], STORE_FLUSH);
    else
      job_start (f, i, &flushes[i]);
    put (f, MORE + i * PAGE, PAGE, 1);
  }
  if (plan.held) {
    UNTIL (plan.losses > 0);
    fake_store_unhold (f->fake, STORE_FLUSH);
  }
  for (i = 0; i < 3; i++)
    assert_in_range (-job_join (&flushes[i]), 0, -error);
  assert_int_equal (cache_flush (f->conns[3]), 0);
  atomic_store (&plan.armed, false);
}

static void
check (struct fixture *f)
{
  fake_store_crash (f->fake, 0);
  store_expect (f, 0, NR_DATA * PAGE, 1);
  store_expect_zero (f, ZEROED, 5 * PAGE + 100);
  store_expect (f, ZEROED + 5 * PAGE + 100, 10 * PAGE, 1);
  store_expect_zero (f, ZEROED + 15 * PAGE + 100,
                     (NR_ZEROED - 15) * PAGE - 100);
  store_expect (f, MORE, 3 * PAGE, 1);
}

/* Lose at each step, or each stride, until there are no more; returns how often
 * that was.
 */
static unsigned
lose_at_each (unsigned gap, unsigned stride, int error)
{
  struct rng rng = test_rng ("lose_at_each");
  unsigned left = 1 + (unsigned) rng_below (&rng, stride);
  unsigned times = 0, in_vain = 0;
  struct fixture *f;

  /* How many steps it takes depends on what threads do meanwhile. */
  for (; in_vain < 3; left += stride) {
    f = start (left, gap, gap);
    run (f, error);
    check (f);
    in_vain = plan.losses > 0 ? 0 : in_vain + 1;
    times += plan.losses > 0;
    assert_true (error || atomic_load (&f->errors) == 0);
    fixture_stop (f);
  }
  return times;
}

/* Under sanitizers, at every fifth. */
TEST (at_each_step)
{
  assert_true (lose_at_each (0, 5 / share (5), 0) > 10);
}

/* And once more, while the first settles. */
TEST (twice)
{
  lose_at_each (1, 7, 0);
  lose_at_each (3, 7, 0);
  lose_at_each (7, 7, 0);
}

static bool
tagging (const struct writeback *wb)
{
  return wb->sync.nr[SYNC_TAGGING] > 0;
}

static bool
sending (const struct writeback *wb)
{
  return wb->sync.nr[SYNC_SENDING] > 0;
}

static bool
draining (const struct writeback *wb)
{
  return wb->sync.nr[SYNC_DRAINING] > 0;
}

/* While another flush is on. */
static bool
ready (const struct writeback *wb)
{
  return wb->sync.nr[SYNC_READY] > 0;
}

static bool
again (const struct writeback *wb)
{
  return wb->sync.nr[SYNC_QUEUED] > 0;
}

static bool
flushing (const struct writeback *wb)
{
  return wb->sync.flush_state == FLUSH_SENT;
}

static bool
sweeping (const struct writeback *wb)
{
  return wb->sync.flush_state == FLUSH_CLEAN;
}

/* Just then; and then, if it is not NULL, at a moment after that. */
static void
lose_at (moment_fn *moment, moment_fn *then)
{
  struct fixture *f;

  plan.moments[0] = moment;
  plan.moments[1] = then;
  plan.held = moment == ready;
  f = start (0, 0, 0);
  run (f, 0);
  check (f);
  assert_int_equal (plan.losses, then ? 2 : 1);
  assert_int_equal (atomic_load (&f->errors), 0);
  fixture_stop (f);
}

TEST (at_each_moment)
{
  lose_at (tagging, NULL);
  lose_at (sending, NULL);
  lose_at (draining, NULL);
  lose_at (ready, NULL);
  lose_at (draining, again);
  lose_at (flushing, NULL);
  lose_at (sweeping, NULL);
  lose_at (draining, sweeping);
  plan.held = false;
}

/* A flush fails besides. */
TEST (with_failure)
{
  lose_at_each (0, 37, -EIO);
  lose_at_each (5, 41, -EIO);
}

/* --- at random --- */

#define DISK (1 * MiB)

static void
random_step (struct disk_model *m)
{
  unsigned kind = (unsigned) rng_below (&m->rng, 100);
  uint64_t seed = rng_chance (&m->rng, 50) ? 0 : rng_next (&m->rng) | 1;

  if (kind < 60)
    disk_model_change (m, 200000, true);
  else if (kind < 80)
    fake_store_lose (m->f->fake, seed);
  else if (kind < 90)
    disk_model_compare (m, false);
  else {
    assert_int_equal (cache_flush (m->f->conn), 0);
    fake_store_crash (m->f->fake, 0);
    disk_model_compare (m, true);
  }
}

static void
at_random (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);
  struct disk_model *m = disk_model_start (f, test_rng ("at_random"), 0);
  unsigned i;

  fake_store_volatile (f->fake);
  for (i = 0; i < share (300); i++)
    random_step (m);
  fake_store_lose (f->fake, 0);
  assert_int_equal (cache_flush (f->conn), 0);
  fake_store_crash (f->fake, 0);
  assert_int_equal (atomic_load (&f->errors), 0);
  disk_model_end (m);
  fixture_stop (f);
}

TEST (at_random)
{
  at_random (
    &(struct fixture_config) { .disk_size = DISK, .cache_size = 13 * MiB });
  at_random (&(struct fixture_config) { .disk_size = DISK,
                                        .cache_size = 1 * MiB,
                                        .dirty_limit = 64 * KiB,
                                        .io_depth = 1 });
  at_random (&(struct fixture_config) { .disk_size = DISK,
                                        .cache_size = 2 * MiB,
                                        .small_folios = true,
                                        .mode = CACHE_WRITETHROUGH });
}

RUN_TESTS ()
