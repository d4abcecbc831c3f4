/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The store flush, the sweep after it, and losses that the store reports.
 *
 * A sector is clean only by a flush that was submitted after its write was
 * done, that succeeded, and that is over before the store reports a loss since
 * the write was submitted.  wb->doubts counts whatever may have undone writes:
 * flushes that failed, and losses.  A write, and a flush, that sees another
 * count at its end than at its beginning proves nothing.
 *
 * After a loss all is written again as after a flush that failed, but nobody
 * did anything wrong: syncs begin anew, when it has settled, that is when all
 * that was in flight is over and all that was unstable is dirty.
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
#include "cache/post/zeroes.h"
#include "cache/base/stats.h"
#include "fs/iomap.h"
#include "cache/writeback/sync.h"

/* A slice of work. */
#define SLICE_SWEEP 256

/* --- direct writes, of which there is no copy --- */

/* Has the store lost direct writes?  (Those under way are done again by whoever
 * waits for them.)
 */
static bool
lost_direct (struct writeback *wb)
{
  bool lost;

  pthread_mutex_lock (&wb->inbox->lock);
  if (wb->flush_direct) {
    atomic_store (&wb->inbox->direct_unflushed, true);
    wb->inbox->direct_losses = wb->flush_direct_losses;
    wb->flush_direct = false;
  }
  lost = atomic_load (&wb->inbox->direct_unflushed) &&
         wb->inbox->direct_losses != wb->losses;
  /* Some may have been written since, and are not flushed. */
  wb->inbox->direct_losses = wb->losses;
  pthread_mutex_unlock (&wb->inbox->lock);
  return lost;
}

/* A flush begins, which covers them. */
static void
flush_direct (struct writeback *wb)
{
  pthread_mutex_lock (&wb->inbox->lock);
  wb->flush_direct = atomic_exchange (&wb->inbox->direct_unflushed, false);
  wb->flush_direct_losses = wb->inbox->direct_losses;
  pthread_mutex_unlock (&wb->inbox->lock);
}

/* Has the store got, or is it getting, direct writes that no flush covers yet?
 * (One that completes is flagged before it is no longer counted.)
 */
static bool
direct_pending (struct writeback *wb)
{
  return atomic_load (&wb->inbox->direct_in_flight) > 0 ||
         atomic_load (&wb->inbox->direct_unflushed);
}

/* --- the flush --- */

static void
flush_done (struct store_req *req, int error)
{
  struct writeback *wb =
    (struct writeback *) ((char *) req -
                          offsetof (struct writeback, flush_req));

  stats_store_done (wb->stats, wb->env, req, error);
  wb->inbox->flush_error = error;
  atomic_store (&wb->inbox->flush_done, true);
  bell_ring (wb->inbox->bell);
}

void
sync_start_flush (struct writeback *wb)
{
  if (wb->flush_state != FLUSH_IDLE || wb->settling ||
      zeroes_to_redo (wb->zeroes))
    return;
  wb->flush_state = FLUSH_SENT;
  wb->flush_doubts = wb->doubts;
  /* What becomes unstable from here on is for the next flush. */
  wb->gen++;
  atomic_store (&wb->inbox->unflushed, false);
  flush_direct (wb);
  zeroes_flush_begin (wb->zeroes);
  wb->flush_req = (struct store_req) {
    .op = STORE_FLUSH,
    .done = flush_done,
    .submitted = wb->env->now (wb->env),
  };
  wb->fs->ops->flush (wb->fs, &wb->flush_req);
}

static void
start_sweep (struct writeback *wb, bool lost)
{
  wb->flush_state = FLUSH_SWEEP;
  wb->sweep_lost = lost;
  wb->sweep_page = 0;
}

/* Tell those that are to be durable. */
static void
tell (const struct sync_list *list, int error)
{
  struct sync_req *req;

  for (req = list->head; req; req = req->next)
    if (req->flush)
      req->error = error;
}

/* Everything not known to be durable is to be written again.  Whoever asked
 * for it to be durable, or is about to, is told.
 */
static void
flush_failed (struct writeback *wb, int error)
{
  wb->doubts++;
  atomic_store (&wb->inbox->unflushed, true);
  if (wb->flush_direct || direct_pending (wb))
    atomic_fetch_add (&wb->outbox->lost_writes, 1);
  writeback_flush_failed (wb, error);
  tell (&wb->flushing, error);
  tell (&wb->writing, error);
  tell (&wb->draining, error);
  tell (&wb->ready, error);
  tell (&wb->again, error);
}

/* A loss has had all of it written again already; but what was done since then may
 * be undone as well.
 */
static void
failed_after_loss (struct writeback *wb)
{
  wb->doubts++;
  if (direct_pending (wb))
    atomic_fetch_add (&wb->outbox->lost_writes, 1);
  zeroes_lost (wb->zeroes);
}

/* How many clients waited for this flush. */
static unsigned
nr_flushing (const struct writeback *wb)
{
  const struct sync_req *req;
  unsigned n = 0;

  for (req = wb->flushing.head; req; req = req->next)
    n += req != &wb->own_sync;
  return n;
}

/* Those that it was for are done, but for those behind whose tags something became
 * dirty; clients are told once the next flush could begin, since they would take
 * the processor.
 */
static void
release (struct writeback *wb)
{
  uint32_t redone = sync_redone (wb);
  struct sync_list list;
  struct sync_req *req, *next;

  sync_list_init (&list);
  sync_list_move (&list, &wb->flushing);
  for (req = list.head; req; req = next) {
    next = req->next;
    if (req == &wb->own_sync)
      sync_complete (wb, req);
    else if (req->error == 0 && req->redone != redone)
      sync_list_append (&wb->again, req);
    else
      sync_list_append (&wb->released, req);
  }
}

/* The flush is over. */
static void
end_flush (struct writeback *wb)
{
  int error = wb->inbox->flush_error;

  if (wb->flush_doubts != wb->doubts) { /* by a loss: none fails meanwhile */
    /* Whatever it says: the syncs that wait for it begin anew, like all others,
     * which have done so when the loss was seen.
     */
    start_sweep (wb, true);
    sync_list_move (&wb->again, &wb->flushing);
    if (error && error != -ECONNRESET) /* which is the loss itself */
      failed_after_loss (wb);
    return;
  }
  start_sweep (wb, error != 0);
  zeroes_flush_end (wb->zeroes, error);
  if (error)
    flush_failed (wb, error);
  else
    writeback_flushed (wb);
  wb->flush_direct = false;
  group_commit_flushed (&wb->group_commit, wb->flush_req.submitted,
                        wb->env->now (wb->env), nr_flushing (wb));
  release (wb);
}

/* --- losses --- */

void
sync_see_losses (struct writeback *wb)
{
  uint32_t losses = store_losses (wb->fs->store);

  if (losses == wb->losses)
    return;
  wb->losses = losses;
  wb->doubts++;
  wb->settling = true;
  /* What the one in flight was to make durable.  What no flush has been sent for
   * is noted, and what is done again will be; and if there is nothing, a disk
   * whose store is gone can be closed.
   */
  if (wb->flush_state == FLUSH_SENT)
    atomic_store (&wb->inbox->unflushed, true);
  fs_lost (wb->fs);
  zeroes_lost (wb->zeroes);
  if (lost_direct (wb))
    atomic_fetch_add (&wb->outbox->lost_writes, 1);
  /* A flush in flight ends first. */
  if (wb->flush_state != FLUSH_SENT)
    start_sweep (wb, true);
  sync_restart (wb);
}

/* --- the sweep --- */

/* A folio has become clean.  Eviction sets the flag and then looks whether it
 * is; both are read-modify-writes of the flags, so that one of us sees what the
 * other did before.
 */
static void
cleaned (struct writeback *wb, struct folio *folio)
{
  atomic_store (&wb->outbox->cleaned_at, wb->env->now (wb->env));
  if (atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_RECLAIM) &
      FOLIO_RECLAIM)
    reclaim_rotate (wb->folios->reclaim, folio);
}

/* The flush covers those pages that were unstable before it began, not those
 * that have become so since.  Returns whether the folio has become clean.
 */
static bool
flushed (struct writeback *wb, struct folio *folio, unsigned *budget)
{
  unsigned pages = (unsigned) folio_pages (folio), page = 0, end;
  uint8_t gen = wb->gen;
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
  struct folio *folio;
  unsigned budget = SLICE_SWEEP;

  while (budget > 0) {
    budget--;
    folio = index_get_tagged (wb->folios->index, wb->sweep_page,
                              wb->folios->nr_pages, TAG_UNSTABLE);
    if (folio == NULL)
      return true;
    wb->sweep_page = folio_index (folio) + folio_pages (folio);
    if (wb->sweep_lost)
      folio_transition (wb->folios, folio, 0, folio_sectors (folio),
                        FOLIO_LOST);
    else if (flushed (wb, folio, &budget))
      cleaned (wb, folio);
    folio_put (wb->folios->arena, folio);
  }
  return false;
}

bool
sync_flush_step (struct writeback *wb)
{
  bool done;

  if (wb->flush_state == FLUSH_SENT &&
      atomic_exchange (&wb->inbox->flush_done, false)) {
    /* Not before it is over: it proves nothing if there was one before. */
    sync_see_losses (wb);
    end_flush (wb);
  }
  if (wb->flush_state == FLUSH_SWEEP) {
    done = sweep (wb);
    throttle_wake (wb->throttle);
    if (done)
      wb->flush_state = FLUSH_IDLE;
    return true;
  }
  if (!wb->settling || wb->flush_state != FLUSH_IDLE || wb->in_flight > 0)
    return false;
  wb->settling = false;
  return true;
}
