/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ranges under way: who may run beside whom, and in which order.
 */

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "cache/folio/ranges.h"
#include "seed.h"
#include "tests/unit/test.h"

struct fixture {
  struct env env; /* first */
  struct env real;
  struct ranges ranges;
  _Atomic unsigned asleep;
};

static void
counting_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
               uint64_t deadline)
{
  struct fixture *f = (struct fixture *) env;

  atomic_fetch_add (&f->asleep, 1);
  f->real.wait (&f->real, word, value, deadline);
  atomic_fetch_sub (&f->asleep, 1);
}

static void
start (struct fixture *f)
{
  env_init (&f->real);
  env_init (&f->env);
  f->env.wait = counting_wait;
  atomic_init (&f->asleep, 0);
  ranges_init (&f->ranges, &f->env);
}

static void
until_asleep (struct fixture *f, unsigned n)
{
  while (atomic_load (&f->asleep) != n)
    sched_yield ();
}

/* A thread that adds a range, waits to be told, and removes it. */
struct job {
  struct fixture *f;
  struct range range;
  pthread_t thread;
  _Atomic bool in, leave;
};

static void *
run_job (void *arg)
{
  struct job *job = arg;

  ranges_add_wait (&job->f->ranges, &job->range);
  atomic_store (&job->in, true);
  while (!atomic_load (&job->leave))
    sched_yield ();
  ranges_remove (&job->f->ranges, &job->range);
  return NULL;
}

static void
job_start (struct fixture *f, struct job *job, uint64_t start, uint64_t end)
{
  job->f = f;
  job->range = (struct range) { .start = start, .end = end };
  atomic_init (&job->in, false);
  atomic_init (&job->leave, false);
  assert_int_equal (pthread_create (&job->thread, NULL, run_job, job), 0);
}

static void
job_await (struct job *job)
{
  while (!atomic_load (&job->in))
    sched_yield ();
}

static void
job_end (struct job *job)
{
  atomic_store (&job->leave, true);
  pthread_join (job->thread, NULL);
}

TEST (try_add)
{
  struct fixture f;
  struct range a = { .start = 100, .end = 200 };
  struct range before = { .start = 0, .end = 100 };
  struct range after = { .start = 200, .end = 300 };
  struct range inside = { .start = 150, .end = 151 };
  struct range around = { .start = 50, .end = 250 };
  struct range first = { .start = 0, .end = 101 };
  struct range last = { .start = 199, .end = 300 };

  start (&f);
  assert_true (ranges_try_add (&f.ranges, &a));
  assert_true (ranges_try_add (&f.ranges, &before));
  assert_false (ranges_remove (&f.ranges, &before));
  assert_true (ranges_try_add (&f.ranges, &after));
  assert_false (ranges_remove (&f.ranges, &after));
  assert_false (ranges_try_add (&f.ranges, &inside));
  assert_false (ranges_try_add (&f.ranges, &around));
  assert_false (ranges_try_add (&f.ranges, &first));
  assert_false (ranges_try_add (&f.ranges, &last));
  /* Whoever was refused is to be told, once. */
  assert_true (ranges_remove (&f.ranges, &a));
  assert_true (ranges_try_add (&f.ranges, &around));
  assert_false (ranges_remove (&f.ranges, &around));
  assert_null (f.ranges.head);
  ranges_destroy (&f.ranges);
}

TEST (add_wait)
{
  struct fixture f;
  struct range a = { .start = 100, .end = 200 };
  struct job job, other;

  start (&f);
  ranges_add_wait (&f.ranges, &a);
  job_start (&f, &job, 199, 300);
  until_asleep (&f, 1);
  assert_false (atomic_load (&job.in));
  /* One that overlaps neither does not wait. */
  job_start (&f, &other, 0, 100);
  job_await (&other);
  job_end (&other);
  assert_false (atomic_load (&job.in));
  ranges_remove (&f.ranges, &a);
  job_await (&job);
  job_end (&job);
  assert_null (f.ranges.head);
  ranges_destroy (&f.ranges);
}

/* One that waits keeps later ones from overtaking it, also those that only
 * try.
 */
TEST (no_overtaking)
{
  struct fixture f;
  struct range a = { .start = 100, .end = 200 };
  struct range late = { .start = 250, .end = 260 };
  struct job big, small;

  start (&f);
  ranges_add_wait (&f.ranges, &a);
  job_start (&f, &big, 0, 1000);
  until_asleep (&f, 1);
  assert_false (ranges_try_add (&f.ranges, &late));
  job_start (&f, &small, 250, 260);
  until_asleep (&f, 2);
  assert_true (ranges_remove (&f.ranges, &a));
  job_await (&big);
  until_asleep (&f, 1);
  assert_false (atomic_load (&small.in));
  job_end (&big);
  job_await (&small);
  job_end (&small);
  ranges_destroy (&f.ranges);
}

TEST (shrink)
{
  struct fixture f;
  struct range a = { .start = 100, .end = 200 };
  struct range b = { .start = 150, .end = 200 };
  struct job job, other;

  start (&f);
  ranges_add_wait (&f.ranges, &a);
  assert_false (ranges_try_add (&f.ranges, &b));
  job_start (&f, &job, 160, 300);
  job_start (&f, &other, 149, 151);
  until_asleep (&f, 2);
  ranges_shrink (&f.ranges, &a, 150);
  job_await (&job);
  job_end (&job);
  until_asleep (&f, 1);
  assert_false (atomic_load (&other.in));
  ranges_remove (&f.ranges, &a);
  job_await (&other);
  job_end (&other);
  assert_true (ranges_try_add (&f.ranges, &b));
  ranges_remove (&f.ranges, &b);
  ranges_destroy (&f.ranges);
}

/* Removal from the middle and the end of the list keeps it whole. */
TEST (remove_any_order)
{
  struct fixture f;
  struct rng rng = test_rng ("remove_any_order");
  struct range r[20];
  bool in[20] = { false };
  unsigned i, k;

  start (&f);
  for (i = 0; i < 5000; i++) {
    k = (unsigned) rng_below (&rng, 20);
    if (in[k])
      ranges_remove (&f.ranges, &r[k]);
    else {
      r[k] = (struct range) { .start = k * 10, .end = k * 10 + 10 };
      assert_true (ranges_try_add (&f.ranges, &r[k]));
    }
    in[k] = !in[k];
    if (in[k]) {
      struct range again = { .start = k * 10 + 5, .end = k * 10 + 6 };

      assert_false (ranges_try_add (&f.ranges, &again));
    }
  }
  ranges_destroy (&f.ranges);
}

/* --- many threads --- */

#define THREADS 6
#define PLACES 16

struct crowd {
  struct fixture f;
  unsigned long places[PLACES]; /* protected by ranges of place numbers */
};

struct member {
  struct crowd *crowd;
  struct rng rng;
  pthread_t thread;
  unsigned long added[PLACES];
};

static void
step (struct member *m, bool wait)
{
  uint64_t first = rng_below (&m->rng, PLACES);
  uint64_t last = first + rng_below (&m->rng, PLACES - first), i;
  struct range range = { .start = first, .end = last + 1 };

  if (wait)
    ranges_add_wait (&m->crowd->f.ranges, &range);
  else if (!ranges_try_add (&m->crowd->f.ranges, &range))
    return;
  for (i = first; i <= last; i++) {
    m->crowd->places[i]++;
    m->added[i]++;
  }
  ranges_remove (&m->crowd->f.ranges, &range);
}

static void *
run_member (void *arg)
{
  struct member *m = arg;
  unsigned i;

  for (i = 0; i < 4000; i++)
    step (m, rng_chance (&m->rng, 50));
  return NULL;
}

TEST (exclusion)
{
  struct crowd crowd = { .places = { 0 } };
  struct rng rng = test_rng ("exclusion");
  struct member m[THREADS];
  unsigned long sum;
  unsigned i, k;

  start (&crowd.f);
  for (i = 0; i < THREADS; i++) {
    m[i] = (struct member) { .crowd = &crowd };
    m[i].rng.state = rng_next (&rng);
    assert_int_equal (pthread_create (&m[i].thread, NULL, run_member, &m[i]),
                      0);
  }
  for (i = 0; i < THREADS; i++)
    pthread_join (m[i].thread, NULL);
  for (k = 0; k < PLACES; k++) {
    for (sum = 0, i = 0; i < THREADS; i++)
      sum += m[i].added[k];
    assert_int_equal (crowd.places[k], sum);
  }
  assert_null (crowd.f.ranges.head);
  assert_int_equal (crowd.f.ranges.waiters, 0);
  ranges_destroy (&crowd.f.ranges);
}

RUN_TESTS ()
