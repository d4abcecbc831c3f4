/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: threads that write and zero, and forget for want of room, while
 * others ask and learn: an answer never makes a hole of what was written since.
 */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tests/unit/extents-expect.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define WRITERS 2
#define ASKERS 2
#define UNITS 64u /* of each writer */
#define ALL_UNITS (WRITERS * UNITS)
#define UNIT 4096u
#define ROUNDS 40000
#define ROUNDS_AN_ANSWER 64 /* that pass while the store is asked */

/* The store: what it would say of each unit. */
struct world {
  struct extents *e;
  _Atomic bool data[ALL_UNITS];
  _Atomic unsigned rounds; /* of writers, so far */
  _Atomic bool over;
};

struct worker {
  pthread_t thread;
  struct world *w;
  struct rng rng;
  unsigned base; /* unit */
};

static void
write_unit (struct world *w, unsigned i)
{
  extents_set (w->e, i * UNIT, UNIT, IOMAP_MAPPED);
  w->data[i] = true;
  extents_set (w->e, i * UNIT, UNIT, IOMAP_MAPPED);
}

static void
zero_unit (struct world *w, unsigned i)
{
  extents_set (w->e, i * UNIT, UNIT, IOMAP_MAPPED);
  w->data[i] = false;
  extents_set (w->e, i * UNIT, UNIT, IOMAP_HOLE);
}

/* Each has units of its own, and so knows what they are. */
static void *
write_and_look (void *opaque)
{
  struct worker *worker = opaque;
  struct world *w = worker->w;
  enum iomap_type type;
  unsigned i, round;
  uint64_t n;

  for (round = 0; round < ROUNDS; round++) {
    i = worker->base + (unsigned) rng_below (&worker->rng, UNITS);
    switch (rng_below (&worker->rng, 4)) {
    case 0: write_unit (w, i); break;
    case 1: zero_unit (w, i); break;
    default:
      n = UNIT;
      if (extents_lookup (w->e, i * UNIT, &n, &type) && type == IOMAP_HOLE &&
          w->data[i])
        return worker;
    }
    w->rounds++;
  }
  return NULL;
}

/* Long enough that what was asked about is written, and forgotten. */
static void
let_writers_go_on (struct world *w)
{
  unsigned begun = w->rounds;

  while (!w->over && w->rounds - begun < ROUNDS_AN_ANSWER)
    sched_yield ();
}

static void *
ask_and_learn (void *opaque)
{
  struct worker *worker = opaque;
  struct world *w = worker->w;
  struct extents_question q;
  bool data[ALL_UNITS];
  unsigned from, to, i;

  while (!w->over) {
    from = (unsigned) rng_below (&worker->rng, ALL_UNITS);
    to = from + 1 + (unsigned) rng_below (&worker->rng, ALL_UNITS - from);
    extents_ask (w->e, &q, from * UNIT, (to - from) * UNIT);
    for (i = from; i < to; i++)
      data[i] = w->data[i];
    let_writers_go_on (w);
    for (i = from; i < to; i++)
      extents_learn (w->e, &q, i * UNIT, UNIT,
                     data[i] ? IOMAP_MAPPED : IOMAP_HOLE);
    extents_answered (w->e, &q);
  }
  return NULL;
}

TEST (an_answer_is_never_newer_than_a_write)
{
  struct rng rng = test_rng ("an_answer_is_never_newer_than_a_write");
  struct worker workers[WRITERS + ASKERS];
  struct world w = { .e = extents_create (32) };
  void *wrong[WRITERS + ASKERS];
  unsigned i;

  for (i = 0; i < WRITERS + ASKERS; i++) {
    workers[i] = (struct worker) { .w = &w,
                                   .rng = { rng_next (&rng) },
                                   .base = i * UNITS };
    assert_int_equal (
      pthread_create (&workers[i].thread, NULL,
                      i < WRITERS ? write_and_look : ask_and_learn,
                      &workers[i]),
      0);
  }
  for (i = 0; i < WRITERS + ASKERS; i++) {
    w.over = i >= WRITERS;
    pthread_join (workers[i].thread, &wrong[i]);
  }
  for (i = 0; i < WRITERS; i++)
    assert_null (wrong[i]);
  assert_true (extents_count (w.e) <= 32);
  extents_destroy (w.e);
}

RUN_TESTS ()
