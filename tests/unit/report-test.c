/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reporting extents: what the store says, merged with what is in memory; and
 * what is not saved yet.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

/* --- collecting what is reported --- */

#define MAX_EXTENTS 64

struct extent {
  uint64_t offset, length;
  bool hole, zero;
};

struct list {
  struct extent extents[MAX_EXTENTS];
  unsigned n;
  unsigned stop_after; /* calls; 0: never */
  unsigned calls;
  uint64_t next;
  bool gap;
};

static bool
collect (void *opaque, uint64_t offset, uint64_t length, bool hole, bool zero)
{
  struct list *list = opaque;
  struct extent *last = list->n ? &list->extents[list->n - 1] : NULL;

  list->gap |= offset != list->next || length == 0;
  list->next = offset + length;
  if (last && last->hole == hole && last->zero == zero)
    last->length += length;
  else if (list->n < MAX_EXTENTS)
    list->extents[list->n++] = (struct extent) { offset, length, hole, zero };
  return ++list->calls != list->stop_after;
}

static void
ask (struct fixture *f, uint64_t offset, uint64_t count, struct list *list)
{
  *list = (struct list) { .next = offset };
  assert_int_equal (cache_extents (f->conn, count, offset, collect, list), 0);
  assert_false (list->gap);
  assert_int_equal (list->next, offset + count);
}

static void
expect_extents (const struct list *list, const struct extent *want, unsigned n)
{
  unsigned i;

  assert_int_equal (list->n, n);
  for (i = 0; i < n; i++) {
    assert_int_equal (list->extents[i].offset, want[i].offset);
    assert_int_equal (list->extents[i].length, want[i].length);
    assert_int_equal (list->extents[i].hole, want[i].hole);
    assert_int_equal (list->extents[i].zero, want[i].zero);
  }
}

#define EXPECT(list, ...)                                                      \
  do {                                                                         \
    const struct extent want_[] = { __VA_ARGS__ };                             \
    expect_extents (list, want_, sizeof want_ / sizeof want_[0]);              \
  } while (0)
#define HOLE(offset, length)                                                   \
  {                                                                            \
    offset, length, true, true                                                 \
  }
#define ZERO(offset, length)                                                   \
  {                                                                            \
    offset, length, false, true                                                \
  }
#define DATA(offset, length)                                                   \
  {                                                                            \
    offset, length, false, false                                               \
  }

static struct fixture *
start_sparse (void)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });

  fake_store_set_status (f->fake, 0, 4 * MiB, STORE_HOLE);
  fake_store_set_status (f->fake, 4 * MiB, 2 * MiB, STORE_UNWRITTEN);
  store_put (f, 6 * MiB, 2 * MiB, 0);
  fake_store_set_status (f->fake, 8 * MiB, 8 * MiB, STORE_HOLE);
  return f;
}

/* --- extents --- */

FIXTURE_TEST (as_the_store_says, start_sparse ())
{
  struct list list;

  ask (f, 0, 16 * MiB, &list);
  EXPECT (&list, HOLE (0, 4 * MiB), ZERO (4 * MiB, 2 * MiB),
          DATA (6 * MiB, 2 * MiB), HOLE (8 * MiB, 8 * MiB));
  ask (f, 3 * MiB + 1, 1 * MiB + 1, &list);
  EXPECT (&list, HOLE (3 * MiB + 1, 1 * MiB - 1), ZERO (4 * MiB, 2));
  ask (f, 16 * MiB - 1, 1, &list);
  EXPECT (&list, HOLE (16 * MiB - 1, 1));
  assert_int_equal (cache_extents (f->conn, 2, 16 * MiB - 1, collect, &list),
                    -EINVAL);
}

/* Dirty data over a hole is data before it is written back, and after. */
FIXTURE_TEST (dirty_is_data, start_sparse ())
{
  struct list list;
  unsigned i;

  learn_extents (f);
  put (f, 1 * MiB, 64 * PAGE, 1);
  put (f, 5 * MiB + 512, 512, 1);
  put (f, 10 * MiB + 512, 512, 1);
  for (i = 0; i < 2; i++) {
    ask (f, 0, 16 * MiB, &list);
    EXPECT (&list, HOLE (0, 1 * MiB), DATA (1 * MiB, 64 * PAGE),
            HOLE (1 * MiB + 64 * PAGE, 3 * MiB - 64 * PAGE),
            ZERO (4 * MiB, 1 * MiB + 512), DATA (5 * MiB + 512, 512),
            ZERO (5 * MiB + 1024, 1 * MiB - 1024), DATA (6 * MiB, 2 * MiB),
            HOLE (8 * MiB, 2 * MiB + 512), DATA (10 * MiB + 512, 512),
            HOLE (10 * MiB + 1024, 6 * MiB - 1024));
    assert_int_equal (cache_flush (f->conn), 0);
  }
}

/* Also when nobody had asked before it was written. */
FIXTURE_TEST (dirty_before_asking, start_sparse ())
{
  struct list list;

  put (f, 1 * MiB, 64 * PAGE, 1);
  ask (f, 0, 2 * MiB, &list);
  EXPECT (&list, HOLE (0, 1 * MiB), DATA (1 * MiB, 64 * PAGE),
          HOLE (1 * MiB + 64 * PAGE, 1 * MiB - 64 * PAGE));
}

/* While it is being written back, too. */
FIXTURE_TEST (writeback_is_data, start_sparse ())
{
  struct job flush = { .op = JOB_FLUSH };
  struct list list;

  put (f, 1 * MiB, 64 * PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  ask (f, 0, 2 * MiB, &list);
  EXPECT (&list, HOLE (0, 1 * MiB), DATA (1 * MiB, 64 * PAGE),
          HOLE (1 * MiB + 64 * PAGE, 1 * MiB - 64 * PAGE));
  job_let_go (f, &flush, STORE_WRITE);
}

static struct fixture *forgetful;

/* The answer of an fs that has forgotten what it knew, and asked the store. */
static int
begin_asking (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
              struct iomap *iomap)
{
  struct fixture *f = forgetful;
  int r = f->raw_ops->begin (fs, pos, length, flags, iomap);

  if (flags & IOMAP_REPORT)
    iomap->type = IOMAP_HOLE;
  return r;
}

/* Even if what the mapping says is of before. */
FIXTURE_TEST (writeback_is_data_if_forgotten, start_sparse ())
{
  struct job flush = { .op = JOB_FLUSH };
  struct list list;

  put (f, 1 * MiB, 64 * PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  forgetful = f;
  f->ops.begin = begin_asking;
  ask (f, 1 * MiB - PAGE, 66 * PAGE, &list);
  EXPECT (&list, HOLE (1 * MiB - PAGE, PAGE), DATA (1 * MiB, 64 * PAGE),
          HOLE (1 * MiB + 64 * PAGE, PAGE));
  /* Written once more meanwhile, in part. */
  put (f, 1 * MiB + 2 * PAGE, PAGE, 2);
  ask (f, 1 * MiB - PAGE, 66 * PAGE, &list);
  EXPECT (&list, HOLE (1 * MiB - PAGE, PAGE), DATA (1 * MiB, 64 * PAGE),
          HOLE (1 * MiB + 64 * PAGE, PAGE));
  f->ops.begin = f->raw_ops->begin;
  job_let_go (f, &flush, STORE_WRITE);
}

/* What the store has of it is not known to be durable, nor that zero. */
CACHE_TEST (unstable_over_zero_is_data, .mode = CACHE_WRITETHROUGH)
{
  struct list list;

  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, PAGE, PAGE, 1);
  assert_int_equal (page_masks (f, 1), 0xff0000ff);
  ask (f, 0, 64 * PAGE, &list);
  EXPECT (&list, ZERO (0, PAGE), DATA (PAGE, PAGE), ZERO (2 * PAGE, 62 * PAGE));
}

/* Where a mapping that was forgotten is asked of a store that has lost what is
 * not flushed.
 */
static int
begin_hole (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
            struct iomap *iomap)
{
  int r = forgetful->raw_ops->begin (fs, pos, length, flags, iomap);

  iomap->type = IOMAP_HOLE;
  return r;
}

CACHE_TEST (unstable_over_hole_is_data, .mode = CACHE_WRITETHROUGH)
{
  struct list list;

  put (f, PAGE, 2 * PAGE, 1);
  put (f, 9 * PAGE, PAGE, 1);
  assert_int_equal (page_masks (f, 1), 0xff0000ff);
  forgetful = f;
  f->ops.begin = begin_hole;
  ask (f, 0, 64 * PAGE, &list);
  EXPECT (&list, HOLE (0, PAGE), DATA (PAGE, 2 * PAGE),
          HOLE (3 * PAGE, 6 * PAGE), DATA (9 * PAGE, PAGE),
          HOLE (10 * PAGE, 54 * PAGE));
  f->ops.begin = f->raw_ops->begin;
}

FIXTURE_TEST (zero_and_trim, start_sparse ())
{
  struct list list;

  put (f, 8 * MiB, 1 * MiB, 1);
  assert_int_equal (cache_zero (f->conn, 1 * MiB, 6 * MiB, 0), 0);
  assert_int_equal (cache_trim (f->conn, 512 * KiB, 7 * MiB, 0), 0);
  assert_int_equal (cache_trim (f->conn, 512 * KiB, 8 * MiB, 0), 0);
  put (f, 6 * MiB + PAGE, PAGE, 1);
  ask (f, 6 * MiB, 4 * MiB, &list);
  EXPECT (&list, ZERO (6 * MiB, PAGE), DATA (6 * MiB + PAGE, PAGE),
          ZERO (6 * MiB + 2 * PAGE, 1 * MiB - 2 * PAGE),
          HOLE (7 * MiB, 512 * KiB), DATA (7 * MiB + 512 * KiB, 512 * KiB),
          HOLE (8 * MiB, 512 * KiB), DATA (8 * MiB + 512 * KiB, 512 * KiB),
          HOLE (9 * MiB, 1 * MiB));
}

/* The store is not asked twice about the same place. */
FIXTURE_TEST (remembered, start_sparse ())
{
  struct list list;
  unsigned i, asked;

  ask (f, 0, 16 * MiB, &list);
  asked = fake_store_status_count (f->fake);
  assert_true (asked > 0 && asked <= 2);
  for (i = 0; i < 16; i++)
    ask (f, i * MiB + i, 100 * KiB, &list);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  assert_int_equal (cache_zero (f->conn, PAGE, 9 * MiB, 0), 0);
  ask (f, 0, 16 * MiB, &list);
  assert_int_equal (fake_store_status_count (f->fake), asked);
}

/* The caller has had enough (REQ_ONE). */
FIXTURE_TEST (stop, start_sparse ())
{
  struct list list = { .stop_after = 1 };

  assert_int_equal (cache_extents (f->conn, 16 * MiB, 0, collect, &list), 0);
  assert_int_equal (list.calls, 1);
  put (f, PAGE, PAGE, 1);
  list = (struct list) { .stop_after = 2 };
  assert_int_equal (cache_extents (f->conn, 16 * MiB, 0, collect, &list), 0);
  assert_int_equal (list.calls, 2);
  EXPECT (&list, HOLE (0, PAGE), DATA (PAGE, PAGE));
}

/* Written back, and clean, between the look at the mapping and the look at the
 * cache: data all the same.
 */
static struct {
  struct fixture *f;
  unsigned begins;
} hook;

static int
flushing_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                struct iomap *iomap)
{
  int r = hook.f->raw_ops->begin (fs, pos, length, flags, iomap);

  if (hook.begins++ == 0) {
    assert_int_equal (iomap->type, IOMAP_HOLE);
    put (hook.f, 1 * MiB, PAGE, 1);
    assert_int_equal (cache_flush (hook.f->conn), 0);
  }
  return r;
}

FIXTURE_TEST (overtaken, start_sparse ())
{
  struct list list;

  learn_extents (f);
  hook.f = f;
  hook.begins = 0;
  f->ops.begin = flushing_begin;
  ask (f, 0, 2 * MiB, &list);
  EXPECT (&list, HOLE (0, 1 * MiB), DATA (1 * MiB, PAGE),
          HOLE (1 * MiB + PAGE, 1 * MiB - PAGE));
}

/* A store that does not know: everything is data; nor does it matter when
 * asking fails.
 */
FIXTURE_TEST (unknown, start_sparse ())
{
  struct list list;

  fake_store_fail_status (f->fake, -EIO);
  ask (f, 0, 16 * MiB, &list);
  EXPECT (&list, DATA (0, 16 * MiB));
  fake_store_fail_status (f->fake, 0);
  ask (f, 0, 4 * MiB, &list);
  EXPECT (&list, HOLE (0, 4 * MiB));
}

CACHE_TEST (unknown_at_all)
{
  struct list list;

  f->fake->store.geo.can_extents = false;
  fake_store_set_status (f->fake, 0, 16 * MiB, STORE_HOLE);
  ask (f, 0, 16 * MiB, &list);
  EXPECT (&list, DATA (0, 16 * MiB));
  assert_int_equal (fake_store_status_count (f->fake), 0);
}

/* --- what is not saved --- */

static void
collect_unsaved (void *opaque, uint64_t offset, uint64_t length)
{
  struct list *list = opaque;

  list->gap |= list->n > 0 && offset <= list->next;
  list->next = offset + length;
  list->extents[list->n++] = (struct extent) { offset, length, false, false };
}

static void
ask_unsaved (struct fixture *f, struct list *list)
{
  memset (list, 0, sizeof *list);
  mapping_unsaved (f->mapping, collect_unsaved, list);
  assert_false (list->gap);
}

CACHE_TEST (unsaved, .disk_size = 16 * MiB + 100)
{
  struct job flush = { .op = JOB_FLUSH };
  struct list list;

  ask_unsaved (f, &list);
  assert_int_equal (list.n, 0);
  put (f, 0, 3 * PAGE + 512, 1);
  put (f, 1 * MiB + 512, 1024, 1);
  put (f, 16 * MiB + 99, 1, 1);
  ask_unsaved (f, &list);
  EXPECT (&list, DATA (0, 3 * PAGE + 512), DATA (1 * MiB + 512, 1024),
          DATA (16 * MiB, 100));

  /* Also what is being written or flushed; neighbours are one range. */
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_hold (f->fake, STORE_FLUSH);
  job_start (f, 0, &flush);
  fake_store_wait_held (f->fake, STORE_WRITE, 3);
  put (f, PAGE, PAGE, 2);
  put (f, 3 * PAGE + 512, 512, 2);
  ask_unsaved (f, &list);
  EXPECT (&list, DATA (0, 3 * PAGE + 1024), DATA (1 * MiB + 512, 1024),
          DATA (16 * MiB, 100));
  fake_store_unhold (f->fake, STORE_WRITE);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  ask_unsaved (f, &list);
  EXPECT (&list, DATA (0, 3 * PAGE + 1024), DATA (1 * MiB + 512, 1024),
          DATA (16 * MiB, 100));
  job_let_go (f, &flush, STORE_FLUSH);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 2);
  ask_unsaved (f, &list);
  EXPECT (&list, DATA (PAGE, PAGE), DATA (3 * PAGE + 512, 512));
}

/* --- saving --- */

static void
note_progress (void *opaque, const struct sync_progress *p)
{
  _Atomic unsigned *calls = opaque;

  if (p->done_bytes <= p->total_bytes && p->total_bytes >= 1 * MiB)
    atomic_fetch_add (calls, 1);
}

struct saver {
  struct fixture *f;
  _Atomic unsigned calls;
  int result;
};

static void *
save (void *arg)
{
  struct saver *s = arg;

  s->result = mapping_sync (s->f->mapping, note_progress, &s->calls);
  return NULL;
}

/* It reports while the store takes its time, once for each second of the
 * clock.
 */
CACHE_TEST (mapping_sync, .fake_clock = true)
{
  struct saver s = { .f = f };
  pthread_t thread;

  put (f, 0, 1 * MiB, 1);
  mapping_shutdown (f->mapping);
  fake_store_hold (f->fake, STORE_FLUSH);
  assert_int_equal (pthread_create (&thread, NULL, save, &s), 0);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  UNTIL (atomic_load (&s.calls) >= 3);
  fake_store_unhold (f->fake, STORE_FLUSH);
  pthread_join (thread, NULL);
  assert_int_equal (s.result, 0);
  store_expect (f, 0, 1 * MiB, 1);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), 0);
}

RUN_TESTS ()
