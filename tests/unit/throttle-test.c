/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * balance_dirty_pages: the hard limit, and who waits for how long.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

/* --- the limit --- */

/* Is looked at wherever a test can. */
static struct {
  struct fixture *f;
  _Atomic unsigned over; /* times that there was too much */
  _Atomic unsigned looks;
  _Atomic uint32_t most;
} watch;

static void
look (struct mapping *mapping)
{
  uint32_t unsaved = atomic_load (&mapping->folios.nr_unsaved);
  uint32_t most = atomic_load (&watch.most);

  atomic_fetch_add (&watch.looks, 1);
  if (unsaved > mapping->throttle.limit)
    atomic_fetch_add (&watch.over, 1);
  while (most < unsaved &&
         !atomic_compare_exchange_weak (&watch.most, &most, unsaved))
    ;
}

static size_t
watching_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  look (mapping);
  folio_copy_in (dst, src, n);
  look (mapping);
  return n;
}

static int
watching_map (struct fs *fs, const struct iomap_run *runs, unsigned n,
              struct iomap_place *place)
{
  look (watch.f->mapping);
  return watch.f->raw_ops->map_for_writeback (fs, runs, n, place);
}

static void
watching_done (struct fs *fs, const struct iomap_run *runs, unsigned n,
               const struct iomap_place *place, int error)
{
  look (watch.f->mapping);
  watch.f->raw_ops->ioend_done (fs, runs, n, place, error);
}

static void
start_watch (struct fixture *f)
{
  watch.f = f;
  atomic_store (&watch.over, 0);
  atomic_store (&watch.looks, 0);
  atomic_store (&watch.most, 0);
  f->mapping->hooks.copy_in = watching_copy;
  f->ops.map_for_writeback = watching_map;
  f->ops.ioend_done = watching_done;
}

struct writer {
  struct fixture *f;
  unsigned number;
  struct rng rng;
  pthread_t thread;
  int error;
};

/* Each in a quarter of the disk. */
static void *
write_much (void *arg)
{
  struct writer *w = arg;
  uint64_t quarter = w->f->config.disk_size / NR_CONNS, offset, n;
  uint8_t *buf = xcalloc (1, quarter);
  unsigned i;

  for (i = 0; i < 60 && w->error == 0; i++) {
    offset = rng_below (&w->rng, quarter);
    n = min_u64 (rng_log (&w->rng, quarter), quarter - offset);
    if (i == 0) {
      offset = 0;
      n = quarter;
    }
    offset += w->number * quarter;
    fill_pattern (buf, n, offset, 1);
    w->error =
      cache_write (w->f->conns[w->number], buf, (uint32_t) n, offset, 0);
    look (w->f->mapping);
  }
  free (buf);
  return NULL;
}

static void
hard_limit (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);
  struct rng rng = test_rng ("hard_limit");
  struct writer w[NR_CONNS];
  unsigned i;

  start_watch (f);
  for (i = 0; i < NR_CONNS; i++) {
    w[i] = (struct writer) { .f = f, .number = i };
    w[i].rng.state = rng_next (&rng);
    assert_int_equal (pthread_create (&w[i].thread, NULL, write_much, &w[i]),
                      0);
  }
  for (i = 0; i < NR_CONNS; i++) {
    pthread_join (w[i].thread, NULL);
    assert_int_equal (w[i].error, 0);
  }
  assert_true (atomic_load (&watch.looks) > 100);
  assert_int_equal (atomic_load (&watch.over), 0);
  /* It is made use of. */
  assert_true (atomic_load (&watch.most) > f->mapping->throttle.limit / 4);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, f->config.disk_size, 1);
  assert_int_equal (atomic_load (&f->mapping->throttle.reserved), 0);
  assert_int_equal (atomic_load (&f->mapping->throttle.waiters), 0);
  check_flushed (f);
  fixture_stop (f);
}

TEST (hard_limit)
{
  hard_limit (
    &(struct fixture_config) { .disk_size = 4 * MiB, .dirty_limit = 1 * MiB });
  hard_limit (&(struct fixture_config) { .disk_size = 4 * MiB,
                                         .dirty_limit = 1 }); /* the least */
  hard_limit (&(struct fixture_config) { .disk_size = 4 * MiB,
                                         .dirty_limit = 256 * KiB,
                                         .cache_size = 1 * MiB,
                                         .min_io = 4096 });
}

TEST (max_chunk)
{
  struct folios *folios = xcalloc (1, sizeof *folios);
  struct throttle *t = xcalloc (1, sizeof *t);
  struct fs fs = { 0 };
  uint32_t chunk;
  uint64_t limit;

  t->folios = folios;
  t->fs = &fs;
  for (limit = 0; limit < 64 * MiB; limit = limit * 3 / 2 + PAGE) {
    throttle_init (t, limit, limit);
    balance_init (t, 0);
    chunk = throttle_max_chunk (t);
    assert_true (chunk >= 1 && chunk <= 1u << MAX_ORDER);
    assert_int_equal (chunk & (chunk - 1), 0);
    /* Several writers get on with it at once. */
    assert_true (chunk == 1 || chunk * 8 <= t->limit);
    assert_true (t->background <= t->limit / 2);
  }
  throttle_init (t, UINT64_MAX, UINT64_MAX);
  balance_init (t, 0);
  assert_int_equal (throttle_max_chunk (t), 1u << MAX_ORDER);
  free (t);
  free (folios);
}

/* --- waiting --- */

static uint8_t buf[1 << 20];

/* A job that writes more than fits while the store is held. */
static void
start_stuck_writer (struct fixture *f, unsigned conn, struct job *job)
{
  *job = (struct job) {
    .op = JOB_WRITE, .buf = buf, .count = sizeof buf, .offset = conn * 2 * MiB
  };
  job_start (f, conn, job);
}

static void
until_waiting (struct fixture *f, unsigned n)
{
  UNTIL (atomic_load (&f->mapping->throttle.waiters) == n);
}

CACHE_TEST (shutdown, .dirty_limit = 256 * KiB)
{
  struct job jobs[3];
  unsigned i;

  fake_store_hold (f->fake, STORE_WRITE);
  for (i = 0; i < 3; i++)
    start_stuck_writer (f, i, &jobs[i]);
  until_waiting (f, 3);
  assert_true (atomic_load (&f->mapping->folios.nr_unsaved) <=
               256 * KiB / PAGE);
  mapping_shutdown (f->mapping);
  for (i = 0; i < 3; i++)
    assert_int_equal (job_join (&jobs[i]), -ESHUTDOWN);
  assert_int_equal (atomic_load (&f->mapping->throttle.reserved), 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  assert_int_equal (cache_flush (f->conn), 0);
}

/* Readers do not wait with the writers. */
CACHE_TEST (readers_go_on, .dirty_limit = 256 * KiB)
{
  struct job job;

  store_put (f, 8 * MiB, 1 * MiB, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  start_stuck_writer (f, 1, &job);
  until_waiting (f, 1);
  expect (f, 8 * MiB, 1 * MiB, 1);
  expect (f, 8 * MiB, 1 * MiB, 1);
  assert_false (atomic_load (&job.done));
  job_let_go (f, &job, STORE_WRITE);
}

/* A store that is slow is waited for, however long. */
CACHE_TEST (slow_store, .dirty_limit = 256 * KiB, .fake_clock = true)
{
  struct job job;
  uint64_t since;

  fill_pattern (buf, sizeof buf, 2 * MiB, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  start_stuck_writer (f, 1, &job);
  until_waiting (f, 1);
  since = atomic_load (&f->clock);
  UNTIL (atomic_load (&f->clock) > since + 3 * PATIENCE);
  assert_false (atomic_load (&job.done));
  job_let_go (f, &job, STORE_WRITE);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 2 * MiB, sizeof buf, 1);
}

/* One that fails is not, for ever: the writer is told after a while. */
CACHE_TEST (failing_store, .dirty_limit = 256 * KiB, .fake_clock = true)
{
  struct job job;
  uint64_t since = atomic_load (&f->clock);

  fill_pattern (buf, sizeof buf, 2 * MiB, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  start_stuck_writer (f, 1, &job);
  assert_int_equal (job_join (&job), -EIO);
  assert_true (atomic_load (&f->clock) - since > PATIENCE);
  assert_int_equal (atomic_load (&f->mapping->throttle.waiters), 0);
  assert_int_equal (atomic_load (&f->mapping->throttle.reserved), 0);
  assert_true (atomic_load (&f->mapping->folios.nr_unsaved) <=
               f->mapping->throttle.limit);
  /* What was taken of it is kept. */
  fake_store_heal (f->fake);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 2 * MiB, 64 * KiB, 1);
  check_flushed (f);
}

/* A store whose flushes fail keeps writers out just so. */
CACHE_TEST (failing_flushes, .dirty_limit = 256 * KiB, .fake_clock = true)
{
  struct job job;

  fake_store_fail_next (f->fake, STORE_FLUSH, UINT32_MAX, -EIO);
  start_stuck_writer (f, 1, &job);
  assert_int_equal (job_join (&job), -EIO);
  fake_store_heal (f->fake);
  assert_int_equal (cache_flush (f->conn), 0);
  check_flushed (f);
}

/* One that fails only in part is waited for while it makes room for others, but
 * not for ever.
 */
CACHE_TEST (partly_failing_store, .fake_clock = true)
{
  struct mapping *mapping = f->mapping;
  uint64_t since = atomic_load (&f->clock), waited = 0;

  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_WRITE,
                                                  .length = 1,
                                                  .error = -ENOSPC,
                                                  .count = UINT32_MAX });
  put (f, 0, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), -ENOSPC);
  while (outbox_give_up (&mapping->outbox, since) == 0) {
    put (f, 8 * PAGE, PAGE, 1);
    assert_int_equal (put_flags (f, 1, 8 * PAGE, PAGE, 1, CACHE_FUA), 0);
    UNTIL (page_masks (f, 8) == 0xff);
    waited += NSEC_PER_SEC;
    atomic_store (&f->clock, since + waited);
  }
  assert_int_equal (outbox_give_up (&mapping->outbox, since), -ENOSPC);
  assert_true (waited > 2 * PATIENCE);
  assert_true (waited <= PATIENCE_BOUND + 2 * NSEC_PER_SEC);
  /* Without any it is over sooner. */
  since = atomic_load (&f->clock);
  atomic_fetch_add (&f->clock, PATIENCE + NSEC_PER_SEC);
  assert_int_equal (outbox_give_up (&mapping->outbox, since), -ENOSPC);
}

/* It comes back in time. */
CACHE_TEST (recovering_store, .dirty_limit = 256 * KiB)
{
  struct job job;

  fill_pattern (buf, sizeof buf, 2 * MiB, 1);
  fake_store_fail_next (f->fake, STORE_WRITE, 3, -EIO);
  fake_store_fail_next (f->fake, STORE_FLUSH, 2, -EIO);
  start_stuck_writer (f, 1, &job);
  assert_int_equal (job_join (&job), 0);
  while (cache_flush (f->conn) < 0)
    ;
  store_expect (f, 2 * MiB, sizeof buf, 1);
}

/* Dropping dirty data makes room. */
CACHE_TEST (zero_makes_room, .dirty_limit = 256 * KiB)
{
  struct range range = { .start = 0, .end = 2 * MiB };
  struct job job = {
    .op = JOB_WRITE, .buf = buf, .count = PAGE, .offset = 8 * MiB
  };
  struct job zero = { .op = JOB_ZERO, .count = 2 * MiB };

  ranges_add_wait (&f->mapping->folios.ranges,
                   &range); /* no write-back of it */
  put (f, 0, 256 * KiB, 1);
  job_start (f, 1, &job);
  until_waiting (f, 1);
  job_start (f, 2, &zero);
  fixture_until_asleep (f, 1);
  folios_end_range (&f->mapping->folios, &range);
  assert_int_equal (job_join (&zero), 0);
  assert_int_equal (job_join (&job), 0);
  assert_int_equal (cache_flush (f->conn), 0);
}

RUN_TESTS ()
