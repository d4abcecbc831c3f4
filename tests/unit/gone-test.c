/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes of a client that hangs up while they wait, for each thing that a write
 * can wait for: they change nothing any more.
 */

#include <errno.h>
#include <stdlib.h>

#include "gone-world.h"

/* --- what does not wait --- */

/* Nobody is asked on account of hits, whether the client is there or not. */
GONE_TEST (hits_do_not_ask)
{
  put (f, 0, 8 * PAGE, 1);
  put (f, 0, 4 * PAGE, 2);
  put (f, 100, 2000, 2);
  expect (f, 4 * PAGE, 4 * PAGE, 1);
  assert_int_equal (world.asked, 0);
}

/* Once it is known, requests fail without asking: hits, misses and all others. */
GONE_TEST (known)
{
  store_put (f, 0, 16 * PAGE, 1);
  put (f, 0, 4 * PAGE, 2);
  gone_known (f);
  assert_int_equal (put_flags (f, 0, 0, PAGE, 3, 0), -ECONNABORTED);
  assert_int_equal (put_flags (f, 0, 100, 100, 3, 0), -ECONNABORTED);
  assert_int_equal (put_flags (f, 0, 3 * PAGE, 2 * PAGE, 3, 0), -ECONNABORTED);
  assert_int_equal (put_flags (f, 0, 8 * PAGE, PAGE, 3, CACHE_FUA),
                    -ECONNABORTED);
  assert_int_equal (cache_zero (f->conn, PAGE, 0, 0), -ECONNABORTED);
  assert_int_equal (cache_zero (f->conn, 10, 10, 0), -ECONNABORTED);
  assert_int_equal (cache_trim (f->conn, PAGE, 0, 0), -ECONNABORTED);
  assert_int_equal (world.asked, 1);
  expect (f, 0, 4 * PAGE, 2);
  expect (f, 4 * PAGE, 12 * PAGE, 1);
  assert_int_equal (failures (f), 0);
  /* Others are not concerned. */
  assert_int_equal (put_flags (f, 1, 0, PAGE, 3, 0), 0);
  expect (f, 0, PAGE, 3);
}

/* A read, or flush, that has waited is what makes it known. */
static void
test_noticed_by (enum job_op op)
{
  struct fixture *f = start_gone (&(struct fixture_config) { 0 });
  static uint8_t buf[PAGE_SIZE];
  struct job job = { .op = op, .buf = buf, .count = PAGE, .offset = PAGE };
  enum store_op held = op == JOB_READ ? STORE_READ : STORE_FLUSH;

  put (f, 0, PAGE, 1);
  fake_store_hold (f->fake, held);
  job_start (f, 0, &job);
  fake_store_wait_held (f->fake, held, 1);
  world.gone = true;
  fake_store_unhold (f->fake, held);
  assert_int_equal (job_join (&job), 0);
  assert_int_equal (put_flags (f, 0, 0, PAGE, 2, 0), -ECONNABORTED);
  expect (f, 0, PAGE, 1);
  fixture_stop (f);
}

TEST (read)
{
  test_noticed_by (JOB_READ);
}

TEST (flush)
{
  test_noticed_by (JOB_FLUSH);
}

/* At shutdown, when it is no use any more, nobody is asked. */
GONE_TEST (shutdown)
{
  put (f, 0, PAGE, 1);
  mapping_shutdown (f->mapping);
  world.gone = true;
  flush_ok (f, 0);
  assert_int_equal (world.asked, 0);
}

/* --- what it waits for --- */

/* Room below the limit: it does not stay until there is some. */
GONE_TEST (room, .dirty_limit = 64 * PAGE, .small_folios = true)
{
  struct job job = write_job (64 * PAGE, 16 * PAGE);

  fake_store_hold (f->fake, STORE_WRITE);
  atomic_store (&f->conns[1]->pace.clock, 0);
  fill_up (f, 1);
  job_start (f, 0, &job);
  fixture_until_asleep (f, 1);
  world.gone = true;
  assert_int_equal (job_join (&job), -ECONNABORTED);
  fake_store_unhold (f->fake, STORE_WRITE);
  expect_zero (f, 64 * PAGE, 16 * PAGE);
  assert_int_equal (atomic_load (&f->mapping->throttle.reserved), 0);
  assert_int_equal (atomic_load (&f->mapping->throttle.waiters), 0);
  free (job.buf);
}

/* Pacing. */
GONE_TEST (pause, .dirty_limit = 1024 * PAGE, .small_folios = true,
           .no_loop = true, .fake_clock = true, .wait = hang_up_at_wait)
{
  uint64_t page = 0;

  for (; !balance_active (&f->mapping->throttle); page++)
    put (f, page * PAGE, PAGE, 1);
  atomic_store (&f->mapping->throttle.balance.limits.pause_max,
                10 * NSEC_PER_SEC);
  atomic_store (&f->conn->pace.clock, f->env.now (&f->env) + 10 * NSEC_PER_SEC);
  world.hang_up = true;
  assert_int_equal (put_flags (f, 0, 0, PAGE, 2, 0), -ECONNABORTED);
  assert_true (world.waits > 0);
  expect (f, 0, page * PAGE, 1);
  assert_int_equal (atomic_load (&f->mapping->throttle.balance.pausing), 0);
}

/* Memory. */
static struct folio *
alloc_late (struct mapping *mapping, unsigned order, bool wait)
{
  if (order > 0 || !wait)
    return NULL;
  world.gone = true;
  return world.alloc (mapping, order, wait);
}

GONE_TEST (memory)
{
  store_put (f, 0, 8 * PAGE, 1);
  world.alloc = f->mapping->hooks.alloc;
  f->mapping->hooks.alloc = alloc_late;
  assert_int_equal (put_flags (f, 0, PAGE, 2 * PAGE, 2, 0), -ECONNABORTED);
  f->mapping->hooks.alloc = world.alloc;
  expect (f, 0, 8 * PAGE, 1);
}

/* The folio's lock, held for the store's answer to another's write; of what is
 * dirty, what is not, and a whole page.
 */
static void
folio_lock_waits (uint64_t offset, uint64_t n)
{
  struct fixture *f = start_gone (&(struct fixture_config) { 0 });
  struct job other = write_job (2 * PAGE + 10, 100);
  struct job job = write_job (offset, n);

  store_put (f, 0, 8 * PAGE, 1);
  put (f, 2 * PAGE + 2048, 512, 1);
  job_start_held (f, 1, &other, STORE_READ);
  job_start (f, 0, &job);
  fixture_until_asleep (f, 2);
  world.gone = true;
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  assert_int_equal (job_join (&other), 0);
  expect (f, 2 * PAGE + 10, 100, WRITE_JOB);
  expect (f, 0, 2 * PAGE + 10, 1);
  expect (f, 2 * PAGE + 110, 6 * PAGE - 110, 1);
  free (job.buf);
  free (other.buf);
  fixture_stop (f);
}

/* The same of the second folio that is written to: the first is done. */
static void
second_lock_waits (void)
{
  struct fixture *f =
    start_gone (&(struct fixture_config) { .small_folios = true });
  struct job other = write_job (PAGE + 10, 100), job = write_job (0, 2 * PAGE);

  store_put (f, 0, 8 * PAGE, 1);
  job_start_held (f, 1, &other, STORE_READ);
  job_start (f, 0, &job);
  fixture_until_asleep (f, 2);
  world.gone = true;
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  assert_int_equal (job_join (&other), 0);
  expect (f, 0, PAGE, WRITE_JOB);
  expect (f, PAGE, 10, 1);
  expect (f, PAGE + 10, 100, WRITE_JOB);
  expect (f, PAGE + 110, 6 * PAGE, 1);
  free (job.buf);
  free (other.buf);
  fixture_stop (f);
}

TEST (folio_lock)
{
  second_lock_waits ();
  folio_lock_waits (2 * PAGE + 2048, 512);
  folio_lock_waits (2 * PAGE + 1024, 512);
  folio_lock_waits (2 * PAGE, PAGE);
}

/* The rest of a block, of which it writes a part. */
GONE_TEST (part_of_block)
{
  struct job job = write_job (10, 1000);

  store_put (f, 0, 8 * PAGE, 1);
  job_start_held (f, 0, &job, STORE_READ);
  world.gone = true;
  fake_store_unhold (f->fake, STORE_READ);
  assert_int_equal (job_join (&job), -ECONNABORTED);
  expect (f, 0, 8 * PAGE, 1);
  free (job.buf);
}

/* --- what is long --- */

/* Time passes while it is copied in. */
static size_t
slow_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  struct fixture *f = (struct fixture *) mapping->env;

  folio_copy_in (dst, src, n);
  atomic_fetch_add (&f->clock, NSEC_PER_MSEC);
  if (++world.copies == 300)
    world.gone = true;
  return n;
}

/* Written for the first time, or over what is dirty. */
static void
long_write (bool dirty)
{
  struct fixture *f = start_gone (
    &(struct fixture_config) { .small_folios = true, .fake_clock = true });

  if (dirty)
    assert_int_equal (put_flags (f, 1, 0, 8 * MiB, 1, 0), 0);
  else
    store_put (f, 0, 8 * MiB, 1);
  f->mapping->hooks.copy_in = slow_copy;
  assert_int_equal (put_flags (f, 0, 0, 8 * MiB, 2, 0), -ECONNABORTED);
  assert_true (world.copies >= 300 && world.copies <= 400);
  expect (f, 0, 300 * PAGE, 2);
  expect (f, 400 * PAGE, 8 * MiB - 400 * PAGE, 1);
  fixture_stop (f);
}

TEST (long)
{
  long_write (false);
  long_write (true);
}

RUN_TESTS ()
