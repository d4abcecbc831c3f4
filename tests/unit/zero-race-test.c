/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim while write-back, fills and writes are under way.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

/* A write-back of the range is under way when it is zeroed: that waits for nothing.
 * What becomes of the write concerns only what is left of it, and the store zeroes
 * after it.
 */
static void
during_writeback (int error, bool lost)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job flush = { .op = JOB_FLUSH };

  put (f, 0, 64 * PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  assert_int_equal (cache_zero (f->conn, 8 * PAGE, PAGE, 0), 0);
  put (f, 4 * PAGE, PAGE, 2);
  check_state (f);
  expect_zero (f, PAGE, 3 * PAGE);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);
  if (error)
    fake_store_fail_next (f->fake, STORE_WRITE, 1, error);
  if (lost)
    fake_store_lose (f->fake, 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (job_join (&flush), error);
  while (cache_flush (f->conn) < 0)
    ;
  assert_true (fake_store_count (f->fake, STORE_ZERO) > 0);
  expect (f, 0, PAGE, 1);
  expect_zero (f, PAGE, 3 * PAGE);
  expect (f, 4 * PAGE, PAGE, 2);
  expect_zero (f, 5 * PAGE, 4 * PAGE);
  expect (f, 9 * PAGE, 55 * PAGE, 1);
  store_expect (f, 0, PAGE, 1);
  store_expect_zero (f, PAGE, 3 * PAGE);
  store_expect (f, 4 * PAGE, PAGE, 2);
  store_expect_zero (f, 5 * PAGE, 4 * PAGE);
  store_expect (f, 9 * PAGE, 55 * PAGE, 1);
  check_flushed (f);
  fixture_stop (f);
}

/* Data that is to be durable is zeroed before it is sent, and newer data goes in the
 * place of the zero, after the flush has been: that proves nothing of the three.
 */
TEST (zeroed_while_synced)
{
  static uint8_t buf[PAGE_SIZE];
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  struct job write = { .op = JOB_WRITE,
                       .buf = buf,
                       .count = PAGE,
                       .offset = PAGE,
                       .flags = CACHE_FUA };
  struct sync_req sent = { .start = PAGE, .end = 2 * PAGE, .kind = SYNC_WRITE };

  put (f, PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  inbox_queue (&f->mapping->inbox, &sent);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  fill_pattern (buf, PAGE, PAGE, 2);
  job_start (f, 1, &write);
  fixture_until_asleep (f, 1);
  /* Behind it: so it has been looked at what is dirty now. */
  assert_int_equal (
    inbox_sync (&f->mapping->inbox, 64 * PAGE, 128 * PAGE, SYNC_WRITE), 0);
  assert_int_equal (cache_zero (f->conn, PAGE, PAGE, 0), 0);
  put (f, PAGE, PAGE, 3);
  fake_store_hold (f->fake, STORE_FLUSH);
  fake_store_unhold (f->fake, STORE_WRITE);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_int_equal (inbox_sync (&f->mapping->inbox, PAGE, 2 * PAGE, SYNC_WRITE),
                    0);
  fake_store_unhold (f->fake, STORE_FLUSH);
  assert_int_equal (job_join (&write), 0);
  assert_in_range (fake_store_count (f->fake, STORE_FLUSH), 2, 3);
  completion_wait (&f->env, &sent.done);
  fixture_stop (f);
}

TEST (during_writeback)
{
  during_writeback (0, false);
  during_writeback (-EIO, false);
  during_writeback (0, true);
}

/* While the store is at a zero no write-back of its range begins, and a flush
 * waits; others go on.
 */
CACHE_TEST (writeback_during_zero)
{
  struct job flush = { .op = JOB_FLUSH };

  assert_int_equal (cache_zero (f->conn, 1 * MiB, 0, 0), 0);
  fake_store_hold (f->fake, STORE_ZERO);
  mapping_kick (f->mapping);
  fake_store_wait_held (f->fake, STORE_ZERO, 1);
  put (f, 64 * PAGE, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  job_start (f, 1, &flush);
  UNTIL (fake_store_count (f->fake, STORE_WRITE) == 1);
  assert_int_equal (nth_request (f, STORE_WRITE, 0).offset, 2 * MiB);
  assert_false (atomic_load (&flush.done));
  job_let_go (f, &flush, STORE_ZERO);
  expect_zero (f, 0, 64 * PAGE);
  store_expect_zero (f, 0, 64 * PAGE);
  store_expect (f, 64 * PAGE, PAGE, 1);
  store_expect (f, 2 * MiB, PAGE, 1);
}

/* A flush has what is zeroed while it sends its data done, too, since it may be that
 * which is zeroed; but all of it by one flush of the store.
 */
CACHE_TEST (zero_during_flush)
{
  struct job flush = { .op = JOB_FLUSH };

  assert_int_equal (cache_zero (f->conn, 1 * MiB, 4 * MiB, 0), 0);
  put (f, 0, PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  store_put (f, 2 * MiB, PAGE, 2);
  assert_int_equal (cache_zero (f->conn, PAGE, 2 * MiB, 0), 0);
  job_let_go (f, &flush, STORE_WRITE);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 1);
  store_expect_zero (f, 2 * MiB, PAGE);
  check_flushed (f);
}

/* A read of the old data is under way, through the cache, past it, or for a part
 * of a block that is written: the zero does not wait for it, and what it brings is
 * not used.
 */
static void
during_read (enum cache_mode mode)
{
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .mode = mode, .small_folios = true });
  static uint8_t buf[64 * PAGE_SIZE];
  static const uint8_t zeroes[sizeof buf];
  struct job read = { .op = JOB_READ, .buf = buf, .count = sizeof buf };

  store_put (f, 0, 1 * MiB, 1);
  job_start_held (f, 1, &read, STORE_READ);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  store_put (f, 0, 1 * MiB, 1); /* as if the read had come first */
  job_let_go (f, &read, STORE_READ);
  assert_memory_equal (buf, zeroes, sizeof buf);
  expect_zero (f, 0, 64 * PAGE);
  expect (f, 64 * PAGE, PAGE, 1);
  check_state (f);
  fixture_stop (f);
}

TEST (during_read)
{
  during_read (CACHE_WRITEBACK);
  during_read (CACHE_NONE);
}

CACHE_TEST (during_part, .min_io = 4096)
{
  uint8_t buf[100];
  struct job part = {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .offset = 1000
  };

  store_put (f, 0, 1 * MiB, 1);
  fill_pattern (buf, sizeof buf, 1000, 2);
  job_start_held (f, 1, &part, STORE_READ);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  expect_zero (f, PAGE, 63 * PAGE);
  job_let_go (f, &part, STORE_READ);
  expect_zero (f, 0, 1000);
  expect (f, 1000, 100, 2);
  expect_zero (f, 1100, 63 * PAGE);
  flush_ok (f, 0);
  store_expect_zero (f, 0, 1000);
  store_expect (f, 1000, 100, 2);
  store_expect_zero (f, 1100, 63 * PAGE);
}

/* A format that knows of no zeroes under way. */
static int
zero_at_once (struct fs *fs, struct iomap_range *range, bool keep)
{
  struct fixture *f = (struct fixture *) fs->store->env; /* its first member */
  int r = f->raw_ops->zero (fs, range, keep);

  if (r == 0)
    f->raw_ops->zero_end (fs, range);
  return r;
}

/* There a zero waits for write-back, and a direct write that comes then for the
 * zero.
 */
CACHE_TEST (held_range, .sequential_cutoff = 64 * KiB)
{
  static uint8_t buf[64 * KiB];
  struct job flush = { .op = JOB_FLUSH };
  struct job zero = { .op = JOB_ZERO, .count = sizeof buf };
  struct job write = { .op = JOB_WRITE, .buf = buf, .count = sizeof buf };

  f->ops.zero = zero_at_once;
  f->ops.zero_end = NULL;
  put (f, 0, 4 * PAGE, 1);
  job_start_held (f, 1, &flush, STORE_WRITE);
  job_start (f, 2, &zero);
  fixture_until_asleep (f, 2);
  fill_pattern (buf, sizeof buf, 0, 2);
  job_start (f, 3, &write);
  fixture_until_asleep (f, 3);
  job_let_go (f, &flush, STORE_WRITE);
  assert_int_equal (job_join (&zero), 0);
  assert_int_equal (job_join (&write), 0);
  expect (f, 0, sizeof buf, 2);
  store_expect (f, 0, sizeof buf, 2);
}

/* It is zeroed between the copying of a part of a block and its being taken. */
static struct fixture *copying;

static size_t
copy_then_nothing (struct mapping *mapping, void *dst, const void *src,
                   size_t n)
{
  (void) mapping;
  if (src)
    memcpy (dst, src, n);
  else
    memset (dst, 0, n);
  return n;
}

static size_t
copy_then_zero (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  (void) mapping;
  if (src) {
    memcpy (dst, src, n);
    copying->mapping->hooks.copy_in = copy_then_nothing;
    assert_int_equal (cache_zero (copying->conn, 64 * PAGE, 0, 0), 0);
  }
  return n;
}

TEST (zero_before_taken)
{
  struct fixture *f = copying = fixture_start (&(struct fixture_config) { 0 });

  store_put (f, 0, 1 * MiB, 1);
  expect (f, 0, 64 * PAGE, 1);
  f->mapping->hooks.copy_in = copy_then_zero;
  put (f, 1000, 100, 2);
  expect_zero (f, 0, 1000);
  expect (f, 1000, 100, 2);
  expect_zero (f, 1100, 63 * PAGE);
  check_state (f);
  fixture_stop (f);
}

/* Everything at once over a few pages: nothing hangs, asserts or differs from
 * what the last write or zero of each thread's own page says.
 */
#define HAMMERS 4
#define ROUNDS 400

struct hammer {
  struct fixture *f;
  unsigned number;
  struct rng rng;
  unsigned version; /* of its page; 0: zero */
  int error;
};

static int
hammer_once (struct hammer *h)
{
  struct conn *conn = h->f->conns[h->number];
  uint64_t offset = h->number * PAGE;
  uint8_t buf[PAGE_SIZE];
  int r = 0;

  switch (rng_below (&h->rng, 6)) {
  case 0:
  case 1:
    h->version++;
    fill_pattern (buf, PAGE, offset, h->version);
    return cache_write (conn, buf, PAGE_SIZE, offset,
                        rng_chance (&h->rng, 20) ? CACHE_FUA : 0);
  case 2: h->version = 0; return cache_zero (conn, PAGE, offset, 0);
  case 3:
    /* Its own page, and all the others' empty neighbourhood. */
    return cache_trim (conn, 1 * MiB, (1 + h->number) * MiB, 0);
  case 4: return cache_flush (conn);
  default:
    for (; r == 0 && rng_chance (&h->rng, 80);)
      r = cache_read (conn, buf, PAGE_SIZE, offset);
    return r;
  }
}

static void *
hammer (void *arg)
{
  struct hammer *h = arg;
  unsigned i;

  for (i = 0; i < ROUNDS && h->error == 0; i++)
    h->error = hammer_once (h);
  return NULL;
}

CACHE_TEST (hammer, .dirty_background = 1)
{
  struct rng rng = test_rng ("hammer");
  struct hammer h[HAMMERS];
  pthread_t threads[HAMMERS];
  unsigned i;

  for (i = 0; i < HAMMERS; i++) {
    h[i] = (struct hammer) { .f = f, .number = i };
    h[i].rng.state = rng_next (&rng);
    assert_int_equal (pthread_create (&threads[i], NULL, hammer, &h[i]), 0);
  }
  for (i = 0; i < HAMMERS; i++)
    pthread_join (threads[i], NULL);
  for (i = 0; i < HAMMERS; i++) {
    assert_int_equal (h[i].error, 0);
    if (h[i].version)
      expect (f, i * PAGE, PAGE, h[i].version);
    else
      expect_zero (f, i * PAGE, PAGE);
  }
  flush_ok (f, 0);
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
  check_flushed (f);
}

/* Readers of a store that takes its time make progress however much is zeroed
 * around them: what is zeroed elsewhere makes no mapping of theirs stale.
 */
struct storm {
  struct fixture *f;
  struct rng rng;
  _Atomic bool over;
  uint64_t zeroes;
};

static void *
storm (void *arg)
{
  struct storm *s = arg;
  uint64_t page;

  while (!atomic_load (&s->over)) {
    page = 1 + 2 * rng_below (&s->rng, 512);
    assert_int_equal (
      cache_zero (s->f->conns[1], PAGE, page * PAGE, CACHE_MAY_TRIM), 0);
    s->zeroes++;
  }
  return NULL;
}

CACHE_TEST (storm, .small_folios = true, .cache_size = 1 * MiB)
{
  struct storm s = { .f = f, .rng = test_rng ("storm") };
  pthread_t thread;
  uint64_t page;
  unsigned i;

  store_put (f, 0, 8 * MiB, 1);
  fake_store_latency (f->fake, STORE_READ, NSEC_PER_MSEC, false);
  assert_int_equal (pthread_create (&thread, NULL, storm, &s), 0);
  for (i = 0; i < 200; i++) {
    page = 2 * (i * 7 % 512);
    expect (f, page * PAGE, PAGE, 1);
  }
  atomic_store (&s.over, true);
  pthread_join (thread, NULL);
  assert_true (s.zeroes > 0);
}

RUN_TESTS ()
