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
#include "cache/pass.h"
#include "cache/sync.h"

/* A slice of work. */
#define SLICE_NODES 256

/* Enough to cut the largest write down to one block: 2^20 of them. */
#define MAX_TRIES 20

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

void
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

void
sync_complete_all (struct mapping *mapping, struct sync_list *list, int error)
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

/* Complete those that have failed, and those that need no flush and are not to
 * be tried again.  Returns whether one that needs a flush had failed.
 */
static bool
complete_written (struct mapping *mapping, struct sync_list *list)
{
  struct sync_list keep;
  struct sync_req *req, *next;
  bool failed = false;

  sync_list_init (&keep);
  for (req = list->head; req; req = next) {
    next = req->next;
    failed |= req->flush && req->error;
    if ((req->flush || req->again) && req->error == 0)
      sync_list_append (&keep, req);
    else
      complete (mapping, req);
  }
  sync_list_init (list);
  sync_list_move (list, &keep);
  return failed;
}

void
sync_note_error (struct mapping *mapping, uint64_t start, uint64_t end,
                 int error, bool cut)
{
  struct sync_req *req;
  bool partly;

  for (req = mapping->wb.writing.head; req; req = req->next) {
    if (!sync_touches (req, start, end))
      continue;
    partly = start < req->start || req->end < end;
    if (cut && partly && req->tries < MAX_TRIES)
      req->again = true;
    else if (req->error == 0 || req->error == -ENOSPC)
      req->error = error;
  }
}

/* --- batches --- */

/* Where to begin tagging for a sync: tags go by where a folio begins, and the
 * first one may begin before the range does.
 */
static uint64_t
first_tagged (struct mapping *mapping, const struct sync_req *req)
{
  uint64_t page = req->start >> PAGE_SHIFT;
  struct folio *folio = index_get (mapping->index, page);

  if (folio) {
    page = folio_index (folio);
    folio_put (mapping->arena, folio);
  }
  return page;
}

/* Begin to tag for req and those behind it in the batch. */
static void
start_tagging (struct mapping *mapping, struct sync_req *req)
{
  struct writeback *wb = &mapping->wb;

  if (req == wb->writing.head)
    wb->tag_redone = zeroes_redone (&mapping->zeroes);
  wb->tag_req = req;
  wb->tag_page = first_tagged (mapping, req);
  wb->batch_state = BATCH_TAGGING;
}

/* Take what is queued into the batch. */
static bool
take_queue (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct sync_list taken;
  struct sync_req *first, *req;

  sync_list_init (&taken);
  pthread_mutex_lock (&wb->lock);
  sync_list_move (&taken, &wb->queue);
  pthread_mutex_unlock (&wb->lock);
  first = taken.head;
  if (first == NULL)
    return false;

  for (req = first; req; req = req->next)
    if (req->flush && req != &wb->own_sync)
      group_commit_join (&wb->group_commit, req->asked);
  sync_list_move (&wb->writing, &taken);
  start_tagging (mapping, first);
  return true;
}

/* Should a flush that could begin wait for more syncs?  Not while others wait for
 * what it makes clean.
 */
static bool
flush_held (const struct mapping *mapping)
{
  const struct writeback *wb = &mapping->wb;

  return wb->flush_state == FLUSH_IDLE && !wb->own_pending &&
         atomic_load (&mapping->throttle.waiters) == 0 &&
         group_commit_hold (&wb->group_commit,
                            mapping->env->now (mapping->env));
}

/* By the batch's state, not by the clock: that may have moved on since the batch
 * was looked at, and then nobody would look again.
 */
bool
sync_awaits_flush (struct mapping *mapping)
{
  const struct writeback *wb = &mapping->wb;
  struct zeroes *zeroes = &mapping->zeroes;

  return wb->batch_state == BATCH_DRAINED && wb->flush_state == FLUSH_IDLE &&
         !(zeroes_to_redo (zeroes) && zeroes_redo_error (zeroes) == 0);
}

/* May more join the batch now?  While its turn to flush has not come anyway,
 * not in the middle of a drain, whose count would be spoilt, and not before all
 * that was lost is dirty.
 */
static bool
batch_open (const struct mapping *mapping)
{
  const struct writeback *wb = &mapping->wb;

  switch (wb->batch_state) {
  case BATCH_NONE:
    return !wb->settling && !(wb->flush_state == FLUSH_SWEEP && wb->sweep_lost);
  case BATCH_SENDING:
  case BATCH_DRAINED:
    return wb->flush_state == FLUSH_SENT || flush_held (mapping);
  case BATCH_AGAIN:
  case BATCH_TAGGING:
  case BATCH_DRAINING: break;
  }
  return false;
}

void
sync_restart (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (wb->writing.head)
    wb->batch_state = BATCH_AGAIN;
}

/* Tag what is dirty for the syncs of the batch, a slice at a time. */
static void
tag (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint64_t last = (wb->tag_req->end - 1) >> PAGE_SHIFT;
  bool done;

  index_lock (mapping->index);
  done = index_copy_tag (mapping->index, &wb->tag_page, last, TAG_DIRTY,
                         TAG_TOWRITE, SLICE_NODES);
  index_unlock (mapping->index);
  if (!done)
    return;
  wb->tag_req = wb->tag_req->next;
  if (wb->tag_req) {
    wb->tag_page = first_tagged (mapping, wb->tag_req);
    return;
  }
  wb->sync_pass = (struct wb_pass) { .active = true, .kind = PASS_SYNC };
  wb->batch_state = BATCH_SENDING;
}

/* Send what is tagged.  Returns true if there is more to do at once. */
static bool
send_tagged (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  if (!wb->sync_pass.active) {
    /* We were woken: try again what was in use. */
    wb->sync_pass = (struct wb_pass) { .active = true, .kind = PASS_SYNC };
  }
  if (pass_run (mapping, &wb->sync_pass, NULL))
    return true;
  if (wb->sync_pass.active || wb->sync_pass.skipped)
    return false;
  ioend_await (mapping);
  wb->batch_state = BATCH_DRAINING;
  return true;
}

/* Are there some in the batch that are to be tried again?  (The others, which
 * need nothing but the flush, go with them.)
 */
static bool
take_again (struct writeback *wb)
{
  struct sync_req *req;
  bool any = false;

  for (req = wb->writing.head; req; req = req->next) {
    any |= req->again;
    req->tries += req->again;
    req->again = false;
  }
  return any;
}

/* The batch is written.  Pass it on, after the flush before it, when zeroes that
 * were lost are done again or that has failed, and when there is no point in
 * waiting for more to share the flush.
 */
static bool
batch_drained (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct zeroes *zeroes = &mapping->zeroes;
  bool redo = zeroes_to_redo (zeroes);
  int error = redo ? zeroes_redo_error (zeroes) : 0;
  /* Once more, then: what was queued meanwhile may join now. */
  bool more = wb->batch_state == BATCH_DRAINING, failed;

  failed = complete_written (mapping, &wb->writing);
  wb->batch_state = BATCH_NONE;
  if (take_again (wb) || wb->writing.head == NULL) {
    /* What could be written is to be durable all the same. */
    if (failed && atomic_load (&mapping->nr_unstable))
      sync_start_flush (mapping);
    sync_restart (mapping);
    return true;
  }
  if (wb->flush_state != FLUSH_IDLE || (redo && error == 0)) {
    wb->batch_state = BATCH_DRAINED;
    return more;
  }
  if (redo)
    sync_complete_all (mapping, &wb->writing, error);
  else if (zeroes_redone (zeroes) != wb->tag_redone)
    sync_restart (mapping); /* something became dirty behind the tags */
  else if (!atomic_load (&wb->unflushed) &&
           !atomic_load (&mapping->nr_unstable))
    sync_complete_all (mapping, &wb->writing, 0);
  else if (flush_held (mapping)) {
    wb->batch_state = BATCH_DRAINED;
    return more;
  }
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

  if (batch_open (mapping) && take_queue (mapping))
    return true;

  switch (wb->batch_state) {
  case BATCH_NONE: return false;
  case BATCH_AGAIN:
    if (wb->settling)
      return false;
    start_tagging (mapping, wb->writing.head);
    return true;
  case BATCH_TAGGING: tag (mapping); return true;
  case BATCH_SENDING: return send_tagged (mapping);
  case BATCH_DRAINING:
    if (wb->awaited > 0)
      return false;
    return batch_drained (mapping);
  case BATCH_DRAINED: return batch_drained (mapping);
  }
  return false;
}
