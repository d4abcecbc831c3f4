/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back asks the format for a place for what it has taken, no more, and tells
 * it what became of each; the format may have no place yet, none at all, or one
 * for a part.
 */

#include <errno.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"
#include "tests/tools/util.h"

/* A format between write-back and raw. */
static struct {
  struct fixture *f;
  _Atomic uint64_t mapped, ended; /* bytes */
  _Atomic unsigned maps, refused;
  bool zeroes;        /* others zero meanwhile, so what was taken may be gone */
  _Atomic int answer; /* instead of a place; 0: none */
  _Atomic uint64_t most;     /* bytes of a place; 0: all */
  _Atomic int ended_with[4]; /* the last errors */
  _Atomic unsigned ends;
} fs_seen;

/* All of the run is in write-back. */
static void
check_taken (const struct iomap_run *run)
{
  struct mapping *mapping = fs_seen.f->mapping;
  struct folio *folio;
  uint64_t pos, end;
  unsigned first, last;

  for (pos = run->start; pos < run->end; pos = end) {
    folio = index_get (mapping->folios.index, pos >> PAGE_SHIFT);
    assert_non_null (folio);
    end = min_u64 (run->end, folio_end (folio));
    first = (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
    last = (unsigned) ((end - folio_pos (folio)) >> SECTOR_SHIFT);
    assert_int_equal (folio_find_sector (mapping->folios.arena, folio, first,
                                         last, IN_WRITEBACK, false),
                      last);
    folio_put (mapping->folios.arena, folio);
  }
}

static int
map (struct fs *fs, const struct iomap_run *runs, unsigned n,
     struct iomap_place *place)
{
  struct iomap_run run = runs[0];
  uint64_t most = atomic_load (&fs_seen.most);
  int r = atomic_load (&fs_seen.answer);

  assert_int_equal (n, 1);
  if (!fs_seen.zeroes)
    check_taken (&run);
  atomic_fetch_add (&fs_seen.maps, 1);
  if (r < 0) {
    atomic_fetch_add (&fs_seen.refused, 1);
    return r;
  }
  if (most > 0)
    run.end = min_u64 (run.end, run.start + most);
  r = fs_seen.f->raw_ops->map_for_writeback (fs, &run, 1, place);
  if (r < 0)
    return r;
  place->cookie = run.start ^ run.end;
  atomic_fetch_add (&fs_seen.mapped, place->length);
  return r;
}

static void
done (struct fs *fs, const struct iomap_run *runs, unsigned n,
      const struct iomap_place *place, int error)
{
  assert_int_equal (n, 1);
  assert_int_equal (place->addr, runs[0].start);
  assert_int_equal (place->length, runs[0].end - runs[0].start);
  assert_int_equal (place->cookie, runs[0].start ^ runs[0].end);
  if (!fs_seen.zeroes)
    check_taken (runs);
  atomic_fetch_add (&fs_seen.ended, place->length);
  atomic_store (&fs_seen.ended_with[atomic_fetch_add (&fs_seen.ends, 1) % 4],
                error);
  fs_seen.f->raw_ops->ioend_done (fs, runs, n, place, error);
}

static struct fixture *
start (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);

  memset (&fs_seen, 0, sizeof fs_seen);
  fs_seen.f = f;
  f->ops.map_for_writeback = map;
  f->ops.ioend_done = done;
  return f;
}

/* --- no more than was taken --- */

static void *
zero_now_and_then (void *opaque)
{
  struct fixture *f = opaque;
  struct rng rng = test_rng ("zeroes");
  unsigned i;

  for (i = 0; i < 300; i++)
    cache_zero (f->conns[1], PAGE, rng_below (&rng, 64) * PAGE, 0);
  return NULL;
}

FIXTURE_TEST (mapped_is_ended,
              start (&(struct fixture_config) { .dirty_limit = 1 * MiB,
                                                .dirty_background = PAGE }))
{
  struct rng rng = test_rng ("test_mapped_is_ended");
  pthread_t thread;
  unsigned i;

  fs_seen.zeroes = true;
  assert_int_equal (pthread_create (&thread, NULL, zero_now_and_then, f), 0);
  for (i = 0; i < 1000; i++)
    put (f, rng_below (&rng, 512) * 512, (1 + rng_below (&rng, 16)) * 512, i);
  pthread_join (thread, NULL);
  flush_ok (f, 0);
  assert_true (atomic_load (&fs_seen.mapped) > 0);
  assert_true (atomic_load (&fs_seen.mapped) == atomic_load (&fs_seen.ended));
  check_flushed (f);
}

/* --- not yet --- */

/* It waits, and does not fail, and no flush is over before; nor does all else
 * wait with it.
 */
FIXTURE_TEST (not_yet, start (&(struct fixture_config) { 0 }))
{
  struct job job = { .op = JOB_FLUSH };
  unsigned seen;

  put (f, 0, 3 * PAGE, 1);
  atomic_store (&fs_seen.answer, -EAGAIN);
  job_start (f, 0, &job);
  UNTIL (atomic_load (&fs_seen.refused) > 0);
  seen = atomic_load (&fs_seen.refused);
  fs_ring (f->fs);
  UNTIL (atomic_load (&fs_seen.refused) > seen);
  expect (f, 0, 3 * PAGE, 1);
  put (f, PAGE, PAGE, 2);
  assert_false (atomic_load (&job.done));
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  atomic_store (&fs_seen.answer, 0);
  fs_ring (f->fs);
  assert_int_equal (job_join (&job), 0);
  store_expect (f, 0, PAGE, 1);
  store_expect (f, PAGE, PAGE, 2);
  store_expect (f, 2 * PAGE, PAGE, 1);
  assert_int_equal (atomic_load (&f->errors), 0);
  flush_ok (f, 0);
  check_flushed (f);
}

/* Background write-back, too, comes again when the bell rings, not before. */
FIXTURE_TEST (not_yet_background,
              start (&(struct fixture_config) { .dirty_background = PAGE }))
{
  unsigned i, seen;

  atomic_store (&fs_seen.answer, -EAGAIN);
  put (f, 0, 8 * PAGE, 1);
  UNTIL (atomic_load (&fs_seen.refused) > 0);
  for (i = 0; i < 20; i++) {
    seen = atomic_load (&fs_seen.refused);
    fs_ring (f->fs);
    UNTIL (atomic_load (&fs_seen.refused) > seen);
  }
  atomic_store (&fs_seen.answer, 0);
  fs_ring (f->fs);
  UNTIL (fake_store_count (f->fake, STORE_WRITE) > 0);
  assert_int_equal (atomic_load (&f->errors), 0);
  flush_ok (f, 0);
  store_expect (f, 0, 8 * PAGE, 1);
}

/* --- no place --- */

FIXTURE_TEST (no_place, start (&(struct fixture_config) { 0 }))
{
  put (f, 0, 3 * PAGE, 1);
  atomic_store (&fs_seen.answer, -ENOSPC);
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  assert_int_equal (fixture_logged (f, "write-back of bytes"), 1);
  expect (f, 0, 3 * PAGE, 1);
  UNTIL (atomic_load (&f->mapping->folios.nr_dirty) ==
         3); /* it is tried again */
  atomic_store (&fs_seen.answer, 0);
  flush_ok (f, 1);
  store_expect (f, 0, 3 * PAGE, 1);
  check_flushed (f);
  assert_true (atomic_load (&fs_seen.mapped) == atomic_load (&fs_seen.ended));
}

/* --- a place for a part --- */

FIXTURE_TEST (part, start (&(struct fixture_config) { 0 }))
{
  unsigned i;

  put (f, 512, 64 * PAGE - 1024, 1);
  atomic_store (&fs_seen.most, 3 * 512);
  flush_ok (f, 0);
  store_expect (f, 512, 64 * PAGE - 1024, 1);
  assert_true (atomic_load (&fs_seen.mapped) == 64 * PAGE - 1024);
  assert_true (atomic_load (&fs_seen.ended) == 64 * PAGE - 1024);
  for (i = 0; i < fake_store_count (f->fake, STORE_WRITE); i++)
    assert_true (nth_request (f, STORE_WRITE, i).length <= 3 * 512);
  check_flushed (f);
}

/* The disk's end, in the middle of a sector. */
FIXTURE_TEST (end,
              start (&(struct fixture_config) { .disk_size = 1 * MiB + 700 }))
{
  put (f, 1 * MiB - PAGE, PAGE + 700, 1);
  atomic_store (&fs_seen.most, 1024);
  flush_ok (f, 0);
  store_expect (f, 1 * MiB - PAGE, PAGE + 700, 1);
  assert_true (atomic_load (&fs_seen.mapped) == PAGE + 700);
  assert_true (atomic_load (&fs_seen.ended) == PAGE + 700);
  check_flushed (f);
}

/* --- what became of it --- */

FIXTURE_TEST (ends, start (&(struct fixture_config) { .min_io = PAGE_SIZE }))
{
  struct job job = { .op = JOB_FLUSH };

  put (f, 0, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (atomic_load (&fs_seen.ended_with[0]), -EIO);
  flush_ok (f, 0);
  assert_int_equal (atomic_load (&fs_seen.ended_with[1]), 0);

  /* Written, and perhaps lost before that was known. */
  put (f, 0, PAGE, 2);
  job_start_held (f, 0, &job, STORE_WRITE);
  fake_store_lose (f->fake, 0);
  job_let_go (f, &job, STORE_WRITE);
  assert_int_equal (atomic_load (&fs_seen.ended_with[2]), -ECONNRESET);
  assert_int_equal (atomic_load (&fs_seen.ended_with[3]), 0);
}

RUN_TESTS ()
