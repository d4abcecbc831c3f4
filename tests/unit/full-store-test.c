/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that is full, and all memory pinned by folios that cannot be written
 * back, though little of each is dirty and the dirty limit is far away.
 */

#include <errno.h>

#include "cache-fixture.h"

#define LARGE (32 * KiB)
#define FAR (8 * MiB) /* nothing of it is cached */

/* One sector of each large folio, then of new ones, until there is no memory
 * for another.  Returns how many bytes from FAR / 2 on have one in each page.
 */
static uint64_t
pin_all (struct fixture *f)
{
  uint64_t offset;
  int r = 0;

  assert_int_equal (PAGE << f->mapping->config.folio_max_order, LARGE);
  for (offset = 0; offset < 1 * MiB + 512 * KiB; offset += LARGE)
    put (f, offset, LARGE, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  check_flushed (f);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -ENOSPC);
  for (offset = 0; offset < 1 * MiB + 512 * KiB; offset += LARGE)
    put (f, offset + PAGE, 512, 2);
  for (offset = FAR / 2; r == 0 && offset < FAR; offset += PAGE)
    r = put_flags (f, 0, offset, 512, 2, 0);
  assert_int_equal (r, -ENOSPC);
  assert_true (atomic_load (&f->mapping->folios.nr_unsaved) <
               f->mapping->throttle.limit / 2);
  return offset - PAGE - FAR / 2;
}

static struct fixture *
start_small (void)
{
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .cache_size = 2 * MiB, .fake_clock = true });

  store_put (f, 0, f->config.disk_size, 0);
  return f;
}

FIXTURE_TEST (reads_go_on, start_small ())
{
  uint64_t pinned = pin_all (f);

  expect (f, FAR + 100, 1 * MiB, 0);
  expect (f, PAGE, 512, 2);
  expect (f, PAGE + 512, LARGE - PAGE - 512, 1);
  expect (f, FAR / 2 + pinned - PAGE, 512, 2);
  expect (f, FAR / 2 + pinned - PAGE + 512, PAGE - 512, 0);
  /* In a request that is partly in memory. */
  expect (f, FAR / 2 + 512, PAGE - 512, 0);
  fake_store_heal (f->fake);
  assert_int_equal (cache_flush (f->conns[1]), 0);
  check_flushed (f);
  store_expect (f, FAR / 2 + pinned - PAGE, 512, 2);
}

FIXTURE_TEST (shutdown_goes_on, start_small ())
{
  pin_all (f);
  mapping_shutdown (f->mapping);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), -ENOSPC);
  assert_int_equal (put_flags (f, 0, FAR, 512, 3, 0), -ESHUTDOWN);
  expect (f, FAR, PAGE, 0);
  fake_store_heal (f->fake);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), 0);
  store_expect (f, PAGE, 512, 2);
  store_expect (f, FAR / 2, 512, 2);
}

/* A writer that waits for memory is not left behind. */
CACHE_TEST (shutdown_wakes_writer, .cache_size = 2 * MiB,
            .dirty_limit = 16 * MiB)
{
  /* So that it waits for nothing else. */
  uint8_t data[512] = { 1 };
  struct job job = { .op = JOB_WRITE, .buf = data, .count = sizeof data };
  uint64_t offset;

  /* Nothing fails, but nothing ends either. */
  fake_store_hold (f->fake, STORE_WRITE);
  for (offset = 0; offset < MiB + MiB / 2; offset += LARGE)
    put (f, offset, LARGE, 1);
  for (job.offset = FAR;; job.offset += PAGE) {
    job_start (f, 1, &job);
    UNTIL (atomic_load (&job.done) || atomic_load (&f->asleep) > 0);
    if (!atomic_load (&job.done))
      break;
    assert_int_equal (job_join (&job), 0);
  }
  mapping_shutdown (f->mapping);
  assert_int_equal (job_join (&job), -ESHUTDOWN);
  fake_store_unhold (f->fake, STORE_WRITE);
}

static void
step_until_idle (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb) || !writeback_idle (&f->mapping->wb))
    ;
}

/* Who is short of memory asks again and again: a store that fails is left in
 * peace for a while all the same.
 */
CACHE_TEST (backoff_in_need, .no_loop = true, .fake_clock = true)
{
  unsigned i, tries;

  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -ENOSPC);
  for (i = 0; i < 2 * ALL_FAILING; i++)
    put (f, 2 * i * PAGE, PAGE, 1);
  mapping_kick (f->mapping);
  step_until_idle (f);
  tries = fake_store_count (f->fake, STORE_WRITE);
  assert_true (tries >= 2 * ALL_FAILING);
  mapping_kick (f->mapping);
  step_until_idle (f);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), tries);

  fake_store_heal (f->fake);
  atomic_store (&f->clock, writeback_deadline (&f->mapping->wb));
  step_until_idle (f);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
}

RUN_TESTS ()
