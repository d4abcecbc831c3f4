/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Places of the store are not used again while somebody reads there.
 */

#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "cache/request/fill.h"
#include "fs/readers.h"

static _Atomic unsigned rings;

static void
ring (void *opaque)
{
  (void) opaque;
  atomic_fetch_add (&rings, 1);
}

static const struct bell bell = { .ring = ring };

static void
init (struct fs *fs)
{
  memset (fs, 0, sizeof *fs);
  fs->moves = true;
  fs->bell = &bell;
  atomic_store (&rings, 0);
}

TEST (none)
{
  struct fs fs;
  unsigned i;

  init (&fs);
  for (i = 0; i < 5; i++)
    assert_true (readers_gone (&fs, readers_era (&fs)));
  assert_int_equal (atomic_load (&rings), 0);
}

/* Who began before is waited for, and who began after is not. */
TEST (before_and_after)
{
  struct fs fs;
  uint64_t freed;
  unsigned i, before, after;

  init (&fs);
  for (i = 0; i < 4; i++) {
    before = readers_begin (&fs);
    freed = readers_era (&fs);
    assert_false (readers_gone (&fs, freed));
    after = readers_begin (&fs);
    assert_false (readers_gone (&fs, freed));
    assert_int_equal (atomic_load (&rings), i);
    readers_end (&fs, before);
    assert_int_equal (atomic_load (&rings), i + 1);
    assert_true (readers_gone (&fs, freed));
    readers_end (&fs, after);
  }
}

/* An era is not over for those who began before it. */
TEST (two_eras)
{
  struct fs fs;
  uint64_t freed[2];
  unsigned reader;

  init (&fs);
  reader = readers_begin (&fs);
  freed[0] = readers_era (&fs);
  assert_false (readers_gone (&fs, freed[0]));
  freed[1] = readers_era (&fs);
  assert_true (freed[1] > freed[0]);
  assert_false (readers_gone (&fs, freed[1]));
  readers_end (&fs, reader);
  assert_true (readers_gone (&fs, freed[1]));
  assert_true (readers_gone (&fs, freed[0]));
}

/* Readers come and go all the time, and there are always some. */
TEST (never_none)
{
  unsigned i, counted[8], reused = 0;
  struct fs fs;
  uint64_t freed = 0;

  init (&fs);
  for (i = 0; i < 1000; i++) {
    if (i >= 8)
      readers_end (&fs, counted[i % 8]);
    counted[i % 8] = readers_begin (&fs);
    if (i == 0 || readers_gone (&fs, freed)) {
      reused++;
      freed = readers_era (&fs);
    }
  }
  assert_in_range (reused, 1000 / 20, 1000 / 8);
}

/* Who reads on for another began as early. */
TEST (join)
{
  struct fs fs;
  uint64_t freed;
  unsigned counted;

  init (&fs);
  counted = readers_begin (&fs);
  freed = readers_era (&fs);
  assert_false (readers_gone (&fs, freed));
  readers_join (&fs, counted);
  readers_end (&fs, counted);
  assert_int_equal (atomic_load (&rings), 0);
  assert_false (readers_gone (&fs, freed));
  readers_end (&fs, counted);
  assert_int_equal (atomic_load (&rings), 1);
  assert_true (readers_gone (&fs, freed));
}

/* --- threads --- */

#define PLACES 16
#define READERS 4

static struct {
  struct fs fs;
  _Atomic unsigned current;      /* the place that is told */
  _Atomic unsigned used[PLACES]; /* how often it was used */
  _Atomic bool over;
} shared;

static void *
read_places (void *opaque)
{
  unsigned counted, place, before, i;

  (void) opaque;
  while (!atomic_load (&shared.over)) {
    counted = readers_begin (&shared.fs);
    place = atomic_load (&shared.current);
    before = atomic_load (&shared.used[place]);
    for (i = 0; i < 50; i++)
      if (atomic_load (&shared.used[place]) != before)
        abort ();
    readers_end (&shared.fs, counted);
  }
  return NULL;
}

TEST (threads)
{
  pthread_t threads[READERS];
  uint64_t freed[PLACES];
  unsigned i, place = 0, next;

  init (&shared.fs);
  atomic_store (&shared.over, false);
  for (i = 0; i < READERS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, read_places, NULL), 0);
  for (i = 0; i < 20000; i++) {
    next = (place + 1) % PLACES;
    if (i >= PLACES - 1)
      while (!readers_gone (&shared.fs, freed[next]))
        sched_yield ();
    atomic_fetch_add (&shared.used[next], 1);
    atomic_store (&shared.current, next);
    freed[place] = readers_era (&shared.fs);
    place = next;
  }
  atomic_store (&shared.over, true);
  for (i = 0; i < READERS; i++)
    pthread_join (threads[i], NULL);
  for (i = 0; i < 2; i++)
    assert_int_equal (atomic_load (&shared.fs.readers.reading[i]), 0);
}

/* --- what the cache counts --- */

static struct fixture *
start (void)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .readahead = 1 * MiB });

  f->fs->moves = true;
  return f;
}

static unsigned
nr_readers (struct fixture *f)
{
  return atomic_load (&f->fs->readers.reading[0]) +
         atomic_load (&f->fs->readers.reading[1]);
}

static void
stop (struct fixture *f)
{
  assert_int_equal (nr_readers (f), 0);
  fixture_stop (f);
}

static void
read_page (struct fixture *f, uint64_t page)
{
  uint8_t buf[PAGE_SIZE];

  assert_int_equal (cache_read (f->conn, buf, PAGE, page * PAGE), 0);
}

/* Fills that nobody waits for. */
static void
fill_ahead_held (struct fixture *f)
{
  uint64_t freed;

  fake_store_hold (f->fake, STORE_READ);
  fill_ahead (f->mapping, 0, 16, 0);
  assert_true (fake_store_held (f->fake, STORE_READ) > 0);
  freed = readers_era (f->fs);
  assert_false (readers_gone (f->fs, freed));
  fake_store_unhold (f->fake, STORE_READ);
  assert_true (readers_gone (f->fs, freed));
}

/* A miss; and readahead, though nobody is there any more who began it. */
TEST_WITH (fills, struct fixture *f, start (), stop)
{
  uint8_t buf[PAGE_SIZE];
  struct job job = {
    .op = JOB_READ, .buf = buf, .count = PAGE, .offset = 8 * MiB
  };
  uint64_t freed;

  job_start_held (f, 0, &job, STORE_READ);
  freed = readers_era (f->fs);
  assert_false (readers_gone (f->fs, freed));
  job_let_go (f, &job, STORE_READ);
  assert_true (readers_gone (f->fs, freed));

  fill_ahead_held (f);
}

static struct fixture *begun_for;
static _Atomic unsigned begun;

static int
noting_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
              struct iomap *iomap)
{
  atomic_fetch_add (&begun, 1);
  assert_int_not_equal (nr_readers (begun_for), 0);
  return begun_for->raw_ops->begin (fs, pos, length, flags, iomap);
}

/* Hits are not counted: they do not ask where to read. */
TEST_WITH (hits, struct fixture *f, start (), stop)
{
  begun_for = f;
  f->ops.begin = noting_begin;
  put (f, 0, PAGE, 1);
  assert_int_equal (atomic_load (&begun), 1);
  read_page (f, 0);
  put (f, 0, PAGE, 2);
  assert_int_equal (atomic_load (&begun), 1);
}

RUN_TESTS ()
