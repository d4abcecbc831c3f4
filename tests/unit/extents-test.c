/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map, against a model with one entry a unit.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "fs/extents.h"
#include "tests/unit/extents-expect.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define UNITS 512
#define UNIT 4096u

TEST (cookie_changes_when_a_mapping_may_be_wrong)
{
  struct extents *e = extents_create (100);
  uint64_t cookie = extents_cookie (e);

  extents_set (e, 0, 100, IOMAP_HOLE);
  assert_true (bumped (e, &cookie));
  extents_set (e, 10, 20, IOMAP_HOLE);
  assert_false (bumped (e, &cookie));
  extents_set (e, 10, 20, IOMAP_DELALLOC);
  assert_false (bumped (e, &cookie));
  extents_reserve (e, 0, 100);
  assert_false (bumped (e, &cookie));
  extents_set (e, 50, 50, IOMAP_UNWRITTEN);
  assert_true (bumped (e, &cookie));
  extents_reserve (e, 0, 100);
  assert_false (bumped (e, &cookie));
  extents_set (e, 20, 1, IOMAP_MAPPED);
  assert_true (bumped (e, &cookie));
  extents_set (e, 20, 1, IOMAP_DELALLOC);
  assert_true (bumped (e, &cookie));
  learn (e, 0, 1000, IOMAP_MAPPED);
  assert_false (bumped (e, &cookie));
  extents_set (e, 2000, 1, IOMAP_MAPPED); /* as which the unknown counts */
  assert_false (bumped (e, &cookie));
  extents_set (e, 3000, 1, IOMAP_HOLE);
  assert_true (bumped (e, &cookie));
  extents_forget (e, 3000, 1);
  assert_true (bumped (e, &cookie));
  extents_destroy (e);
}

/* ------------------------------------------------------ against the model */

static void
model_set (int *model, uint64_t from, uint64_t to, int type)
{
  for (; from < to; from++)
    model[from] = type;
}

static void
random_change (struct rng *rng, struct extents *e, int *model)
{
  uint64_t from = rng_below (rng, UNITS);
  uint64_t to = from + rng_log (rng, UNITS - from);
  uint64_t offset = from * UNIT, length = (to - from) * UNIT, i;
  enum iomap_type type = (enum iomap_type) rng_below (rng, 4);

  switch (rng_below (rng, 6)) {
  case 0:
    extents_forget (e, offset, length);
    model_set (model, from, to, UNKNOWN);
    break;
  case 1:
    extents_reserve (e, offset, length);
    for (i = from; i < to; i++)
      if (model[i] == IOMAP_HOLE || model[i] == IOMAP_UNWRITTEN)
        model[i] = IOMAP_DELALLOC;
    break;
  case 2:
    learn (e, offset, length, type);
    for (i = from; i < to; i++)
      if (model[i] == UNKNOWN)
        model[i] = (int) type;
    break;
  default:
    extents_set (e, offset, length, type);
    model_set (model, from, to, (int) type);
  }
}

TEST (random_changes_agree_with_a_model)
{
  struct rng rng = test_rng ("random_changes_agree_with_a_model");
  struct extents *e = extents_create (4 * UNITS);
  int model[UNITS], round;
  uint64_t i, j, runs;

  model_set (model, 0, UNITS, UNKNOWN);
  for (round = 0; round < 3000; round++) {
    random_change (&rng, e, model);
    for (runs = i = 0; i < UNITS; i = j) {
      for (j = i + 1; j < UNITS && model[j] == model[i]; j++)
        ;
      runs += model[i] != UNKNOWN;
      expect (e, i * UNIT, model[i], (j - i) * UNIT);
      expect (e, j * UNIT - 1, model[i], 1);
    }
    assert_int_equal (extents_count (e), runs); /* wholly merged */
  }
  extents_destroy (e);
}

/* With too little room the map knows less, never anything wrong. */
TEST (a_small_map_forgets_but_never_lies)
{
  struct rng rng = test_rng ("a_small_map_forgets_but_never_lies");
  struct extents *e = extents_create (16);
  enum iomap_type type;
  uint64_t i, n, known = 0;
  int truth[UNITS], round;

  model_set (truth, 0, UNITS, UNKNOWN);
  for (round = 0; round < 20000; round++) {
    uint64_t from = rng_below (&rng, UNITS);
    uint64_t to = from + rng_log (&rng, UNITS - from < 9 ? UNITS - from : 9);

    type = (enum iomap_type) rng_below (&rng, 4);
    extents_set (e, from * UNIT, (to - from) * UNIT, type);
    model_set (truth, from, to, (int) type);
    assert_true (extents_count (e) <= 16);
    for (i = from; i < to; i++) {
      n = UNIT;
      assert_true (extents_lookup (e, i * UNIT, &n, &type));
    }
    for (i = 0; i < UNITS; i++) {
      n = UNIT;
      if (extents_lookup (e, i * UNIT, &n, &type)) {
        assert_int_equal (type, truth[i]);
        known++;
      }
    }
  }
  assert_true (known / 20000 >= 8); /* and it does remember something */
  extents_destroy (e);
}

/* ---------------------------------------------------------------- threads */

#define THREADS 4
#define SHARE ((uint64_t) 1 << 30)

struct worker {
  pthread_t thread;
  struct extents *e;
  struct rng rng;
  uint64_t base;
};

/* Only this worker sets ranges of its share: what it finds there is what it
 * set, or unknown.
 */
static void *
work (void *opaque)
{
  struct worker *w = opaque;
  enum iomap_type types[64] = { 0 }, type;
  int round;

  for (round = 0; round < 5000; round++) {
    uint64_t i = rng_below (&w->rng, 64), n = UNIT;
    uint64_t offset = w->base + i * 2 * UNIT;

    if (rng_chance (&w->rng, 30)) {
      types[i] = (enum iomap_type) (1 + rng_below (&w->rng, 3));
      extents_set (w->e, offset, UNIT, types[i]);
    }
    else if (rng_chance (&w->rng, 10))
      extents_forget (w->e, offset, UNIT);
    else if (extents_lookup (w->e, offset, &n, &type) && type != types[i])
      return w;
    extents_cookie (w->e);
  }
  return NULL;
}

TEST (threads_do_not_disturb_each_other)
{
  struct rng rng = test_rng ("threads_do_not_disturb_each_other");
  struct extents *e = extents_create (100);
  struct worker workers[THREADS];
  void *wrong;
  int i;

  for (i = 0; i < THREADS; i++) {
    workers[i] = (struct worker) { .e = e,
                                   .rng = { rng_next (&rng) },
                                   .base = (uint64_t) i * SHARE };
    assert_int_equal (
      pthread_create (&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (i = 0; i < THREADS; i++) {
    pthread_join (workers[i].thread, &wrong);
    assert_null (wrong);
  }
  assert_true (extents_count (e) <= 100);
  extents_destroy (e);
}

/* The range found last is remembered apart: each change is seen all the same. */
TEST (what_was_found_last_is_not_stale)
{
  struct extents *e = extents_create (100);

  expect (e, 1000, UNKNOWN, 500);
  extents_set (e, 2000, 1000, IOMAP_HOLE);
  expect (e, 1000, UNKNOWN, 1000);
  expect (e, 2100, IOMAP_HOLE, 900);
  expect (e, 2500, IOMAP_HOLE, 500);
  extents_reserve (e, 2200, 100);
  expect (e, 2100, IOMAP_HOLE, 100);
  expect (e, 2250, IOMAP_DELALLOC, 50);
  extents_set (e, 2200, 100, IOMAP_MAPPED);
  expect (e, 2250, IOMAP_MAPPED, 50);
  learn (e, 3000, 100, IOMAP_HOLE);
  expect (e, 2300, IOMAP_HOLE, 800);
  extents_forget (e, 3000, 50);
  expect (e, 2300, IOMAP_HOLE, 700);
  expect (e, 3000, UNKNOWN, 50);
  learn (e, 3000, 50, IOMAP_MAPPED);
  expect (e, 3000, IOMAP_MAPPED, 50);
  expect (e, 3050, IOMAP_HOLE, 50);
  extents_destroy (e);
}

/* Several runs at once are what one after the other would be. */
TEST (runs_are_what_lookups_say)
{
  struct rng rng = test_rng ("runs_are_what_lookups_say");
  struct extents *e = extents_create (UNITS);
  struct extents_run runs[8];
  uint64_t at, end, n;
  size_t i, nr;
  int round;

  for (round = 0; round < 2000; round++) {
    at = rng_below (&rng, UNITS) * UNIT;
    if (rng_chance (&rng, 20))
      extents_forget (e, at, UNIT);
    else
      extents_set (e, at, UNIT,
                   rng_chance (&rng, 50) ? IOMAP_HOLE : IOMAP_MAPPED);
    at = rng_below (&rng, UNITS * UNIT);
    end = at + 1 + rng_below (&rng, 16 * UNIT);
    nr = extents_lookup_runs (e, at, end, runs, 8);
    assert_in_range (nr, 1, 8);
    for (i = 0; i < nr; at += n, i++) {
      assert_true (at < end);
      n = runs[i].end - at;
      expect (e, at, runs[i].known ? (int) runs[i].type : UNKNOWN,
              runs[i].end - at);
    }
    assert_true (nr == 8 || at >= end);
  }
  extents_destroy (e);
}

/* Types go with lengths, at a place that all look at. */
struct pair {
  struct extents *e;
  _Atomic bool over;
  pthread_t threads[THREADS];
};

static void *
look_at_pair (void *opaque)
{
  struct pair *pair = opaque;
  enum iomap_type type;
  uint64_t n;

  while (!pair->over) {
    n = UNIT;
    if (extents_lookup (pair->e, 0, &n, &type) &&
        n != (type == IOMAP_HOLE ? UNIT : 2 * UNIT))
      return pair;
  }
  return NULL;
}

TEST (what_was_found_last_is_not_torn)
{
  struct pair pair = { .e = extents_create (100) };
  void *wrong;
  int i;

  for (i = 0; i < THREADS; i++)
    assert_int_equal (
      pthread_create (&pair.threads[i], NULL, look_at_pair, &pair), 0);
  for (i = 0; i < 100000; i++) {
    extents_set (pair.e, 0, 2 * UNIT, IOMAP_MAPPED);
    extents_forget (pair.e, 0, 2 * UNIT);
    extents_set (pair.e, 0, UNIT, IOMAP_HOLE);
    extents_forget (pair.e, 0, UNIT);
  }
  pair.over = true;
  for (i = 0; i < THREADS; i++) {
    pthread_join (pair.threads[i], &wrong);
    assert_null (wrong);
  }
  extents_destroy (pair.e);
}

RUN_TESTS ()
