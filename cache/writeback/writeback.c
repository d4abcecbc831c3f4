/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back: what is done when.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/writeback/ioend.h"
#include "cache/mapping.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync.h"

/* Between flushes for those who wait for room, while the store writes (ns). */
#define WAITERS_FLUSH_PERIOD (50 * NSEC_PER_MSEC)

/* The largest single store write: the store's best, but leaving room for
 * several in the bounce arena.
 */
static uint32_t
choose_max_io (const struct mapping *mapping)
{
  const struct store_geometry *geo = &mapping->fs->store->geo;
  uint32_t max = PAGE_SIZE << MAX_ORDER;
  uint32_t share = mapping->bounce->nr_pages / 8 * PAGE_SIZE;

  if (max > geo->best_io)
    max = geo->best_io;
  if (max > geo->max_io)
    max = geo->max_io;
  if (max > share)
    max = share;
  return max < PAGE_SIZE ? PAGE_SIZE : max & ~(PAGE_SIZE - 1);
}

int
writeback_init (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  unsigned i, depth = mapping->config.io_depth;

  pthread_mutex_init (&wb->lock, NULL);
  sync_list_init (&wb->queue);
  sync_list_init (&wb->writing);
  sync_list_init (&wb->draining);
  sync_list_init (&wb->ready);
  sync_list_init (&wb->again);
  sync_list_init (&wb->flushing);
  sync_list_init (&wb->released);
  wb->max_io = choose_max_io (mapping);
  wb->own_sync = (struct sync_req) { .end = UINT64_MAX, .flush = true };
  wb->next_pass = ENV_FOREVER;
  wb->losses = store_losses (mapping->fs->store);

  wb->ioends = calloc (depth, sizeof *wb->ioends);
  if (wb->ioends == NULL)
    return -ENOMEM;
  for (i = 0; i < depth; i++) {
    wb->ioends[i].mapping = mapping;
    wb->ioends[i].next = wb->free;
    wb->free = &wb->ioends[i];
  }
  return 0;
}

void
writeback_destroy (struct mapping *mapping)
{
  free (mapping->wb.ioends);
  pthread_mutex_destroy (&mapping->wb.lock);
}

/* --- background work --- */

bool
writeback_over_background (const struct mapping *mapping)
{
  return atomic_load (&mapping->folios.nr_dirty) +
           atomic_load (&mapping->folios.nr_writeback) >
         balance_background (mapping);
}

/* Has it been dirty for long enough?  (Units of 10 ms, which wrap.) */
static bool
expired (struct mapping *mapping, const struct folio *folio)
{
  uint32_t now = folio_clock (mapping->env);
  uint64_t age = mapping->config.dirty_expire / (10 * NSEC_PER_MSEC);

  return (uint32_t) (now - folio->dirtied) >= age;
}

/* Send what is dirty, going round the disk, until there is little enough; or
 * until a whole round has sent nothing, since all that is left is in use, or bad:
 * then we are kicked.  (A round may be long: others have gone on behind it.)
 */
static bool
background_step (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct wb_pass *pass = &wb->background_pass;
  bool more;

  if (!writeback_over_background (mapping)) {
    atomic_store (&wb->background, false);
    /* Whoever went over it just now may have seen that we are at it. */
    if (!writeback_over_background (mapping))
      return false;
  }
  atomic_store (&wb->background, true);
  if (!pass->active)
    *pass = (struct wb_pass) { .active = true, .kind = PASS_BACKGROUND };
  more = pass_run (mapping, pass, NULL);
  return more || (!pass->active && pass->sent);
}

/* Is there anything to come back for?  If not, the next writer wakes us: it
 * counts first and then looks at the flag, we do the opposite.
 */
static bool
arm_timer (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  bool armed = atomic_load (&mapping->folios.nr_unsaved) != 0;

  if (atomic_load (&wb->armed) == armed)
    return armed;
  atomic_store (&wb->armed, armed);
  if (!armed && atomic_load (&mapping->folios.nr_unsaved) != 0) {
    atomic_store (&wb->armed, true);
    armed = true;
  }
  return armed;
}

/* A pass over what is old, every interval; and a flush for what is not. */
static bool
periodic_step (struct mapping *mapping, uint64_t now)
{
  struct writeback *wb = &mapping->wb;

  if (!arm_timer (mapping)) {
    wb->next_pass = ENV_FOREVER;
    wb->expire_pass.active = false;
    return false;
  }
  if (wb->next_pass == ENV_FOREVER)
    wb->next_pass = now + mapping->config.writeback_interval;
  if (now >= wb->next_pass) {
    wb->next_pass = now + mapping->config.writeback_interval;
    wb->expire_pass =
      (struct wb_pass) { .active = true, .kind = PASS_BACKGROUND };
    if (atomic_load (&mapping->folios.nr_unstable) &&
        !sync_awaits_flush (mapping))
      sync_start_flush (mapping);
  }
  return wb->expire_pass.active &&
         pass_run (mapping, &wb->expire_pass, expired);
}

/* Is something still being written where the pass has been? */
static bool
in_writeback (struct mapping *mapping, const struct wb_pass *pass)
{
  struct folio *folio =
    index_get_tagged (mapping->folios.index, pass->start >> PAGE_SHIFT,
                      (pass->end - 1) >> PAGE_SHIFT, TAG_WRITEBACK);

  if (folio)
    folio_put (mapping->folios.arena, folio);
  return folio != NULL;
}

/* Try what is due of the bad ranges, one after the other. */
static bool
retry_step (struct mapping *mapping, uint64_t now)
{
  struct writeback *wb = &mapping->wb;
  struct wb_pass *pass = &wb->retry_pass;
  const struct bad_range *due;
  bool more;

  if (!pass->active) {
    due = bad_ranges_due (&wb->bad, now);
    if (due == NULL)
      return false;
    *pass = (struct wb_pass) {
      .active = true,
      .kind = PASS_RETRY,
      .start = due->start,
      .pos = due->start,
      .end = due->end,
    };
    if (due->bad && due->backoff == BACKOFF_MIN)
      writeback_log_bad (mapping, due);
    bad_ranges_tried (&wb->bad, due->start, due->end, now);
  }
  more = pass_run (mapping, pass, NULL);
  if (pass->active)
    return more;
  if (!pass->found && !pass->skipped && !in_writeback (mapping, pass))
    writeback_not_dirty (mapping, pass->start, pass->end);
  return true;
}

/* Does somebody wait for what is unstable to be flushed?  They ask again until
 * there is room, and each flush keeps the store from writing.
 */
static bool
flush_for_waiters (const struct mapping *mapping, uint64_t now)
{
  return atomic_load (&mapping->folios.nr_unstable) > 0 &&
         atomic_load (&mapping->throttle.waiters) > 0 &&
         (atomic_load (&mapping->folios.nr_writeback) == 0 ||
          now >= mapping->wb.group_commit.ended + WAITERS_FLUSH_PERIOD);
}

/* Unstable data counts against the dirty limit and cannot be evicted. */
static void
flush_unstable (struct mapping *mapping, uint64_t now)
{
  if (sync_awaits_flush (mapping))
    return; /* that flush does it */
  if (balance_wants_flush (mapping) || flush_for_waiters (mapping, now))
    sync_start_flush (mapping);
}

/* Someone is short of clean memory: sync all, as if asked to; but they ask again
 * and again, so a store that fails is left in peace first.
 */
static void
queue_own_sync (struct mapping *mapping, uint64_t now)
{
  struct writeback *wb = &mapping->wb;

  bool unsaved = atomic_load (&mapping->folios.nr_unsaved) > 0;

  if (wb->own_pending || (unsaved && now < wb->retry_at) ||
      !atomic_exchange (&wb->want_clean, false))
    return;
  if (!unsaved && !atomic_load (&wb->unflushed))
    return;
  wb->own_pending = true;
  wb->own_sync.error = 0;
  writeback_queue (mapping, &wb->own_sync);
}

/* The store says that it is better now, or worse: what it failed to do before
 * is no reason to wait.
 */
static void
see_change (struct mapping *mapping)
{
  if (atomic_exchange (&mapping->wb.store_changed, false)) {
    writeback_hope (mapping);
    fs_retry (mapping->fs);
  }
  sync_see_losses (mapping);
}

/* Must background work wait until we are kicked?  For zeroes to be done again,
 * which take the data over them with them, but not if they fail.
 */
static bool
held_back (struct mapping *mapping)
{
  struct zeroes *zeroes = &mapping->zeroes;

  return mapping->wb.settling ||
         (zeroes_to_redo (zeroes) && zeroes_redo_error (zeroes) == 0);
}

bool
writeback_step (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint64_t now = mapping->env->now (mapping->env);
  bool more;

  balance_step (mapping, now);
  see_change (mapping);
  more = fs_step (mapping->fs, now);
  if (ioend_reap (mapping))
    more = true;
  if (sync_flush_step (mapping))
    more = true;
  queue_own_sync (mapping, now);
  if (sync_drain_step (mapping))
    more = true;
  sync_complete_all (mapping, &wb->released, 0);
  if (sync_step (mapping))
    more = true;
  flush_unstable (mapping, now);
  if (now >= wb->retry_at && !held_back (mapping)) {
    if (periodic_step (mapping, now))
      more = true;
    if (retry_step (mapping, now))
      more = true;
    if (background_step (mapping))
      more = true;
  }
  return more;
}

uint64_t
writeback_deadline (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint64_t next = fs_deadline (mapping->fs), now;

  if (sync_awaits_flush (mapping))
    next = min_u64 (next, wb->flush_at);
  if (held_back (mapping) ||
      (!atomic_load (&mapping->folios.nr_unsaved) && wb->bad.n == 0))
    return next;
  now = mapping->env->now (mapping->env);
  if (wb->retry_at > now)
    return min_u64 (next, wb->retry_at);
  next = min_u64 (next, wb->next_pass);
  next = min_u64 (next, bad_ranges_deadline (&wb->bad, now));
  return min_u64 (next, balance_deadline (mapping));
}

bool
writeback_idle (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  bool idle;

  pthread_mutex_lock (&wb->lock);
  idle = wb->queue.head == NULL && wb->done == NULL;
  pthread_mutex_unlock (&wb->lock);
  return idle && wb->in_flight == 0 && wb->flush_state == FLUSH_IDLE &&
         !wb->writing.head && !wb->draining.head && !wb->ready.head &&
         !wb->again.head && fs_idle (mapping->fs);
}

/* --- any thread --- */

void
writeback_kick (struct mapping *mapping)
{
  bell_ring (&mapping->bell);
}

void
writeback_store_changed (struct mapping *mapping)
{
  atomic_store (&mapping->wb.store_changed, true);
  zeroes_retry (&mapping->zeroes);
  mapping_kick (mapping);
}

void
writeback_dirtied (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  /* Woken when the threshold is crossed, and once for the periodic passes,
   * never for each write.
   */
  if (!atomic_load (&wb->armed) ||
      (writeback_over_background (mapping) && !atomic_load (&wb->background)))
    writeback_kick (mapping);
}

void
writeback_note_unflushed (struct mapping *mapping)
{
  atomic_store (&mapping->wb.unflushed, true);
}

void
writeback_queue (struct mapping *mapping, struct sync_req *req)
{
  struct writeback *wb = &mapping->wb;

  req->asked = mapping->env->now (mapping->env);
  pthread_mutex_lock (&wb->lock);
  sync_list_append (&wb->queue, req);
  pthread_mutex_unlock (&wb->lock);
  writeback_kick (mapping);
}

int
writeback_sync (struct mapping *mapping, uint64_t start, uint64_t end,
                bool flush)
{
  struct sync_req req = { .start = start, .end = end, .flush = flush };

  writeback_queue (mapping, &req);
  completion_wait (mapping->env, &req.done);
  return req.error;
}

int
writeback_flush (struct mapping *mapping)
{
  uint64_t end = mapping->folios.nr_pages << PAGE_SHIFT;

  /* There is no such byte: nothing can go wrong with it. */
  return writeback_sync (mapping, end, end + 1, true);
}
