/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that loses something, on which data moves: where it was lost there may be
 * what another place of the disk had, and that is nobody's to read, to keep in memory,
 * or to make a block complete with.
 */

#include "volatile-fixture.h"

static struct fixture *
start_moving (struct fixture_config config)
{
  struct fixture *f = start_volatile (&config);

  store_put (f, 0, 16 * PAGE, 1);
  f->fs->moves = true;
  return f;
}

/* The job reads, and before the store has answered that has lost something: that answer
 * is of no use, and the next is.
 */
static void
check_answer (struct fixture *f, struct job *job)
{
  job_start_held (f, 0, job, STORE_READ);
  lose (f);
  store_put (f, 0, 16 * PAGE, 2);
  fake_store_release (f->fake, STORE_READ, 1);
  fake_store_wait_held (f->fake, STORE_READ, 1);
  store_put (f, 0, 16 * PAGE, 1);
  job_let_go (f, job, STORE_READ);
  expect (f, 0, PAGE, 1);
}

FIXTURE_TEST (filled, start_moving ((struct fixture_config) { 0 }))
{
  static uint8_t buf[PAGE_SIZE];
  struct job job = { .op = JOB_READ, .buf = buf, .count = PAGE };

  check_answer (f, &job);
}

FIXTURE_TEST (past_the_cache,
              start_moving ((struct fixture_config) { .mode = CACHE_NONE }))
{
  static uint8_t buf[PAGE_SIZE], want[PAGE_SIZE];
  struct job job = { .op = JOB_READ, .buf = buf, .count = PAGE };

  fill_pattern (want, PAGE, 0, 1);
  check_answer (f, &job);
  assert_memory_equal (buf, want, PAGE);
}

/* What a write leaves of its block. */
FIXTURE_TEST (completed, start_moving ((struct fixture_config) { 0 }))
{
  static uint8_t buf[PAGE_SIZE];
  struct job job = { .op = JOB_WRITE, .buf = buf, .count = 100 };

  fill_pattern (buf, PAGE, 0, 1);
  check_answer (f, &job);
}

/* Nobody is told where something is before the format knows of the loss. */
FIXTURE_TEST (not_known_yet,
              start_moving ((struct fixture_config) { .no_loop = true }))
{
  static uint8_t buf[PAGE_SIZE];
  struct job job = { .op = JOB_READ, .buf = buf, .count = PAGE };

  f->fs->told = store_losses (f->fs->store) + 1;
  fake_store_lose (f->fake, 0);
  store_put (f, 0, 16 * PAGE, 1);
  job_start (f, 0, &job);
  fixture_until_asleep (f, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_false (job.done);
  while (writeback_step (&f->mapping->wb))
    ;
  assert_int_equal (job_join (&job), 0);
  expect (f, 0, PAGE, 1);
}

RUN_TESTS ()
