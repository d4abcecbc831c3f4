/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs.  The stages of a batch are drawn in writeback.h.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "cache/ioend.h"
#include "cache/mapping.h"
#include "cache/sync.h"

/* A slice of work. */
#define SLICE_NODES 256
#define SLICE_SWEEP 256

void
sync_list_init (struct sync_list *list)
{
  list->head = NULL;
  list->tail = &list->head;
}

void
sync_list_append (struct sync_list *list, struct sync_req *req)
{
  req->next = NULL;
  *list->tail = req;
  list->tail = &req->next;
}

/* Move all of `from' to the end of `to'. */
static void
sync_list_move (struct sync_list *to, struct sync_list *from)
{
  if (from->head == NULL)
    return;
  *to->tail = from->head;
  to->tail = from->tail;
  sync_list_init (from);
}

static void
complete (struct mapping *mapping, struct sync_req *req)
{
  if (req == &mapping->wb.own_sync)
    mapping->wb.own_pending = false;
  else
    completion_signal (mapping->env, &req->done);
}

static void
complete_all (struct mapping *mapping, struct sync_list *list, int error)
{
  struct sync_req *req, *next;

  for (req = list->head; req; req = next) {
    next = req->next;
    if (error)
      req->error = error;
    complete (mapping, req);
  }
  sync_list_init (list);
}

/* Complete those that need no flush, or have failed already. */
static void
complete_written (struct mapping *mapping, struct sync_list *list)
{
  struct sync_list keep;
  struct sync_req *req, *next;

  sync_list_init (&keep);
  for (req = list->head; req; req = next) {
    next = req->next;
    if (req->flush && req->error == 0)
      sync_list_append (&keep, req);
    else
      complete (mapping, req);
  }
  sync_list_init (list);
  sync_list_move (list, &keep);
}

void
sync_note_error (struct mapping *mapping, uint64_t first, uint64_t last,
                 int error)
{
  struct sync_req *req;

  for (req = mapping->wb.writing.head; req; req = req->next)
    if (req->first <= last && first <= req->last)
      req->error = error;
}

/* --- the store flush --- */

static void
flush_done (struct store_req *req, int error)
{
  struct mapping *mapping =
    (struct mapping *) ((char *) req - offsetof (struct mapping, wb.flush_req));

  mapping->wb.flush_error = error;
  atomic_store (&mapping->wb.flush_done, true);
  writeback_kick (mapping);
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

void
sync_start_flush (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (wb->flush_state != FLUSH_IDLE || zeroes_to_redo (&mapping->zeroes))
    return;
  wb->flush_state = FLUSH_SENT;
  /* What becomes unstable from here on is for the next flush. */
  wb->gen++;
  atomic_store (&wb->unflushed, false);
  /* In this order: one that ends between the two is flagged anew. */
  wb->flush_direct = atomic_exchange (&wb->direct_unflushed, false);
  wb->flush_direct |= atomic_load (&wb->direct_in_flight) > 0;
  zeroes_flush_begin (&mapping->zeroes);
  wb->flush_req = (struct store_req) { .op = STORE_FLUSH, .done = flush_done };
  mapping->fs->ops->flush (mapping->fs, &wb->flush_req);
}

/* Everything not known to be durable is to be written again.  Whoever asked
 * for it to be durable, or is about to, is told.
 */
static void
flush_failed (struct mapping *mapping, int error)
{
  struct writeback *wb = &mapping->wb;
  struct sync_req *req;

  if (atomic_exchange (&wb->last_error, error) != error)
    env_log (mapping->env, LOG_ERROR,
             "the store failed to flush, what was written since the last "
             "flush will be written again: %s",
             strerror (-error));
  wb->flush_failures++;
  atomic_store (&wb->unflushed, true);
  if (wb->flush_direct || direct_pending (wb))
    atomic_fetch_add (&mapping->lost_writes, 1);
  writeback_back_off (mapping);
  for (req = wb->writing.head; req; req = req->next)
    if (req->flush)
      req->error = error;
}

/* A folio has become clean.  Eviction sets the flag and then looks whether it
 * is; both are read-modify-writes of the flags, so that one of us sees what the
 * other did before.
 */
static void
cleaned (struct mapping *mapping, struct folio *folio)
{
  if (atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_RECLAIM) &
      FOLIO_RECLAIM)
    reclaim_rotate (mapping->cache->reclaim, folio);
}

/* Go on with the sweep over unstable folios.  Returns true when it is done. */
static bool
sweep (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct folio *folio;
  unsigned budget = SLICE_SWEEP;

  while (budget-- > 0) {
    folio = index_get_tagged (mapping->index, wb->sweep_page, mapping->nr_pages,
                              TAG_UNSTABLE);
    if (folio == NULL)
      return true;
    wb->sweep_page = folio_index (folio) + folio_pages (folio);
    if (wb->flush_failed)
      folio_transition (mapping, folio, 0, folio_sectors (folio), FOLIO_LOST);
    else if (folio->unstable_gen != wb->gen &&
             folio_transition (mapping, folio, 0, folio_sectors (folio),
                               FOLIO_FLUSHED))
      cleaned (mapping, folio);
    folio_put (mapping->arena, folio);
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
    wb->flush_failed = wb->flush_error != 0;
    wb->sweep_page = 0;
    wb->flush_state = FLUSH_SWEEP;
    zeroes_flush_end (&mapping->zeroes, wb->flush_error);
    if (wb->flush_failed)
      flush_failed (mapping, wb->flush_error);
    else
      writeback_note_success (mapping);
    complete_all (mapping, &wb->flushing, wb->flush_error);
  }
  if (wb->flush_state != FLUSH_SWEEP)
    return false;

  done = sweep (mapping);
  throttle_wake (mapping);
  if (done)
    wb->flush_state = FLUSH_IDLE;
  return true;
}

/* --- batches --- */

/* Where to begin tagging for a sync: tags go by where a folio begins, and the
 * first one may begin before the range does.
 */
static uint64_t
first_tagged (struct mapping *mapping, const struct sync_req *req)
{
  struct folio *folio = index_get (mapping->index, req->first);
  uint64_t page = req->first;

  if (folio) {
    page = folio_index (folio);
    folio_put (mapping->arena, folio);
  }
  return page;
}

/* Take what is queued into the batch. */
static bool
take_queue (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct sync_list taken;

  sync_list_init (&taken);
  pthread_mutex_lock (&wb->lock);
  sync_list_move (&taken, &wb->queue);
  pthread_mutex_unlock (&wb->lock);
  if (taken.head == NULL)
    return false;

  wb->tag_req = taken.head;
  wb->tag_page = first_tagged (mapping, taken.head);
  sync_list_move (&wb->writing, &taken);
  wb->batch_state = BATCH_TAGGING;
  return true;
}

/* May more join the batch now?  While its turn to flush has not come anyway,
 * and not in the middle of a drain, whose count would be spoilt.
 */
static bool
batch_open (const struct writeback *wb)
{
  switch (wb->batch_state) {
  case BATCH_NONE: return !(wb->flush_state == FLUSH_SWEEP && wb->flush_failed);
  case BATCH_SENDING:
  case BATCH_DRAINED: return wb->flush_state == FLUSH_SENT;
  case BATCH_TAGGING:
  case BATCH_DRAINING: break;
  }
  return false;
}

/* Tag what is dirty for the syncs of the batch, a slice at a time. */
static void
tag (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  bool done;

  index_lock (mapping->index);
  done = index_copy_tag (mapping->index, &wb->tag_page, wb->tag_req->last,
                         TAG_DIRTY, TAG_TOWRITE, SLICE_NODES);
  index_unlock (mapping->index);
  if (!done)
    return;
  wb->tag_req = wb->tag_req->next;
  if (wb->tag_req) {
    wb->tag_page = first_tagged (mapping, wb->tag_req);
    return;
  }
  wb->sync_pass = (struct wb_pass) { .active = true };
  wb->batch_state = BATCH_SENDING;
}

/* Send what is tagged.  Returns true if there is more to do at once. */
static bool
send_tagged (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (!wb->sync_pass.active) {
    /* We were woken: try again what was in use. */
    wb->sync_pass = (struct wb_pass) { .active = true };
  }
  if (ioend_run_pass (mapping, &wb->sync_pass, TAG_TOWRITE, NULL))
    return true;
  if (wb->sync_pass.active || wb->sync_pass.skipped)
    return false;
  wb->epoch ^= 1;
  wb->batch_state = BATCH_DRAINING;
  return true;
}

/* The batch is written.  Pass it on. */
static bool
batch_drained (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  complete_written (mapping, &wb->writing);
  if (wb->writing.head && wb->flush_state != FLUSH_IDLE) {
    wb->batch_state = BATCH_DRAINED;
    return false;
  }
  wb->batch_state = BATCH_NONE;
  if (wb->writing.head == NULL)
    return true;
  if (!atomic_load (&wb->unflushed) && !atomic_load (&mapping->nr_unstable))
    complete_all (mapping, &wb->writing, 0);
  else if (zeroes_to_redo (&mapping->zeroes))
    complete_all (mapping, &wb->writing, -EIO);
  else {
    sync_list_move (&wb->flushing, &wb->writing);
    sync_start_flush (mapping);
  }
  return true;
}

bool
sync_step (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (batch_open (wb) && take_queue (mapping))
    return true;

  switch (wb->batch_state) {
  case BATCH_NONE: return false;
  case BATCH_TAGGING: tag (mapping); return true;
  case BATCH_SENDING: return send_tagged (mapping);
  case BATCH_DRAINING:
    if (wb->epoch_in_flight[wb->epoch ^ 1] > 0)
      return false;
    return batch_drained (mapping);
  case BATCH_DRAINED:
    if (wb->flush_state != FLUSH_IDLE)
      return false;
    return batch_drained (mapping);
  }
  return false;
}
