/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the cache owes a mapping format.  It does something by itself, on the loop
 * thread: its life from attach to detach, what wakes it, what it is told of, and
 * flushes before which it has the store do something.  And it hears of the begin
 * and end of direct writes.
 */

#include <errno.h>
#include <string.h>

#include "cache-fixture.h"

/* What the fs has seen. */
struct life {
  struct fixture *f;
  const struct iomap_ops *raw;
  _Atomic unsigned steps, losses, retries, detached;
  _Atomic uint64_t due;
  uint64_t lost; /* what it was told last */
  _Atomic bool busy;
  uint64_t expire;
  pthread_t attached_by;
  _Atomic unsigned
    inside; /* calls that only the loop thread makes, or who takes
                            * its place */
  bool works;
  pthread_t worker; /* which rings: detach waits for it */

  /* A flush: first a zero, then the store's. */
  struct store_req zero, *flush;
  _Atomic int zero_done; /* 1, or a negative errno */
};

static struct life life;

/* Never two at once. */
static void
enter (void)
{
  assert_int_equal (atomic_fetch_add (&life.inside, 1), 0);
}

static void
leave (void)
{
  atomic_fetch_sub (&life.inside, 1);
}

static int
attach (struct fs *fs, uint64_t expire)
{
  (void) fs;
  assert_int_equal (atomic_load (&life.steps), 0);
  life.expire = expire;
  life.attached_by = pthread_self ();
  return 0;
}

static void
detach (struct fs *fs)
{
  (void) fs;
  assert_false (atomic_load (&life.busy));
  atomic_fetch_add (&life.detached, 1);
  if (life.works)
    pthread_join (life.worker, NULL);
}

static bool
idle (struct fs *fs)
{
  (void) fs;
  return !atomic_load (&life.busy);
}

static uint64_t
deadline (struct fs *fs)
{
  (void) fs;
  return atomic_load (&life.due);
}

/* The second half of a flush. */
static bool
go_on (struct fs *fs)
{
  struct store_req *req = life.flush;
  int zeroed = atomic_exchange (&life.zero_done, 0);

  if (zeroed == 0)
    return false;
  life.flush = NULL;
  if (zeroed < 0)
    req->done (req, zeroed);
  else
    life.raw->flush (fs, req);
  return true;
}

static bool
step (struct fs *fs, uint64_t now)
{
  bool more;

  enter ();
  if (now >= atomic_load (&life.due))
    atomic_store (&life.due, ENV_FOREVER);
  atomic_fetch_add (&life.steps, 1);
  more = go_on (fs);
  leave ();
  return more;
}

static void
zeroed (struct store_req *req, int error)
{
  (void) req;
  atomic_store (&life.zero_done, error ? error : 1);
  fs_ring (life.f->fs);
}

static void
flush (struct fs *fs, struct store_req *req)
{
  struct store_req *reqs[] = { &life.zero };

  enter ();
  assert_null (life.flush);
  life.flush = req;
  life.zero = (struct store_req) {
    .op = STORE_ZERO,
    .length = 4096,
    .done = zeroed,
  };
  fs->store->ops->submit (fs->store, reqs, 1);
  leave ();
}

static void
lost (struct fs *fs, uint64_t losses)
{
  (void) fs;
  enter ();
  life.lost = losses;
  atomic_fetch_add (&life.losses, 1);
  leave ();
}

static void
retry (struct fs *fs)
{
  (void) fs;
  enter ();
  atomic_fetch_add (&life.retries, 1);
  leave ();
}

static struct fixture *
start (void)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .no_loop = true });

  life = (struct life) { .f = f, .raw = f->raw_ops, .due = ENV_FOREVER };
  f->ops.attach = attach;
  f->ops.detach = detach;
  f->ops.step = step;
  f->ops.deadline = deadline;
  f->ops.idle = idle;
  f->ops.lost = lost;
  f->ops.retry = retry;
  assert_int_equal (mapping_start (f->mapping), 0);
  return f;
}

static void
stop (struct fixture *f)
{
  fixture_stop (f);
  assert_int_equal (atomic_load (&life.detached), 1);
}

#define LIFE_TEST(name) TEST_WITH (name, struct fixture *f, start (), stop)

LIFE_TEST (attach)
{
  assert_true (pthread_equal (life.attached_by, pthread_self ()));
  assert_true (life.expire == 600 * NSEC_PER_SEC);
  UNTIL (atomic_load (&life.steps) > 0);
}

static int
refuse (struct fs *fs, uint64_t expire)
{
  (void) fs;
  (void) expire;
  return -EMFILE;
}

CACHE_TEST (attach_fails, .no_loop = true)
{
  f->ops.attach = refuse;
  assert_int_equal (mapping_start (f->mapping), -EMFILE);
}

/* Rung for by any thread; each ring has a step after it. */
LIFE_TEST (bell)
{
  unsigned i, seen;

  for (i = 0; i < 100; i++) {
    seen = atomic_load (&life.steps);
    fs_ring (f->fs);
    UNTIL (atomic_load (&life.steps) != seen);
  }
}

/* At its deadline, though nothing else is to be done. */
LIFE_TEST (deadline)
{
  uint64_t due = f->env.now (&f->env) + 20 * NSEC_PER_MSEC;

  atomic_store (&life.due, due);
  fs_ring (f->fs);
  UNTIL (atomic_load (&life.due) == ENV_FOREVER);
  assert_true (f->env.now (&f->env) >= due);
}

static void *
end_work (void *opaque)
{
  struct fixture *f = opaque;
  unsigned seen = atomic_load (&life.steps);

  /* The loop still turns. */
  fs_ring (f->fs);
  UNTIL (atomic_load (&life.steps) != seen);
  assert_int_equal (atomic_load (&life.detached), 0);
  atomic_store (&life.busy, false);
  fs_ring (f->fs);
  return NULL;
}

/* It is not detached before it is idle. */
LIFE_TEST (idle)
{
  atomic_store (&life.busy, true);
  life.works = true;
  assert_int_equal (pthread_create (&life.worker, NULL, end_work, f), 0);
}

/* Told of each loss once; and of it before a flush that may begin after it. */
LIFE_TEST (lost)
{
  struct job job = { .op = JOB_FLUSH };

  put (f, 0, 8192, 1);
  job_start_held (f, 0, &job, STORE_FLUSH);
  fake_store_lose (f->fake, 0);
  UNTIL (atomic_load (&life.losses) == 1);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
  job_let_go (f, &job, STORE_FLUSH);
  assert_int_equal (atomic_load (&life.losses), 1);
  fake_store_lose (f->fake, 0);
  flush_ok (f, 0);
  assert_int_equal (atomic_load (&life.losses), 2);
}

/* A flush that fails is one, of all that was not flushed. */
LIFE_TEST (lost_by_failure)
{
  put (f, 0, 8192, 1);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (atomic_load (&life.losses), 1);
  assert_true (life.lost == LOST_ALL);
}

LIFE_TEST (retry)
{
  fake_store_back (f->fake);
  UNTIL (atomic_load (&life.retries) == 1);
  assert_int_equal (atomic_load (&life.losses), 0);
}

/* A flush is over when what the fs sends first is, and then the store's. */
LIFE_TEST (flush)
{
  struct job job = { .op = JOB_FLUSH };

  f->ops.flush = flush;
  put (f, 1 * MiB, 4096, 1);
  job_start_held (f, 0, &job, STORE_ZERO);
  /* Meanwhile all else goes on. */
  put (f, 2 * MiB, 4096, 1);
  expect (f, 1 * MiB, 4096, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  assert_false (atomic_load (&job.done));
  fake_store_hold (f->fake, STORE_FLUSH);
  fake_store_unhold (f->fake, STORE_ZERO);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_false (atomic_load (&job.done));
  job_let_go (f, &job, STORE_FLUSH);
}

/* If that fails so does the flush, and nothing is taken to be durable. */
LIFE_TEST (flush_fails)
{
  f->ops.flush = flush;
  put (f, 1 * MiB, 4096, 1);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  assert_int_not_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
  flush_ok (f, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 2);
  check_flushed (f);
}

/* A loss between the two: all is done again, the fs's part, too. */
LIFE_TEST (flush_loses)
{
  struct job job = { .op = JOB_FLUSH };

  f->ops.flush = flush;
  put (f, 1 * MiB, 4096, 1);
  job_start_held (f, 0, &job, STORE_ZERO);
  fake_store_lose (f->fake, 0);
  job_let_go (f, &job, STORE_ZERO);
  assert_int_equal (atomic_load (&life.losses), 1);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 2);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 2);
  store_expect (f, 1 * MiB, 4096, 1);
}

/* --- direct writes --- */

/* What begin and end were told of direct writes. */
static struct {
  _Atomic unsigned begun, ended;
  uint64_t begin_pos, begin_length, end_pos, end_length, written;
  unsigned writes; /* of the store, when it ended */
  struct fixture *f;
} told;

static int
telling_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
               struct iomap *iomap)
{
  if (flags & IOMAP_WRITE && flags & IOMAP_DIRECT) {
    assert_int_equal (atomic_load (&told.begun), atomic_load (&told.ended));
    atomic_fetch_add (&told.begun, 1);
    told.begin_pos = pos;
    told.begin_length = length;
  }
  return told.f->raw_ops->begin (fs, pos, length, flags, iomap);
}

static int
telling_end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
             unsigned flags, const struct iomap *iomap)
{
  if (flags & IOMAP_WRITE && flags & IOMAP_DIRECT) {
    atomic_fetch_add (&told.ended, 1);
    told.end_pos = pos;
    told.end_length = length;
    told.written = written;
    told.writes = fake_store_count (told.f->fake, STORE_WRITE);
  }
  return told.f->raw_ops->end (fs, pos, length, written, flags, iomap);
}

/* A direct write begins and ends like all others, and the format hears whether
 * the store has it.
 */
FIXTURE_TEST (begin_and_end,
              fixture_start (&(struct fixture_config) { .mode = CACHE_NONE }))
{
  memset (&told, 0, sizeof told);
  told.f = f;
  f->ops.begin = telling_begin;
  f->ops.end = telling_end;
  put (f, 4 * 4096, 3 * 4096, 1);
  assert_int_equal (atomic_load (&told.begun), 1);
  assert_int_equal (atomic_load (&told.ended), 1);
  assert_int_equal (told.begin_pos, 4 * 4096);
  assert_int_equal (told.begin_length, 3 * 4096);
  assert_int_equal (told.end_pos, 4 * 4096);
  assert_int_equal (told.end_length, 3 * 4096);
  assert_int_equal (told.written, 3 * 4096);
  assert_int_equal (told.writes, 1);

  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 8 * 4096, 4096, 2, 0), -EIO);
  assert_int_equal (atomic_load (&told.ended), 2);
  assert_int_equal (told.end_pos, 8 * 4096);
  assert_int_equal (told.written, 0);
}

RUN_TESTS ()
