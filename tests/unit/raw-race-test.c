/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: threads that write, zero and ask at once, or have it asked by reading: a
 * hole is never reported where a write has been.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "fs/raw/raw-impl.h"
#include "fs/raw/raw.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/seed.h"
#include "tests/unit/map-run.h"
#include "tests/unit/test.h"

#define THREADS 4
#define BLOCKS 32u
#define BLOCK 4096u

struct bench {
  struct env env;
  struct fake_store *fake;
  struct fs *fs;
  pthread_mutex_t loop; /* one thread at a time is the loop's */
};

struct worker {
  pthread_t thread;
  struct bench *b;
  struct rng rng;
  uint64_t base;
};

static int
write_block (struct worker *w, uint64_t offset)
{
  static uint8_t data[BLOCK] = { 1 };
  struct bench *b = w->b;
  struct iovec iov = { data, BLOCK };
  struct store_req req = {
    .op = STORE_WRITE, .offset = offset, .length = BLOCK, .iov = &iov, .niov = 1
  };
  int r;

  pthread_mutex_lock (&b->loop);
  b->fs->ops->take (b->fs);
  r = map_run (b->fs, b->fs->ops, offset, BLOCK);
  pthread_mutex_unlock (&b->loop);
  if (r < 0)
    return -1;
  r = store_submit_wait (&b->fake->store, &req);
  run_done (b->fs, b->fs->ops, offset, BLOCK, r);
  return r;
}

static void
flushed (struct store_req *req, int error)
{
  (void) req;
  (void) error;
}

/* Zero it, and have the store do so; perhaps for good. */
static int
zero_block (struct worker *w, uint64_t offset, bool keep)
{
  struct iomap_range range = { .start = offset, .end = offset + BLOCK };
  struct fs *fs = w->b->fs;
  uint64_t ticket;
  int r = fs->ops->zero (fs, &range, keep);

  if (r < 0)
    return r;
  fs->ops->zero_end (fs, &range);
  pthread_mutex_lock (&w->b->loop);
  do {
    ticket = fs->ops->settle (fs, offset, offset + BLOCK);
    fs->ops->step (fs, 0);
    fs->ops->step (fs, 0);
    r = fs->ops->settled (fs, offset, offset + BLOCK, ticket);
  } while (r == -EAGAIN || r == -EIO);
  if (rng_chance (&w->rng, 70))
    fs->ops->flush (fs, &(struct store_req) { .done = flushed });
  pthread_mutex_unlock (&w->b->loop);
  return r;
}

/* What is called a hole, or unwritten, must be zero.  All reads of what is not
 * known have it asked: no pause is made.
 */
static int
check_block (struct worker *w, uint64_t offset)
{
  struct bench *b = w->b;
  struct iomap iomap;
  uint8_t first;

  /* Until it is flushed, memory has what was written over a zero. */
  if (b->fs->ops->unsettled (b->fs, offset, offset + BLOCK))
    return 0;
  atomic_store (&((struct raw *) b->fs)->lookahead.pause, 0);
  if (b->fs->ops->begin (b->fs, offset, BLOCK,
                         rng_chance (&w->rng, 50) ? IOMAP_REPORT : 0,
                         &iomap) < 0)
    return -1;
  if (iomap.type == IOMAP_MAPPED)
    return 0;
  fake_store_peek (b->fake, offset, &first, 1);
  return first;
}

/* Each works on blocks of its own, but learns about those of all. */
static void *
work (void *opaque)
{
  struct worker *w = opaque;
  uint64_t offset;
  int i, r = 0;

  for (i = 0; i < 3000 && r == 0; i++) {
    offset = w->base + rng_below (&w->rng, BLOCKS) * BLOCK;
    switch (rng_below (&w->rng, 8)) {
    case 0: r = zero_block (w, offset, true); break;
    case 1: r = zero_block (w, offset, false); break;
    case 4:
      extents_forget (((struct raw *) w->b->fs)->extents, offset, BLOCK);
      break;
    case 2:
    case 3: r = write_block (w, offset); break;
    default: r = check_block (w, offset);
    }
  }
  return r == 0 ? NULL : w;
}

/* An answer is old by the time it is given. */
static void
let_others_go_first (struct fake_store *fake, void *opaque)
{
  int i;

  (void) fake;
  (void) opaque;
  for (i = 0; i < 20; i++)
    sched_yield ();
}

static void *
ask (void *opaque)
{
  struct fs *fs = opaque;

  fs->ops->work (fs);
  return NULL;
}

TEST (no_hole_is_reported_where_data_is)
{
  struct rng rng = test_rng ("no_hole_is_reported_where_data_is");
  struct worker workers[THREADS];
  pthread_t asker;
  struct bench b;
  void *wrong;
  unsigned i;

  env_init (&b.env);
  pthread_mutex_init (&b.loop, NULL);
  b.fake = fake_store_create (&b.env, THREADS * BLOCKS * BLOCK);
  fake_store_set_status (b.fake, 0, THREADS * BLOCKS * BLOCK, STORE_HOLE);
  b.fake->status_hook = let_others_go_first;
  assert_int_equal (raw_open (&b.fake->store, &b.fs), 0);
  for (i = 0; i < 60; i++)
    fake_store_fail (
      b.fake, &(struct fake_rule) {
                .op = STORE_ZERO, .error = -EIO, .skip = i * 20, .count = 5 });
  assert_int_equal (pthread_create (&asker, NULL, ask, b.fs), 0);
  for (i = 0; i < THREADS; i++) {
    workers[i] = (struct worker) { .b = &b,
                                   .rng = { rng_next (&rng) },
                                   .base = i * BLOCKS * BLOCK };
    assert_int_equal (
      pthread_create (&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (i = 0; i < THREADS; i++) {
    pthread_join (workers[i].thread, &wrong);
    assert_null (wrong);
  }
  b.fs->ops->stop_work (b.fs);
  pthread_join (asker, NULL);
  b.fs->ops->close (b.fs);
  b.fake->store.ops->close (&b.fake->store);
}

RUN_TESTS ()
