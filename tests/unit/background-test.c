/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is written in the background, without anyone asking for it and before
 * any timer does.
 */

#include <errno.h>

#include "cache-fixture.h"

#define BACKGROUND 16u
#define PIECE (16 * PAGE)
#define DEPTH 16u

/* So much that the first pieces sent, as many as may be in flight, leave little
 * enough: the pass stops before its end.
 */
#define MUCH ((DEPTH - DEPTH / 4) * PIECE + BACKGROUND / 2 * PAGE)

static struct fixture *
start (void)
{
  return fixture_start (&(struct fixture_config) {
    .dirty_background = BACKGROUND * PAGE,
    .best_io = PIECE,
    .io_depth = DEPTH,
    .small_folios = true,
    .no_loop = true,
    .fake_clock = true,
  });
}

static void
step_until_idle (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb) || !writeback_idle (&f->mapping->wb))
    ;
}

static uint32_t
dirty (const struct fixture *f)
{
  return atomic_load (&f->mapping->folios.nr_dirty);
}

/* Write everything back and flush it. */
static void
save (struct fixture *f)
{
  mapping_kick (f->mapping);
  step_until_idle (f);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
}

/* Where it stopped last time does not matter for what is found next time. */
FIXTURE_TEST (behind_the_cursor, start ())
{
  unsigned i;

  for (i = 1; i <= 8; i++) {
    put (f, (16 - i) * MiB, MUCH, i);
    step_until_idle (f);
    assert_int_equal (dirty (f), BACKGROUND / 2);
    save (f);
    store_expect (f, (16 - i) * MiB, MUCH, i);
  }
}

/* Nor for what fails, when it is time to try again. */
FIXTURE_TEST (behind_the_cursor_after_backoff, start ())
{
  unsigned i;

  put (f, 8 * MiB, MUCH, 1);
  step_until_idle (f);
  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, -EIO);
  for (i = 0; i < 2 * ALL_FAILING; i++)
    put (f, 10 * MiB + 2 * i * PAGE, PAGE, 1);
  step_until_idle (f);
  fake_store_heal (f->fake);
  put (f, 0, MiB, 1);
  step_until_idle (f);
  assert_true (dirty (f) >= MiB / PAGE);

  atomic_store (&f->clock, writeback_deadline (&f->mapping->wb));
  step_until_idle (f);
  assert_true (dirty (f) <= BACKGROUND);
}

/* Zeroes that were lost, and cannot be done again, are no reason to keep data
 * from the store.
 */
CACHE_TEST (beside_lost_zeroes, .dirty_background = BACKGROUND * PAGE,
            .small_folios = true)
{
  assert_int_equal (cache_zero (f->conn, PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  put (f, MiB, MiB, 1);
  UNTIL (dirty (f) + atomic_load (&f->mapping->folios.nr_writeback) <=
         BACKGROUND);
  assert_int_equal (cache_flush (f->conn), -EIO);
  fake_store_heal (f->fake);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, MiB, MiB, 1);
}

/* What is locked is left, and not looked for again and again. */
FIXTURE_TEST (ends_when_all_is_locked, start ())
{
  struct folio *folios[2 * BACKGROUND];
  unsigned i;

  put (f, 0, sizeof folios / sizeof folios[0] * PAGE, 1);
  for (i = 0; i < 2 * BACKGROUND; i++) {
    folios[i] = index_get (f->mapping->folios.index, i);
    folio_lock (f->mapping->env, folios[i]);
  }
  step_until_idle (f);
  assert_int_equal (fake_store_count (f->fake, STORE_WRITE), 0);
  for (i = 0; i < 2 * BACKGROUND; i++) {
    folio_unlock (&f->mapping->folios, folios[i]);
    folio_put (f->mapping->folios.arena, folios[i]);
  }
  step_until_idle (f);
  assert_true (dirty (f) <= BACKGROUND);
}

/* A client that flushes after each write does not have to wake the loop for each: it
 * comes back by itself until the next pass is due.
 */
CACHE_TEST (not_woken_for_each, .no_loop = true, .fake_clock = true)
{
  struct writeback *wb = &f->mapping->wb;
  struct sync_req req = { .end = UINT64_MAX, .kind = SYNC_FLUSH };

  put (f, 0, PAGE_SIZE, 1);
  inbox_queue (&f->mapping->inbox, &req);
  while (writeback_step (wb) || !writeback_idle (wb))
    ;
  assert_int_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
  assert_true (atomic_load (&f->mapping->throttle.armed));
  assert_true (writeback_deadline (wb) <=
               atomic_load (&f->clock) + wb->config.interval);
  atomic_fetch_add (&f->clock, wb->config.interval);
  while (writeback_step (wb))
    ;
  assert_false (atomic_load (&f->mapping->throttle.armed));
  assert_true (writeback_deadline (wb) == ENV_FOREVER);
}

/* What became due since the last step is due still, not forgotten. */
static void
due_between_steps (int error)
{
  struct fixture *f = start ();
  struct writeback *wb = &f->mapping->wb;
  uint64_t due;

  fake_store_fail_next (f->fake, STORE_WRITE, UINT32_MAX, error);
  put (f, 0, 2 * BACKGROUND * PAGE, 1);
  step_until_idle (f);
  due = writeback_deadline (wb);
  assert_true (due > atomic_load (&f->clock));
  assert_true (due < atomic_load (&f->clock) + wb->config.interval);
  atomic_store (&f->clock, due + 1);
  assert_true (writeback_deadline (wb) == due);
  fake_store_heal (f->fake);
  step_until_idle (f);
  fixture_stop (f);
}

TEST (due_between_steps)
{
  due_between_steps (-EHOSTDOWN);
  due_between_steps (-EIO);
}

RUN_TESTS ()
