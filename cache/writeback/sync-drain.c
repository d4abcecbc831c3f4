/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs whose data has been sent: each waits for its own, and then, if it is to be
 * durable, for a store flush that it shares with all that are ready by then.
 */

#include <stddef.h>

#include "cache/folio/folio.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "cache/post/zeroes.h"
#include "cache/writeback/ioend.h"
#include "cache/writeback/sync.h"

/* --- draining --- */

/* Does the sync wait for this ioend, in flight?  (It does not change its mind: the
 * range is as it was when it was sent.)
 */
static bool
waits_for (const struct sync_req *req, const struct ioend *ioend)
{
  return ioend->number < req->fence &&
         ioend_touches (ioend, req->start, req->end);
}

static void
count_awaited (struct writeback *wb, struct sync_req *req)
{
  unsigned i;

  req->fence = wb->nr_sent;
  req->awaited = 0;
  for (i = 0; i < wb->config.io_depth; i++)
    req->awaited += wb->ioends[i].in_flight && waits_for (req, &wb->ioends[i]);
}

void
sync_drain (struct writeback *wb)
{
  struct sync_req *req;

  for (req = wb->writing.head; req; req = req->next)
    count_awaited (wb, req);
  sync_list_move (&wb->draining, &wb->writing);
}

void
sync_ioend_over (struct writeback *wb, const struct ioend *ioend)
{
  struct sync_req *req;

  for (req = wb->draining.head; req; req = req->next)
    req->awaited -= waits_for (req, ioend);
}

/* What it waited for is over. */
static void
drained (struct writeback *wb, struct sync_req *req)
{
  if (req->error == 0 && req->again)
    sync_list_append (&wb->again, req);
  else if (req->error == 0 && req->flush) {
    if (req != &wb->own_sync)
      group_commit_join (&wb->group_commit, req->asked);
    sync_list_append (&wb->ready, req);
  }
  else
    sync_complete (wb, req);
}

/* Take those that have drained.  Returns whether there were any; *failed: one
 * that was to be durable could not be written.
 */
static bool
take_drained (struct writeback *wb, bool *failed)
{
  struct sync_list list;
  struct sync_req *req, *next;
  bool any = false;

  sync_list_init (&list);
  sync_list_move (&list, &wb->draining);
  for (req = list.head; req; req = next) {
    next = req->next;
    if (req->awaited > 0) {
      sync_list_append (&wb->draining, req);
      continue;
    }
    *failed |= req->flush && req->error;
    drained (wb, req);
    any = true;
  }
  return any;
}

/* --- the flush that they share --- */

/* Complete those that something has failed for since; and those behind whose tags
 * something became dirty, or that are cut now, begin anew.  Returns whether there
 * were any.
 */
static bool
drop_overtaken (struct writeback *wb, bool *failed)
{
  uint32_t redone = sync_redone (wb);
  struct sync_list list;
  struct sync_req *req, *next;
  bool any = false;

  sync_list_init (&list);
  sync_list_move (&list, &wb->ready);
  for (req = list.head; req; req = next) {
    next = req->next;
    if (req->error) {
      *failed = true;
      sync_complete (wb, req);
    }
    else if (req->again || req->redone != redone)
      sync_list_append (&wb->again, req);
    else {
      sync_list_append (&wb->ready, req);
      continue;
    }
    any = true;
  }
  return any;
}

/* Is there one on the list that the next flush should wait for? */
static bool
has_expected (const struct group_commit *gc, const struct sync_list *list)
{
  const struct sync_req *req;

  for (req = list->head; req; req = req->next)
    if (req->flush && group_commit_in_time (gc, req->asked))
      return true;
  return false;
}

/* Should a flush that could begin wait for more syncs?  Not while others wait for
 * what it makes clean.
 */
static bool
flush_held (struct writeback *wb)
{
  const struct group_commit *gc = &wb->group_commit;
  uint64_t now = wb->env->now (wb->env);

  wb->flush_at = ENV_FOREVER;
  if (wb->own_pending || atomic_load (&wb->throttle->waiters) > 0)
    return false;
  if (group_commit_hold (gc, now))
    wb->flush_at = gc->until;
  else if (now < group_commit_last (gc) && (has_expected (gc, &wb->writing) ||
                                            has_expected (gc, &wb->draining)))
    wb->flush_at = group_commit_last (gc);
  return wb->flush_at != ENV_FOREVER;
}

bool
sync_awaits_flush (struct writeback *wb)
{
  struct zeroes *zeroes = wb->zeroes;

  return wb->ready.head && wb->flush_state == FLUSH_IDLE &&
         !(zeroes_to_redo (zeroes) && zeroes_redo_error (zeroes) == 0);
}

/* Pass on those that are ready, after the flush before, when zeroes that were
 * lost are done again or that has failed, and when there is no point in waiting
 * for more to share the flush.  redo: there are such zeroes.  Returns whether they
 * were passed on.
 */
static bool
flush_ready (struct writeback *wb, bool redo)
{
  int error = redo ? zeroes_redo_error (wb->zeroes) : 0;

  if (wb->flush_state != FLUSH_IDLE || (redo && error == 0))
    return false;
  if (redo)
    sync_complete_all (wb, &wb->ready, error);
  else if (!atomic_load (&wb->inbox->unflushed) &&
           !atomic_load (&wb->folios->nr_unstable))
    sync_complete_all (wb, &wb->ready, 0);
  else if (flush_held (wb))
    return false;
  else {
    sync_list_move (&wb->flushing, &wb->ready);
    sync_start_flush (wb);
  }
  return true;
}

bool
sync_drain_step (struct writeback *wb)
{
  bool failed = false, any = take_drained (wb, &failed);
  /* Asked first: one that is done again meanwhile may have made something dirty,
   * and that it was is counted before it is not to be done any more.
   */
  bool redo = zeroes_to_redo (wb->zeroes);

  any |= drop_overtaken (wb, &failed);
  if (wb->ready.head)
    return flush_ready (wb, redo) || any;
  /* What could be written is to be durable all the same. */
  if (failed && atomic_load (&wb->folios->nr_unstable))
    sync_start_flush (wb);
  return any;
}
