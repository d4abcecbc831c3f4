/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The store flush, the sweep after it, and losses that the store reports.
 *
 *   state    what is on                         then
 *   IDLE     nothing                            begun: -> SENT
 *   SENT     the store is at it                 done: -> CLEAN; failed: -> DIRTY
 *   VOID     so it is, but it has lost          over, whatever it says: -> LOST
 *            something since
 *   CLEAN    sweep: what was unstable when      -> IDLE
 *            it began becomes clean
 *   DIRTY    sweep: what is unstable becomes    -> IDLE
 *            dirty; no sync begins
 *   LOST     the same; nothing is sent          -> SETTLE
 *   SETTLE   what is in flight is waited for;   -> IDLE
 *            nothing is sent
 *
 * and, when the store has lost something, SENT and VOID -> VOID, and all others
 * -> LOST.
 *
 * A sector is clean only by a flush that was submitted after its write was
 * done, that succeeded, and that is over before the store reports a loss since
 * the write was submitted; or by a write with FUA.  doubts counts whatever may
 * have undone writes: flushes that failed, and losses.  A write that sees another
 * count at its end than at its beginning proves nothing.
 *
 * After a loss all is written again as after a flush that failed, but nobody
 * did anything wrong: syncs begin anew, when it has settled.
 *
 * Of direct writes there is no copy.  Those under way are done again by whoever
 * waits for them.  If others, not known to be flushed, may be lost, then each
 * connection is told so by its next flush.
 */

#include <errno.h>
#include <stddef.h>

#include "cache/writeback/failing.h"
#include "cache/folio/folio.h"
#include "cache/folio/reclaim.h"
#include "cache/index/index.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "cache/post/outbox.h"
#include "cache/base/store-io.h"
#include "fs/iomap.h"
#include "cache/writeback/sync.h"

/* A slice of work. */
#define SLICE_SWEEP 256

/* --- direct writes, of which there is no copy --- */

/* Those not flushed are lost; all of them, or those that began before the last of
 * the store's losses.  The flush that is on proves nothing for the others.
 */
static void
lose_direct (struct writeback *wb, bool all)
{
  struct wb_sync *sync = &wb->sync;
  uint64_t since = (uint64_t) sync->losses + 1;
  uint64_t unflushed = atomic_load (&wb->inbox->direct_unflushed), none = 0;

  if ((unflushed && (all || unflushed != since)) ||
      (sync->flush_direct && (all || sync->flush_direct != since))) {
    lost_note (&wb->outbox->lost);
    env_log (wb->env, LOG_ERROR,
             "what was written past the cache and not flushed may be lost; the "
             "next flush of every connection fails");
  }
  if (!all && unflushed == 0 && sync->flush_direct == since)
    atomic_compare_exchange_strong (&wb->inbox->direct_unflushed, &none, since);
  sync->flush_direct = 0;
  /* Some may have been written since, which are lost with the next. */
  if (unflushed)
    atomic_compare_exchange_strong (&wb->inbox->direct_unflushed, &unflushed,
                                    since);
}

/* --- the flush --- */

static void
flush_done (struct store_req *req, int error)
{
  struct writeback *wb =
    (struct writeback *) ((char *) req -
                          offsetof (struct writeback, sync.flush_req));

  store_io_done (wb->stats, wb->env, req, error);
  wb->inbox->flush_error = error;
  atomic_store (&wb->inbox->flush_done, true);
  bell_ring (wb->inbox->bell);
}

void
sync_start_flush (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;

  if (sync->flush_state != FLUSH_IDLE)
    return;
  sync->flush_state = FLUSH_SENT;
  /* What becomes unstable from here on is for the next flush. */
  sync->gen++;
  atomic_store (&wb->inbox->unflushed, false);
  atomic_store (&wb->fs->wants_flush, false);
  sync->flush_direct = atomic_exchange (&wb->inbox->direct_unflushed, 0);
  sync->flush_req = (struct store_req) {
    .op = STORE_FLUSH,
    .done = flush_done,
    .submitted = wb->env->now (wb->env),
  };
  wb->fs->ops->flush (wb->fs, &sync->flush_req);
}

static void
start_sweep (struct wb_sync *sync, enum flush_state state)
{
  sync->flush_state = state;
  sync->sweep_page = 0;
}

/* A flush has failed, and may have undone what was written before. */
static void
note_undone (struct writeback *wb)
{
  wb->sync.doubts++;
  atomic_fetch_add (&wb->outbox->flush_failures, 1);
  fs_lost (wb->fs, LOST_ALL);
  lose_direct (wb, true);
}

/* Everything not known to be durable is to be written again.  Whoever has begun to
 * ask for it to be durable is told.
 */
static void
flush_failed (struct writeback *wb, int error)
{
  struct wb_sync *sync = &wb->sync;
  struct sync_req *req;

  note_undone (wb);
  atomic_store (&wb->inbox->unflushed, true);
  failing_flush_failed (wb, error);
  for (req = sync->list; req; req = req->next)
    if (req->kind != SYNC_WRITE && req->state != SYNC_QUEUED &&
        req->state != SYNC_OVER)
      req->error = error;
}

/* Those that it was for are over, but for those behind whose backs something became
 * dirty.  Returns how many of them were clients'.
 */
static unsigned
release (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  uint32_t redone = sync_redone (wb);
  struct sync_req *req;
  unsigned n = 0;

  for (req = sync->list; req; req = req->next) {
    if (req->state != SYNC_FLUSHING)
      continue;
    n += req != &sync->own;
    sync_set_state (
      sync, req,
      req->error == 0 && req->redone != redone ? SYNC_QUEUED : SYNC_OVER);
  }
  return n;
}

/* The flush is over. */
static void
end_flush (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  int error = wb->inbox->flush_error;

  if (sync->flush_state == FLUSH_VOID) {
    if (error && error != -ECONNRESET) /* which is the loss itself */
      note_undone (wb);                /* what was done since then */
    start_sweep (sync, FLUSH_LOST);
    return;
  }
  start_sweep (sync, error ? FLUSH_DIRTY : FLUSH_CLEAN);
  if (error)
    flush_failed (wb, error);
  else
    failing_flush_succeeded (wb);
  sync->flush_direct = 0;
  group_commit_flushed (&sync->group_commit, sync->flush_req.submitted,
                        wb->env->now (wb->env), release (wb));
}

/* --- losses --- */

/* Those under way begin anew, once it has settled. */
static void
restart (struct wb_sync *sync)
{
  struct sync_req *req;

  for (req = sync->list; req; req = req->next)
    if (req->state != SYNC_OVER)
      sync_set_state (sync, req, SYNC_QUEUED);
}

void
sync_see_losses (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  uint32_t losses = store_losses (wb->fs->store);

  if (losses == sync->losses)
    return;
  sync->losses = losses;
  sync->doubts++;
  fs_lost (wb->fs, losses);
  lose_direct (wb, false);
  if (sync->flush_state == FLUSH_SENT || sync->flush_state == FLUSH_VOID) {
    /* What it was to make durable.  What no flush has been sent for is noted, and
     * what is done again will be; and if there is nothing, a disk whose store is
     * gone can be closed.
     */
    sync->flush_state = FLUSH_VOID;
    atomic_store (&wb->inbox->unflushed, true);
  }
  else
    start_sweep (sync, FLUSH_LOST);
  restart (sync);
}

/* --- the sweep --- */

/* The flush covers those pages that were unstable before it began, not those
 * that have become so since.  Returns whether the folio has become clean.
 */
static bool
flushed (struct writeback *wb, struct folio *folio, unsigned *budget)
{
  unsigned pages = (unsigned) folio_pages (folio), page = 0, end;
  uint8_t gen = wb->sync.gen;
  bool clean = false;

  while (page < pages) {
    for (end = page; end < pages && folio[end].unstable_gen != gen; end++)
      ;
    if (end > page) {
      clean |= folio_transition (wb->folios, folio, page * SECTORS_PER_PAGE,
                                 end * SECTORS_PER_PAGE, FOLIO_FLUSHED);
      *budget -= *budget > 0;
    }
    page = end + 1;
  }
  return clean;
}

/* Go on with the sweep over unstable folios.  Returns true when it is done. */
static bool
sweep (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  struct folio *folio;
  unsigned budget = SLICE_SWEEP;

  while (budget > 0) {
    budget--;
    folio = index_get_tagged (wb->folios->index, sync->sweep_page,
                              wb->folios->nr_pages, TAG_UNSTABLE);
    if (folio == NULL)
      return true;
    sync->sweep_page = folio_index (folio) + folio_pages (folio);
    if (sync->flush_state != FLUSH_CLEAN)
      folio_transition (wb->folios, folio, 0, folio_sectors (folio),
                        FOLIO_LOST);
    else if (flushed (wb, folio, &budget))
      sync_cleaned (wb, folio);
    folio_put (wb->folios->arena, folio);
  }
  return false;
}

static bool
sweep_step (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  bool done = sweep (wb);

  throttle_wake (wb->throttle);
  if (done)
    sync->flush_state =
      sync->flush_state == FLUSH_LOST ? FLUSH_SETTLE : FLUSH_IDLE;
  return true;
}

bool
sync_flush_step (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;

  if (atomic_load (&wb->inbox->flush_done)) {
    atomic_store (&wb->inbox->flush_done, false);
    /* Not before it is over: it proves nothing if there was one before. */
    sync_see_losses (wb);
    end_flush (wb);
  }
  switch (sync->flush_state) {
  case FLUSH_CLEAN:
  case FLUSH_DIRTY:
  case FLUSH_LOST: return sweep_step (wb);
  case FLUSH_SETTLE:
    if (wb->ioends.in_flight > 0)
      return false;
    sync->flush_state = FLUSH_IDLE;
    return true;
  default: return false;
  }
}
