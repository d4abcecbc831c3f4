/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs whose data has been sent: each waits for its own, and then, if it is to be
 * durable and is not, for a store flush that it shares with all that are ready by
 * then.  The table of states is in sync.c.
 */

#include <stddef.h>

#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "fs/iomap.h"
#include "cache/writeback/sync.h"

/* --- when what was sent is over --- */

/* Has nothing of the range become anything but durable?  First it is asked what there
 * is: what is written past the cache is noted before it is dropped for it.
 */
static bool
is_durable (struct writeback *wb, const struct sync_req *req)
{
  struct wb_sync *sync = &wb->sync;
  uint64_t start = sync_first_byte (wb, req), end = sync_last_byte (wb, req);
  uint64_t pos = start;
  struct folio *folio;
  bool left = false;

  while (!left && pos < end) {
    folio = index_get_next (wb->folios->index, pos >> PAGE_SHIFT,
                            (end - 1) >> PAGE_SHIFT);
    if (folio == NULL)
      break;
    left = folio_in_doubt (wb->folios->arena, folio, pos, end);
    pos = folio_end (folio);
    folio_put (wb->folios->arena, folio);
  }
  return !left && !atomic_load (&wb->inbox->direct_unflushed) &&
         !sync->flush_direct && !fs_unsettled (wb->fs, start, end) &&
         fs_placed (wb->fs, start, end);
}

/* What becomes of a sync of which nothing is in flight, or that is READY. */
static enum sync_state
next_state (struct writeback *wb, struct sync_req *req)
{
  bool durable;

  if (req->error)
    return SYNC_OVER;
  if (req->again)
    return SYNC_QUEUED;
  if (req->kind == SYNC_WRITE)
    return SYNC_OVER;
  durable = req->state == SYNC_DRAINING && req->kind == SYNC_FUA &&
            is_durable (wb, req);
  /* After it was looked at: see distrust in range-ops.c. */
  if (req->redone != sync_redone (wb))
    return SYNC_QUEUED;
  return durable ? SYNC_OVER : SYNC_READY;
}

/* Go on with those that have drained, and that something has failed for since.
 * Returns whether there were any; *failed: one that was to be durable could not be
 * written.
 */
static bool
take_drained (struct writeback *wb, bool *failed)
{
  struct wb_sync *sync = &wb->sync;
  enum sync_state state;
  struct sync_req *req;
  bool any = false;

  for (req = sync->list; req; req = req->next) {
    if (req->state != SYNC_READY &&
        (req->state != SYNC_DRAINING || req->awaited > 0))
      continue;
    state = next_state (wb, req);
    if (state == req->state)
      continue;
    if (state == SYNC_READY && req != &sync->own)
      group_commit_join (&sync->group_commit, req->asked);
    *failed |= req->kind != SYNC_WRITE && req->error;
    sync_set_state (sync, req, state);
    any = true;
  }
  return any;
}

/* --- the flush that they share --- */

/* Is one being written that the next flush should wait for? */
static bool
has_expected (const struct wb_sync *sync)
{
  const struct sync_req *req;

  for (req = sync->list; req; req = req->next)
    if (req->kind == SYNC_FLUSH && req->state <= SYNC_DRAINING &&
        group_commit_in_time (&sync->group_commit, req->asked))
      return true;
  return false;
}

/* Should a flush that could begin wait for more syncs?  Not while others wait for
 * what it makes clean.
 */
static bool
flush_held (struct writeback *wb, uint64_t now)
{
  struct wb_sync *sync = &wb->sync;
  const struct group_commit *gc = &sync->group_commit;

  sync->flush_at = ENV_FOREVER;
  if (sync->own_pending || atomic_load (&wb->throttle->waiters) > 0)
    return false;
  if (group_commit_hold (gc, now))
    sync->flush_at = gc->until;
  else if (now < group_commit_last (gc) && has_expected (sync))
    sync->flush_at = group_commit_last (gc);
  return sync->flush_at != ENV_FOREVER;
}

bool
sync_awaits_flush (struct writeback *wb)
{
  const struct wb_sync *sync = &wb->sync;

  return sync->nr[SYNC_READY] > 0 && sync->flush_state == FLUSH_IDLE;
}

/* All that are READY go on together. */
static void
pass_on (struct wb_sync *sync, enum sync_state state)
{
  struct sync_req *req;

  for (req = sync->list; req; req = req->next) {
    if (req->state == SYNC_READY)
      sync_set_state (sync, req, state);
  }
}

/* Pass on those that are ready, after the flush before, and when there is no point
 * in waiting for more to share the flush.  Returns whether they were passed on.
 */
static bool
flush_ready (struct writeback *wb, uint64_t now)
{
  struct wb_sync *sync = &wb->sync;

  if (sync->flush_state != FLUSH_IDLE)
    return false;
  /* In this order, as above. */
  if (throttle_unstable (wb->throttle) == 0 &&
      !atomic_load (&wb->inbox->unflushed))
    pass_on (sync, SYNC_OVER);
  else if (flush_held (wb, now))
    return false;
  else {
    sync_start_flush (wb);
    pass_on (sync, SYNC_FLUSHING);
  }
  return true;
}

bool
sync_drain_step (struct writeback *wb, uint64_t now)
{
  struct wb_sync *sync = &wb->sync;
  bool failed = false, any = take_drained (wb, &failed);

  if (sync->nr[SYNC_READY] > 0)
    return flush_ready (wb, now) || any;
  /* What could be written is to be durable all the same. */
  if (failed && throttle_unstable (wb->throttle) > 0)
    sync_start_flush (wb);
  return any;
}
