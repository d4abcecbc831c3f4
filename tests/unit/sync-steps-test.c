/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs at moments that the loop thread seldom meets: the test makes write-back's
 * steps.
 */

#include <errno.h>

#include "volatile-fixture.h"

static struct fixture *
start (bool fua)
{
  return start_volatile (&(struct fixture_config) {
    .small_folios = true, .no_loop = true, .fake_clock = true, .fua = fua });
}

static void
queue (struct fixture *f, struct sync_req *req, uint64_t end,
       enum sync_kind kind)
{
  *req = (struct sync_req) { .end = end, .kind = kind };
  inbox_queue (&f->mapping->inbox, req);
}

/* As far as it goes without the store. */
static void
step (struct fixture *f)
{
  while (writeback_step (&f->mapping->wb))
    ;
}

static void
step_until_idle (struct fixture *f)
{
  do
    step (f);
  while (!writeback_idle (&f->mapping->wb));
}

/* One that comes while the sweep after a flush that failed is at work has to send
 * also what that has still to make dirty.
 */
FIXTURE_TEST (comes_during_sweep, start (false))
{
  struct sync_req first, second;

  put (f, 0, 4 * MiB, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  queue (f, &first, UINT64_MAX, SYNC_FLUSH);
  while (fake_store_held (f->fake, STORE_FLUSH) == 0)
    step (f);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  UNTIL (atomic_load (&f->mapping->inbox.flush_done));
  queue (f, &second, UINT64_MAX, SYNC_FLUSH);
  assert_true (writeback_step (&f->mapping->wb));
  assert_true (atomic_load (&f->mapping->folios.nr_unstable) > 0);
  step_until_idle (f);
  assert_int_equal (first.error, -EIO);
  assert_int_equal (second.error, 0);
  power_cut (f);
  store_expect (f, 0, 4 * MiB, 1);
}

/* One by FUA waits for write-back of its range, and sends that again: a flush would
 * be for all that is unstable.
 */
FIXTURE_TEST (fua_comes_during_writeback, start (true))
{
  struct sync_req write, fua;

  put (f, 0, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  queue (f, &write, PAGE, SYNC_WRITE);
  while (fake_store_held (f->fake, STORE_WRITE) == 0)
    step (f);
  queue (f, &fua, PAGE, SYNC_FUA);
  step (f);
  fake_store_unhold (f->fake, STORE_WRITE);
  step_until_idle (f);
  assert_int_equal (fua.error, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
}

/* In the place of the fs's, once: the store loses something, after write-back has
 * asked for losses, and before the fs does.
 */
static void
lose_and_end (struct fs *fs, const struct iomap_run *runs, unsigned n,
              const struct iomap_place *place, int error)
{
  struct fixture *f = (struct fixture *) fs->store->env; /* its first member */

  f->ops.ioend_done = f->raw_ops->ioend_done;
  lose (f);
  f->raw_ops->ioend_done (fs, runs, n, place, error);
}

/* The zero beneath data with FUA is to be done again then: so is the data, after it,
 * although it is durable.
 */
FIXTURE_TEST (fua_over_zero_that_is_lost, start (true))
{
  struct sync_req fua;

  assert_int_equal (cache_zero (f->conn, PAGE, 0, 0), 0);
  fs_settle (f->fs, 0, PAGE);
  step (f);
  UNTIL (atomic_load (&f->fs->unstable) > 0 || (step (f), false));
  put (f, 0, PAGE, 1);
  f->ops.ioend_done = lose_and_end;
  queue (f, &fua, PAGE, SYNC_FUA);
  step_until_idle (f);
  assert_int_equal (fua.error, 0);
  assert_int_equal (throttle_unsaved (&f->mapping->throttle), 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
}

/* In the place of the fs's, once: the connection is lost with the flush that is on,
 * after write-back has asked for losses.
 */
static bool
lose_with_flush (struct fs *fs, uint64_t now)
{
  struct fixture *f = (struct fixture *) fs->store->env; /* its first member */

  f->ops.step = f->raw_ops->step;
  lose (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  UNTIL (atomic_load (&f->mapping->inbox.flush_done));
  return f->raw_ops->step (fs, now);
}

/* That is the loss itself, and nobody's error. */
FIXTURE_TEST (flush_lost_between_two_looks, start (false))
{
  struct sync_req req;

  put (f, 0, PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  queue (f, &req, UINT64_MAX, SYNC_FLUSH);
  while (fake_store_held (f->fake, STORE_FLUSH) == 0)
    step (f);
  f->ops.step = lose_with_flush;
  step_until_idle (f);
  assert_int_equal (req.error, 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
}

/* What could not be written within something larger may be written alone: only those
 * are told that want what is bad.
 */
FIXTURE_TEST (fails_next_to_it, start (false))
{
  struct sync_req all, part;

  put (f, 0, 4 * PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  queue (f, &all, 4 * PAGE, SYNC_WRITE);
  while (fake_store_held (f->fake, STORE_WRITE) == 0)
    step (f);
  queue (f, &part, PAGE, SYNC_FUA);
  step (f);
  fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_WRITE,
                                                  .offset = 2 * PAGE,
                                                  .length = 512,
                                                  .error = -EIO,
                                                  .count = 1000 });
  fake_store_unhold (f->fake, STORE_WRITE);
  step_until_idle (f);
  assert_int_equal (all.error, -EIO);
  assert_int_equal (part.error, 0);
  power_cut (f);
  store_expect (f, 0, PAGE, 1);
}

/* --- beside writes past the cache --- */

static struct fixture *
start_with_cutoff (bool fua)
{
  return start_volatile (
    &(struct fixture_config) { .small_folios = true,
                               .no_loop = true,
                               .sequential_cutoff = 16 * PAGE,
                               .fua = fua });
}

/* In the place of the fs's, once: after write-back has asked for losses something is
 * lost, and something written past the cache.
 */
static bool
lose_and_write (struct fs *fs, uint64_t now)
{
  struct fixture *f = (struct fixture *) fs->store->env; /* its first member */

  f->ops.step = f->raw_ops->step;
  lose (f);
  put (f, 1 * MiB, 16 * PAGE, 2);
  return f->raw_ops->step (fs, now);
}

/* Begin a flush so, of which the loss is seen only then: what was written is not among
 * what was lost.
 */
static void
flush_behind_write (struct fixture *f, struct sync_req *req)
{
  put (f, 0, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  queue (f, req, UINT64_MAX, SYNC_FLUSH);
  while (fake_store_held (f->fake, STORE_WRITE) == 0)
    step (f);
  fake_store_hold (f->fake, STORE_FLUSH);
  fake_store_unhold (f->fake, STORE_WRITE);
  UNTIL (f->mapping->inbox.done != NULL);
  f->ops.step = lose_and_write;
  step (f);
  assert_int_equal (fake_store_held (f->fake, STORE_FLUSH), 1);
  assert_false (mapping_lost_untold (f->mapping));
}

/* The flush proves nothing, and another has to follow. */
FIXTURE_TEST (written_between_loss_and_flush, start_with_cutoff (true))
{
  struct sync_req req;

  flush_behind_write (f, &req);
  fake_store_unhold (f->fake, STORE_FLUSH);
  step_until_idle (f);
  assert_int_equal (req.error, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_FLUSH), 2);
  assert_false (mapping_lost_untold (f->mapping));
  power_cut (f);
  store_expect (f, 1 * MiB, 16 * PAGE, 2);
}

/* If it fails it is lost after all, and clients are told. */
FIXTURE_TEST (lost_between_loss_and_flush, start_with_cutoff (true))
{
  struct sync_req req;

  flush_behind_write (f, &req);
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  fake_store_unhold (f->fake, STORE_FLUSH);
  step_until_idle (f);
  assert_true (mapping_lost_untold (f->mapping));
}

/* --- what becomes dirty behind a sync's back --- */

/* A write past the cache fails: the store may have anything there now, so that what
 * was unstable is to be written again.
 */
static void
fail_past_cache (struct fixture *f)
{
  fake_store_fail_next (f->fake, STORE_WRITE, 1, -EIO);
  assert_int_equal (put_flags (f, 0, 0, 16 * PAGE, 2, 0), -EIO);
}

/* It is over when that has been, too. */
static void
expect_saved (struct fixture *f, struct sync_req *req)
{
  step_until_idle (f);
  assert_int_equal (req->error, 0);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_unsaved), 0);
  power_cut (f);
  store_expect (f, 0, 4 * PAGE, 1);
}

/* While it is flushed. */
FIXTURE_TEST (redone_while_flushing, start_with_cutoff (false))
{
  struct sync_req req;

  put (f, 0, 4 * PAGE, 1);
  fake_store_hold (f->fake, STORE_FLUSH);
  queue (f, &req, UINT64_MAX, SYNC_FLUSH);
  while (fake_store_held (f->fake, STORE_FLUSH) == 0)
    step (f);
  fail_past_cache (f);
  fake_store_unhold (f->fake, STORE_FLUSH);
  expect_saved (f, &req);
}

/* In the place of the fs's: once, when it is being found out whether all is durable. */
static bool
fail_when_asked (struct fs *fs, uint64_t start, uint64_t end)
{
  struct fixture *f = (struct fixture *) fs->store->env; /* its first member */

  f->ops.unsettled = f->raw_ops->unsettled;
  fail_past_cache (f);
  return f->raw_ops->unsettled (fs, start, end);
}

FIXTURE_TEST (redone_while_drained, start_with_cutoff (false))
{
  struct sync_req req;

  put (f, 0, 4 * PAGE, 1);
  f->ops.unsettled = fail_when_asked;
  queue (f, &req, 4 * PAGE, SYNC_FUA);
  expect_saved (f, &req);
}

/* --- a folio that is written all the time --- */

static struct {
  struct fixture *_Atomic f; /* NULL: not now */
  size_t (*copy_in) (struct mapping *mapping, void *dst, const void *src,
                     size_t n);
  unsigned turns;
} hot;

/* The loop thread comes whenever the folio is locked. */
static size_t
step_and_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  step (atomic_load (&hot.f));
  return hot.copy_in (mapping, dst, src, n);
}

/* A writer waits, which is time for it, too. */
static bool
step_when_waited (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
                  uint64_t deadline)
{
  if (atomic_load (&hot.f) == NULL || value != FOLIO_TURN ||
      atomic_load (word) != value)
    return false;
  assert_true (deadline != ENV_FOREVER);
  hot.turns++;
  step (f);
  return true;
}

/* However often a folio is written, what was dirty is sent when it has been unlocked
 * once; and writers wait no more than that once.
 */
FIXTURE_TEST (hot_folio, fixture_start (&(struct fixture_config) {
                           .no_loop = true, .wait = step_when_waited }))
{
  struct sync_req req;
  unsigned i;

  put (f, 0, PAGE, 1);
  hot.turns = 0;
  hot.copy_in = f->mapping->hooks.copy_in;
  atomic_store (&hot.f, f);
  f->mapping->hooks.copy_in = step_and_copy;
  queue (f, &req, UINT64_MAX, SYNC_FLUSH);
  for (i = 2; i < 10; i++)
    put (f, 0, PAGE, i);
  assert_true (fake_store_count (f->fake, STORE_WRITE) > 0);
  assert_int_equal (hot.turns, 1);
  step_until_idle (f);
  assert_int_equal (req.error, 0);
  store_expect (f, 0, PAGE, 2);
  atomic_store (&hot.f, NULL);
}

/* A turn that the loop thread does not take is over after a moment. */
FIXTURE_TEST (turn_not_taken, start (false))
{
  struct folio *folio;

  put (f, 0, PAGE, 1);
  folio = index_get (f->mapping->folios.index, 0);
  assert_true (folio_trylock (folio));
  assert_false (folio_trylock_wanted (folio));
  folio_unlock (&f->mapping->folios, folio);
  assert_false (folio_locked (folio));
  assert_false (folio_trylock (folio));
  put (f, 0, PAGE, 2);
  assert_true (folio_trylock (folio));
  folio_unlock (&f->mapping->folios, folio);
  folio_put (f->mapping->folios.arena, folio);
  expect (f, 0, PAGE, 2);
}

RUN_TESTS ()
