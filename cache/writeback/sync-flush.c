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
#include "cache/mapping.h"
#include "cache/writeback/sync.h"

/* A slice of work. */
#define SLICE_SWEEP 256

/* --- direct writes, of which there is no copy --- */

bool
sync_direct_kept (struct mapping *mapping, uint32_t losses)
{
  struct writeback *wb = &mapping->wb;
  bool kept;

  /* Under the lock, so that lost_direct sees what was kept before the loss. */
  pthread_mutex_lock (&wb->lock);
  kept = store_losses (mapping->fs->store) == losses;
  if (kept && !atomic_exchange (&wb->direct_unflushed, true))
    wb->direct_losses = losses;
  pthread_mutex_unlock (&wb->lock);
  return kept;
}

/* Has the store lost direct writes?  (Those under way are done again by whoever
 * waits for them.)
 */
static bool
lost_direct (struct writeback *wb)
{
  bool lost;

  pthread_mutex_lock (&wb->lock);
  if (wb->flush_direct) {
    atomic_store (&wb->direct_unflushed, true);
    wb->direct_losses = wb->flush_direct_losses;
    wb->flush_direct = false;
  }
  lost = atomic_load (&wb->direct_unflushed) && wb->direct_losses != wb->losses;
  /* Some may have been written since, and are not flushed. */
  wb->direct_losses = wb->losses;
  pthread_mutex_unlock (&wb->lock);
  return lost;
}

/* A flush begins, which covers them. */
static void
flush_direct (struct writeback *wb)
{
  pthread_mutex_lock (&wb->lock);
  wb->flush_direct = atomic_exchange (&wb->direct_unflushed, false);
  wb->flush_direct_losses = wb->direct_losses;
  pthread_mutex_unlock (&wb->lock);
}

/* Has the store got, or is it getting, direct writes that no flush covers yet?
 * (One that completes is flagged before it is no longer counted.)
 */
static bool
direct_pending (struct writeback *wb)
{
  return atomic_load (&wb->direct_in_flight) > 0 ||
         atomic_load (&wb->direct_unflushed);
}

/* --- the flush --- */

static void
flush_done (struct store_req *req, int error)
{
  struct mapping *mapping =
    (struct mapping *) ((char *) req - offsetof (struct mapping, wb.flush_req));

  stats_store_done (mapping->stats, mapping->env, req, error);
  mapping->wb.flush_error = error;
  atomic_store (&mapping->wb.flush_done, true);
  writeback_kick (mapping);
}

void
sync_start_flush (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (wb->flush_state != FLUSH_IDLE || wb->settling ||
      zeroes_to_redo (&mapping->zeroes))
    return;
  wb->flush_state = FLUSH_SENT;
  wb->flush_doubts = wb->doubts;
  /* What becomes unstable from here on is for the next flush. */
  wb->gen++;
  atomic_store (&wb->unflushed, false);
  flush_direct (wb);
  zeroes_flush_begin (&mapping->zeroes);
  wb->flush_req = (struct store_req) {
    .op = STORE_FLUSH,
    .done = flush_done,
    .submitted = mapping->env->now (mapping->env),
  };
  mapping->fs->ops->flush (mapping->fs, &wb->flush_req);
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
flush_failed (struct mapping *mapping, int error)
{
  struct writeback *wb = &mapping->wb;

  wb->doubts++;
  atomic_store (&wb->unflushed, true);
  if (wb->flush_direct || direct_pending (wb))
    atomic_fetch_add (&mapping->lost_writes, 1);
  writeback_flush_failed (mapping, error);
  tell (&wb->flushing, error);
  tell (&wb->writing, error);
  tell (&wb->draining, error);
  tell (&wb->ready, error);
  tell (&wb->again, error);
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
release (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint32_t redone = sync_redone (mapping);
  struct sync_list list;
  struct sync_req *req, *next;

  sync_list_init (&list);
  sync_list_move (&list, &wb->flushing);
  for (req = list.head; req; req = next) {
    next = req->next;
    if (req == &wb->own_sync)
      sync_complete (mapping, req);
    else if (req->error == 0 && req->redone != redone)
      sync_list_append (&wb->again, req);
    else
      sync_list_append (&wb->released, req);
  }
}

/* The flush is over. */
static void
end_flush (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  int error = wb->flush_error;

  if (wb->flush_doubts != wb->doubts) { /* by a loss: none fails meanwhile */
    /* Whatever it says: the syncs that wait for it begin anew, like all others,
     * which have done so when the loss was seen.
     */
    start_sweep (wb, true);
    sync_list_move (&wb->again, &wb->flushing);
    return;
  }
  start_sweep (wb, error != 0);
  zeroes_flush_end (&mapping->zeroes, error);
  if (error)
    flush_failed (mapping, error);
  else
    writeback_flushed (mapping);
  wb->flush_direct = false;
  group_commit_flushed (&wb->group_commit, wb->flush_req.submitted,
                        mapping->env->now (mapping->env), nr_flushing (wb));
  release (mapping);
}

/* --- losses --- */

void
sync_see_losses (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint32_t losses = store_losses (mapping->fs->store);

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
    atomic_store (&wb->unflushed, true);
  fs_lost (mapping->fs);
  zeroes_lost (&mapping->zeroes);
  if (lost_direct (wb))
    atomic_fetch_add (&mapping->lost_writes, 1);
  /* A flush in flight ends first. */
  if (wb->flush_state != FLUSH_SENT)
    start_sweep (wb, true);
  sync_restart (mapping);
}

/* --- the sweep --- */

/* A folio has become clean.  Eviction sets the flag and then looks whether it
 * is; both are read-modify-writes of the flags, so that one of us sees what the
 * other did before.
 */
static void
cleaned (struct mapping *mapping, struct folio *folio)
{
  atomic_store (&mapping->wb.cleaned_at, mapping->env->now (mapping->env));
  if (atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_RECLAIM) &
      FOLIO_RECLAIM)
    reclaim_rotate (mapping->folios.reclaim, folio);
}

/* The flush covers those pages that were unstable before it began, not those
 * that have become so since.  Returns whether the folio has become clean.
 */
static bool
flushed (struct mapping *mapping, struct folio *folio, unsigned *budget)
{
  unsigned pages = (unsigned) folio_pages (folio), page = 0, end;
  uint8_t gen = mapping->wb.gen;
  bool clean = false;

  while (page < pages) {
    for (end = page; end < pages && folio[end].unstable_gen != gen; end++)
      ;
    if (end > page) {
      clean |=
        folio_transition (&mapping->folios, folio, page * SECTORS_PER_PAGE,
                          end * SECTORS_PER_PAGE, FOLIO_FLUSHED);
      *budget -= *budget > 0;
    }
    page = end + 1;
  }
  return clean;
}

/* Go on with the sweep over unstable folios.  Returns true when it is done. */
static bool
sweep (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct folio *folio;
  unsigned budget = SLICE_SWEEP;

  while (budget > 0) {
    budget--;
    folio = index_get_tagged (mapping->folios.index, wb->sweep_page,
                              mapping->folios.nr_pages, TAG_UNSTABLE);
    if (folio == NULL)
      return true;
    wb->sweep_page = folio_index (folio) + folio_pages (folio);
    if (wb->sweep_lost)
      folio_transition (&mapping->folios, folio, 0, folio_sectors (folio),
                        FOLIO_LOST);
    else if (flushed (mapping, folio, &budget))
      cleaned (mapping, folio);
    folio_put (mapping->folios.arena, folio);
  }
  return false;
}

bool
sync_flush_step (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  bool done;

  if (wb->flush_state == FLUSH_SENT &&
      atomic_exchange (&wb->flush_done, false)) {
    /* Not before it is over: it proves nothing if there was one before. */
    sync_see_losses (mapping);
    end_flush (mapping);
  }
  if (wb->flush_state == FLUSH_SWEEP) {
    done = sweep (mapping);
    throttle_wake (mapping);
    if (done)
      wb->flush_state = FLUSH_IDLE;
    return true;
  }
  if (!wb->settling || wb->flush_state != FLUSH_IDLE || wb->in_flight > 0)
    return false;
  wb->settling = false;
  return true;
}
