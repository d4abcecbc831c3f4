/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: what is asked of the store for readers that never ask for a report.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "fs/raw/raw-impl.h"
#include "raw-bench.h"
#include "tests/unit/map-run.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define KIB (UINT64_C (1) << 10)

struct ahead {
  struct bench *b;
  pthread_t thread;
  struct completion asked, go; /* if hung: a question is out; it is answered */
  _Atomic unsigned out, most;  /* questions at once */
};

static struct lookahead *
lookahead_of (struct ahead *a)
{
  return &((struct raw *) a->b->fs)->lookahead;
}

static void *
work (void *opaque)
{
  struct fs *fs = opaque;

  fs->ops->work (fs);
  return NULL;
}

/* Until it has looked at all hints, and wants another. */
static void
settle (struct ahead *a)
{
  struct lookahead *la = lookahead_of (a);

  while (atomic_load (&la->word) != LOOKAHEAD_ASLEEP ||
         atomic_load (&la->hint) != NOWHERE)
    sched_yield ();
}

static void
start_work (struct ahead *a)
{
  assert_int_equal (pthread_create (&a->thread, NULL, work, a->b->fs), 0);
}

static void
start (struct ahead *a)
{
  bench_start (a->b);
  start_work (a);
  settle (a);
}

static void
stop (struct ahead *a)
{
  a->b->fs->ops->stop_work (a->b->fs);
  pthread_join (a->thread, NULL);
}

static void
end (struct ahead *a)
{
  stop (a);
  bench_close (a->b);
}

static unsigned
asked (struct ahead *a)
{
  return fake_store_status_count (a->b->fake);
}

/* Read length bytes from pos on.  Returns how many of them from the store. */
static uint64_t
read_range (struct ahead *a, uint64_t pos, uint64_t length)
{
  const struct iomap_ops *ops = a->b->fs->ops;
  uint64_t end = pos + length, stop, read = 0;
  struct iomap iomap;

  for (; pos < end; pos = stop) {
    assert_int_equal (ops->begin (a->b->fs, pos, end - pos, 0, &iomap), 0);
    stop = iomap.offset + iomap.length;
    stop = stop < end ? stop : end;
    read += iomap.type == IOMAP_MAPPED ? stop - pos : 0;
  }
  settle (a);
  return read;
}

static uint64_t
read_in_order (struct ahead *a, uint64_t pos, uint64_t end)
{
  uint64_t read = 0;

  for (; pos < end; pos += 128 * KIB)
    read += read_range (a, pos, 128 * KIB);
  return read;
}

static void
set_data (struct ahead *a, uint64_t step, uint64_t length)
{
  uint64_t pos, size = a->b->fake->store.geo.size;

  for (pos = 0; pos < size; pos += step)
    fake_store_set_status (a->b->fake, pos, length, STORE_DATA);
}

/* A question takes as long as the test wants. */
static void
hang (struct fake_store *fake, void *opaque)
{
  struct ahead *a = opaque;
  unsigned out = atomic_fetch_add (&a->out, 1) + 1;

  (void) fake;
  if (out > atomic_load (&a->most))
    atomic_store (&a->most, out);
  completion_signal (&a->b->env, &a->asked);
  completion_wait (&a->b->env, &a->go);
  atomic_fetch_sub (&a->out, 1);
}

static void
open_hanging (struct ahead *a)
{
  *a = (struct ahead) { 0 };
  a->b = bench_open (GIB);
  a->b->fake->status_hook = hang;
  a->b->fake->status_opaque = a;
  start (a);
}

TEST (a_read_does_not_wait_for_it)
{
  struct ahead a;
  uint64_t pos;

  open_hanging (&a);
  mapped (a.b, 8192, 4096, 0, IOMAP_MAPPED, 4096);
  completion_wait (&a.b->env, &a.asked);
  for (pos = 0; pos < 64 * MIB; pos += MIB)
    mapped (a.b, pos, 4096, 0, IOMAP_MAPPED, 4096);
  completion_signal (&a.b->env, &a.go);
  settle (&a);
  mapped (a.b, 8192, 4096, 0, IOMAP_HOLE, RAW_MIN_WINDOW);
  assert_int_equal (atomic_load (&a.most), 1);
  assert_in_range (asked (&a), 1, 2);
  end (&a);
}

/* A hint that was left meanwhile may be of no use any more. */
TEST (what_became_known_meanwhile_is_not_asked)
{
  struct ahead a;

  open_hanging (&a);
  mapped (a.b, 0, 4096, 0, IOMAP_MAPPED, 4096);
  completion_wait (&a.b->env, &a.asked);
  mapped (a.b, 64 * KIB, 4096, 0, IOMAP_MAPPED, 4096);
  completion_signal (&a.b->env, &a.go);
  settle (&a);
  mapped (a.b, 64 * KIB, 4096, 0, IOMAP_HOLE, RAW_MIN_WINDOW - 64 * KIB);
  assert_int_equal (asked (&a), 1);
  end (&a);
}

/* Readahead leaves hints as well, and reads past the cache. */
TEST (all_reads_have_it_asked)
{
  static const unsigned flags[] = { IOMAP_NOWAIT, IOMAP_DIRECT };
  struct ahead a;
  unsigned i;

  for (i = 0; i < 2; i++) {
    a = (struct ahead) { 0 };
    a.b = bench_open (GIB);
    start (&a);
    mapped (a.b, MIB, 4096, flags[i], IOMAP_MAPPED, 4096);
    settle (&a);
    mapped (a.b, MIB, 4096, flags[i], IOMAP_HOLE, RAW_MIN_WINDOW);
    end (&a);
  }
}

TEST (what_is_known_is_not_asked)
{
  unsigned before;
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  set_data (&a, 4 * MIB, MIB);
  start (&a);
  bench_learn (a.b);
  before = asked (&a);
  read_in_order (&a, 0, GIB);
  assert_int_equal (asked (&a), before);
  end (&a);
}

TEST (a_store_that_knows_nothing_is_not_asked)
{
  struct ahead a = { 0 };

  a.b = bench_open (64 * MIB);
  a.b->fake->store.geo.can_extents = false;
  bench_start (a.b);
  start_work (&a);
  pthread_join (a.thread, NULL); /* without being told */
  mapped (a.b, 0, 64 * MIB, 0, IOMAP_MAPPED, 64 * MIB);
  a.b->fs->ops->stop_work (a.b->fs);
  assert_int_equal (asked (&a), 0);
  bench_close (a.b);
}

/* Without the thread a hint goes nowhere; it may be started again. */
TEST (a_thread_may_follow_another)
{
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  start (&a);
  stop (&a);
  mapped (a.b, MIB, 4096, 0, IOMAP_MAPPED, 4096);
  assert_int_equal (asked (&a), 0);
  start_work (&a);
  settle (&a);
  assert_int_equal (read_range (&a, MIB, 4096), 4096);
  assert_int_equal (asked (&a), 1);
  end (&a);
}

TEST (an_empty_disk_is_hardly_read)
{
  struct ahead a = { 0 };

  a.b = bench_open (16 * GIB);
  start (&a);
  assert_true (read_in_order (&a, 0, 16 * GIB) < 4 * MIB);
  assert_true (asked (&a) <= 12);
  end (&a);
}

/* Data that comes first does not hide holes for long. */
TEST (holes_behind_data_are_found)
{
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  fake_store_set_status (a.b->fake, 0, 100 * MIB, STORE_DATA);
  start (&a);
  assert_true (read_in_order (&a, 0, GIB) < 104 * MIB);
  assert_true (asked (&a) <= 8);
  end (&a);
}

TEST (a_full_disk_is_hardly_asked_about)
{
  struct rng rng = test_rng ("a_full_disk_is_hardly_asked_about");
  struct ahead a = { 0 };
  unsigned i;

  a.b = bench_open (16 * GIB);
  set_data (&a, 16 * GIB, 16 * GIB);
  start (&a);
  for (i = 0; i < 10000; i++)
    read_range (&a, rng_below (&rng, 16 * GIB / 4096) * 4096, 4096);
  assert_true (asked (&a) <= 20);
  read_in_order (&a, 0, 16 * GIB);
  assert_true (asked (&a) <= 40);
  end (&a);
}

/* Holes that are worth it are skipped by who reads in order ... */
TEST (a_fragmented_disk_is_asked_about_in_order)
{
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  set_data (&a, 128 * KIB, 4 * KIB);
  start (&a);
  assert_true (read_in_order (&a, 0, GIB) < GIB / 8);
  assert_true (asked (&a) < GIB / (8 * MIB));
  end (&a);
}

/* ... and hardly asked for when reads jump, or when they are small. */
TEST (asking_in_vain_gets_rare)
{
  static const uint64_t steps[] = { 128 * KIB, 8 * KIB };
  struct rng rng = test_rng ("asking_in_vain_gets_rare");
  unsigned i, j, early;

  for (i = 0; i < 2; i++) {
    struct ahead a = { 0 };

    a.b = bench_open (GIB);
    set_data (&a, steps[i], 4 * KIB);
    start (&a);
    for (j = 0, early = 0; j < 10000; j++) {
      read_range (&a, rng_below (&rng, GIB / steps[i]) * steps[i], 4096);
      early = j == 40 ? asked (&a) : early;
    }
    assert_in_range (early, 1, 4);
    assert_in_range (asked (&a), early + 1, 60);
    end (&a);
  }
}

TEST (small_holes_are_hardly_asked_for_in_order)
{
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  set_data (&a, 8 * KIB, 4 * KIB);
  start (&a);
  assert_true (read_in_order (&a, 0, GIB) > GIB - 4 * MIB);
  assert_in_range (asked (&a), 2, 20);
  end (&a);
}

/* A store that fails, or whose answers can't be kept, is not pestered. */
TEST (errors_make_it_ask_less)
{
  struct ahead a = { 0 };

  a.b = bench_open (GIB);
  start (&a);
  fake_store_fail_status (a.b->fake, -EIO);
  assert_int_equal (read_in_order (&a, 0, GIB), GIB);
  assert_in_range (asked (&a), 2, 40);
  fake_store_fail_status (a.b->fake, 0);
  assert_true (read_in_order (&a, 0, GIB) < GIB / 8);
  end (&a);
}

static void *
stop_job (void *opaque)
{
  stop (opaque);
  return NULL;
}

/* It ends when the question does, with what is answered, and no hint starts
 * another.
 */
TEST (it_ends_while_a_question_hangs)
{
  pthread_t thread;
  struct ahead a;

  open_hanging (&a);
  mapped (a.b, 0, 4096, 0, IOMAP_MAPPED, 4096);
  completion_wait (&a.b->env, &a.asked);
  mapped (a.b, 512 * MIB, 4096, 0, IOMAP_MAPPED, 4096);
  assert_int_equal (pthread_create (&thread, NULL, stop_job, &a), 0);
  while (atomic_load (&lookahead_of (&a)->word) != LOOKAHEAD_STOP)
    sched_yield ();
  mapped (a.b, 768 * MIB, 4096, 0, IOMAP_MAPPED, 4096);
  completion_signal (&a.b->env, &a.go);
  pthread_join (thread, NULL);
  assert_int_equal (asked (&a), 1);
  mapped (a.b, 0, 4096, 0, IOMAP_HOLE, RAW_MIN_WINDOW);
  bench_close (a.b);
}

/* What is written while the question is out is not taken for the hole that it
 * was when the store looked.
 */
TEST (a_write_meanwhile_is_no_hole)
{
  struct ahead a;

  open_hanging (&a);
  mapped (a.b, 0, 4096, 0, IOMAP_MAPPED, 4096);
  completion_wait (&a.b->env, &a.asked);
  writeback (a.b, 64 * KIB, 4096);
  writeback_begin (a.b, 128 * KIB, 4096);
  completion_signal (&a.b->env, &a.go);
  settle (&a);
  mapped (a.b, 0, 4096, 0, IOMAP_HOLE, 64 * KIB);
  mapped (a.b, 64 * KIB, 4096, 0, IOMAP_MAPPED, 4096);
  mapped (a.b, 128 * KIB, 4096, 0, IOMAP_MAPPED, 4096);
  run_done (a.b->fs, a.b->fs->ops, 128 * KIB, 4096, 0);
  end (&a);
}

/* A mapping that was given out before holds: reading zeroes is right as well. */
TEST (an_answer_makes_no_mapping_invalid)
{
  struct iomap before;
  struct ahead a;

  open_hanging (&a);
  before = mapped (a.b, 0, 4096, 0, IOMAP_MAPPED, 4096);
  completion_signal (&a.b->env, &a.go);
  settle (&a);
  mapped (a.b, 0, 4096, 0, IOMAP_HOLE, RAW_MIN_WINDOW);
  assert_true (valid (a.b, &before));
  end (&a);
}

RUN_TESTS ()
