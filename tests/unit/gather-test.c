/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Dirty runs that lie apart are written as one where the format can place them one
 * behind the other: how many, which not, and what becomes of them when that fails.
 * The format here puts all that is written back behind each other in the upper half
 * of the store.
 */

#include <errno.h>
#include <string.h>

#include "cache-fixture.h"

#define UPPER (8 * MiB)

static struct {
  struct fixture *f;
  uint64_t next;          /* where the next place is */
  uint64_t most;          /* bytes of a place; 0: all */
  uint64_t here;          /* what is said of the page there: IOMAP_HERE */
  _Atomic uint64_t later; /* and there: -EAGAIN */
  _Atomic unsigned asked; /* about that */
  uint64_t to[UPPER / PAGE_SIZE]; /* where each page of the disk went */
  _Atomic uint64_t mapped, ended;
} placed;

static uint64_t
bytes_of (const struct iomap_run *runs, unsigned n)
{
  uint64_t bytes = 0;

  for (; n > 0; n--, runs++)
    bytes += runs->end - runs->start;
  return bytes;
}

static int
map (struct fs *fs, const struct iomap_run *runs, unsigned n,
     struct iomap_place *place)
{
  uint64_t length = bytes_of (runs, n), at = 0, pos;
  unsigned i;

  (void) fs;
  if (placed.most > 0)
    length = min_u64 (length, placed.most);
  *place = (struct iomap_place) { .addr = placed.next, .length = length };
  for (i = 0; i < n; i++) {
    assert_true (i == 0 || runs[i - 1].end <= runs[i].start);
    for (pos = runs[i].start; pos < runs[i].end && at < length; pos += PAGE) {
      placed.to[pos / PAGE] = placed.next + at;
      at += PAGE;
    }
  }
  placed.next += length;
  atomic_fetch_add (&placed.mapped, length);
  return 0;
}

static void
done (struct fs *fs, const struct iomap_run *runs, unsigned n,
      const struct iomap_place *place, int error)
{
  (void) fs;
  (void) error;
  assert_true (bytes_of (runs, n) == place->length);
  atomic_fetch_add (&placed.ended, place->length);
}

static int
survey (struct fs *fs, uint64_t pos, uint64_t *length)
{
  (void) fs;
  *length = min_u64 (*length, PAGE - pos % PAGE);
  if (pos == placed.later) {
    atomic_fetch_add (&placed.asked, 1);
    return -EAGAIN;
  }
  return pos == placed.here ? IOMAP_HERE : IOMAP_ANYWHERE;
}

static bool no_loop; /* the test makes write-back's steps */

static struct fixture *
start (unsigned max_runs)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .max_runs = max_runs,
                                              .no_loop = no_loop,
                                              .min_io = PAGE_SIZE,
                                              .small_folios = true });

  memset (&placed, 0, sizeof placed);
  placed.f = f;
  placed.next = UPPER;
  placed.here = UINT64_MAX;
  placed.later = UINT64_MAX;
  f->ops.map_for_writeback = map;
  f->ops.ioend_done = done;
  return f;
}

static void
stop (struct fixture *f)
{
  assert_true (atomic_load (&placed.mapped) == atomic_load (&placed.ended));
  check_flushed (f);
  fixture_stop (f);
}

/* Write every other page of n, each of its own version. */
static void
put_apart (struct fixture *f, unsigned n)
{
  unsigned i;

  for (i = 0; i < n; i++)
    put (f, 2 * i * PAGE, PAGE, i);
}

static void
expect_placed (struct fixture *f, unsigned n)
{
  uint8_t want[PAGE_SIZE], got[PAGE_SIZE];
  unsigned i;

  for (i = 0; i < n; i++) {
    fill_pattern (want, PAGE, 2 * i * PAGE, i);
    fake_store_peek (f->fake, placed.to[2 * i], got, PAGE);
    assert_memory_equal (got, want, PAGE);
  }
}

static unsigned
writes (struct fixture *f)
{
  return fake_store_count (f->fake, STORE_WRITE);
}

/* All in one, in order of their place. */
TEST_WITH (together, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  unsigned i;

  put_apart (f, 64);
  flush_ok (f, 0);
  assert_int_equal (writes (f), 1);
  for (i = 0; i < 64; i++)
    assert_true (placed.to[2 * i] == UPPER + i * PAGE);
  expect_placed (f, 64);
}

/* In as many as it takes. */
TEST_WITH (limits, struct fixture *f, start (10), stop)
{
  unsigned i;

  put_apart (f, 64);
  flush_ok (f, 0);
  assert_int_equal (writes (f), 7);
  expect_placed (f, 64);
  /* Of more than the store takes at once. */
  fake_store_clear (f->fake);
  put (f, 0, 4 * MiB, 1);
  flush_ok (f, 0);
  for (i = 0; i < writes (f); i++)
    assert_true (nth_request (f, STORE_WRITE, i).length <= 1 * MiB);
}

/* One whose place is given goes there alone. */
TEST_WITH (here, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  f->ops.survey = survey;
  placed.here = 20 * PAGE;
  put_apart (f, 20);
  flush_ok (f, 0);
  assert_int_equal (writes (f), 3);
  assert_true (nth_request (f, STORE_WRITE, 0).length == 10 * PAGE);
  assert_true (nth_request (f, STORE_WRITE, 1).length == PAGE);
  assert_true (nth_request (f, STORE_WRITE, 2).length == 9 * PAGE);
  expect_placed (f, 20);
}

/* One that has no place yet keeps no other back; and the sync waits for it. */
TEST_WITH (later, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  struct job job = { .op = JOB_FLUSH };
  unsigned seen;

  f->ops.survey = survey;
  placed.later = 20 * PAGE;
  put_apart (f, 20);
  job_start (f, 0, &job);
  UNTIL (writes (f) == 1);
  seen = atomic_load (&placed.asked);
  fs_ring (f->fs);
  UNTIL (atomic_load (&placed.asked) > seen);
  assert_false (atomic_load (&job.done));
  assert_true (page_masks (f, 20) & 0xff << STATE_DIRTY_SHIFT);
  placed.later = UINT64_MAX;
  fs_ring (f->fs);
  assert_int_equal (job_join (&job), 0);
  assert_int_equal (writes (f), 2);
  expect_placed (f, 20);
}

/* A place for a part of one of them: the rest follows. */
TEST_WITH (part, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  put (f, 0, 3 * PAGE, 0);
  put (f, 4 * PAGE, 3 * PAGE, 0);
  put (f, 8 * PAGE, 3 * PAGE, 0);
  placed.most = 5 * PAGE;
  flush_ok (f, 0);
  assert_int_equal (writes (f), 2);
  assert_true (placed.to[5] == UPPER + 4 * PAGE);
  assert_true (placed.to[6] == UPPER + 5 * PAGE);
  assert_true (placed.to[10] == UPPER + 8 * PAGE);
}

/* A sync of one page waits for the write that has it among others. */
TEST_WITH (sync_of_one, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  struct job all = { .op = JOB_FLUSH };
  struct sync_req one = { .start = 8 * PAGE, .end = 9 * PAGE };

  put_apart (f, 20);
  job_start_held (f, 0, &all, STORE_WRITE);
  inbox_queue (&f->mapping->inbox, &one);
  /* One that comes later, and has nothing to wait for. */
  assert_int_equal (inbox_sync (&f->mapping->inbox, 9 * PAGE, 10 * PAGE, false),
                    0);
  assert_int_equal (atomic_load (&one.done.word), 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  completion_wait (&f->env, &one.done);
  assert_int_equal (job_join (&all), 0);
}

static const struct fake_rule one_failure = {
  .op = STORE_WRITE,
  .offset = UPPER,
  .length = 8 * MiB,
  .error = -EIO,
  .count = 1,
};

/* If it fails all of them are kept, and tried alone. */
TEST_WITH (failure, struct fixture *f, start (IOMAP_MAX_RUNS), stop)
{
  unsigned i;

  put_apart (f, 20);
  fake_store_fail (f->fake, &one_failure);
  assert_int_equal (cache_flush (f->conn), -EIO);
  for (i = 0; i < 20; i++)
    expect (f, 2 * i * PAGE, PAGE, i);
  UNTIL (writes (f) >= 21);
  for (i = 1; i < 21; i++)
    assert_true (nth_request (f, STORE_WRITE, i).length == PAGE);
  flush_ok (f, 0);
  expect_placed (f, 20);
}

/* Who wanted only one of them is not told before that one has failed alone. */
TEST (failure_of_another)
{
  struct sync_req all = { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  struct sync_req one = { .start = 8 * PAGE,
                          .end = 9 * PAGE,
                          .kind = SYNC_FLUSH };
  struct sync_req none = { .start = 9 * PAGE,
                           .end = 10 * PAGE,
                           .kind = SYNC_FLUSH };
  struct fixture *f;

  no_loop = true;
  f = start (IOMAP_MAX_RUNS);
  no_loop = false;
  put_apart (f, 20);
  fake_store_fail (f->fake, &one_failure);
  fake_store_hold (f->fake, STORE_WRITE);
  inbox_queue (&f->mapping->inbox, &all);
  while (writes (f) == 0)
    writeback_step (&f->mapping->wb);
  inbox_queue (&f->mapping->inbox, &one);
  inbox_queue (&f->mapping->inbox, &none);
  while (one.state != SYNC_DRAINING)
    writeback_step (&f->mapping->wb);
  fake_store_unhold (f->fake, STORE_WRITE);
  while (!atomic_load (&all.done.word) || !atomic_load (&one.done.word) ||
         !atomic_load (&none.done.word))
    writeback_step (&f->mapping->wb);
  assert_int_equal (all.error, -EIO);
  assert_int_equal (one.error, 0);
  assert_int_equal (none.error, 0);
  while (writeback_step (&f->mapping->wb) || !writeback_idle (&f->mapping->wb))
    ;
  fixture_stop (f);
}

RUN_TESTS ()
