/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs: batches of them, whose data is sent.  The stages are drawn in
 * writeback.h.
 */

#include <errno.h>
#include <stddef.h>

#include "cache/mapping.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync.h"

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

void
sync_complete (struct mapping *mapping, struct sync_req *req)
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
    sync_complete (mapping, req);
  }
  sync_list_init (list);
}

static void
note_error (struct sync_list *list, uint64_t start, uint64_t end, int error,
            bool cut)
{
  struct sync_req *req;
  bool partly;

  for (req = list->head; req; req = req->next) {
    if (!sync_touches (req, start, end))
      continue;
    partly = start < req->start || req->end < end;
    if (cut && partly && (req->again || req->tries < MAX_TRIES)) {
      req->tries += !req->again;
      req->again = true;
    }
    else if (req->error == 0 || req->error == -ENOSPC)
      req->error = error;
  }
}

void
sync_note_error (struct mapping *mapping, uint64_t start, uint64_t end,
                 int error, bool cut)
{
  note_error (&mapping->wb.writing, start, end, error, cut);
  note_error (&mapping->wb.draining, start, end, error, cut);
  note_error (&mapping->wb.ready, start, end, error, cut);
}

/* --- what is to be written once more --- */

/* Both only grow, so the sum is the same only if both are. */
uint32_t
sync_redone (struct mapping *mapping)
{
  return zeroes_redone (&mapping->zeroes) +
         atomic_load (&mapping->folios.overwritten);
}

/* --- batches --- */

/* Where to begin tagging for a sync: tags go by where a folio begins, and the
 * first one may begin before the range does.
 */
static uint64_t
first_tagged (struct mapping *mapping, const struct sync_req *req)
{
  uint64_t page = req->start >> PAGE_SHIFT;
  struct folio *folio = index_get (mapping->folios.index, page);

  if (folio) {
    page = folio_index (folio);
    folio_put (mapping->folios.arena, folio);
  }
  return page;
}

/* May a batch begin?  Not before all that was lost is dirty. */
static bool
may_begin (const struct writeback *wb)
{
  return !wb->settling && !(wb->flush_state == FLUSH_SWEEP && wb->sweep_lost);
}

/* Make a batch of all that is to begin.  False: there is nothing. */
static bool
begin (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  struct sync_req *req;

  sync_list_move (&wb->writing, &wb->again);
  pthread_mutex_lock (&wb->lock);
  sync_list_move (&wb->writing, &wb->queue);
  pthread_mutex_unlock (&wb->lock);
  if (wb->writing.head == NULL)
    return false;

  for (req = wb->writing.head; req; req = req->next) {
    req->again = false;
    req->redone = sync_redone (mapping);
  }
  wb->tag_req = wb->writing.head;
  wb->tag_page = first_tagged (mapping, wb->tag_req);
  wb->batch_state = BATCH_TAGGING;
  return true;
}

void
sync_restart (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  sync_list_move (&wb->again, &wb->ready);
  sync_list_move (&wb->again, &wb->draining);
  sync_list_move (&wb->again, &wb->writing);
  wb->batch_state = BATCH_NONE;
}

/* The next of the batch whose range was not tagged with this one's. */
static struct sync_req *
next_to_tag (const struct sync_req *req)
{
  struct sync_req *next = req->next;

  while (next && req->start <= next->start && next->end <= req->end)
    next = next->next;
  return next;
}

/* Tag what is dirty for the syncs of the batch, a slice at a time. */
static void
tag (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;
  uint64_t last = (wb->tag_req->end - 1) >> PAGE_SHIFT;
  bool done;

  index_lock (mapping->folios.index);
  done = index_copy_tag (mapping->folios.index, &wb->tag_page, last, TAG_DIRTY,
                         TAG_TOWRITE, SLICE_NODES);
  index_unlock (mapping->folios.index);
  if (!done)
    return;
  wb->tag_req = next_to_tag (wb->tag_req);
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
  wb->batch_state = BATCH_NONE;
  sync_drain (mapping);
  return true;
}

bool
sync_step (struct mapping *mapping)
{
  struct writeback *wb = &mapping->wb;

  switch (wb->batch_state) {
  case BATCH_NONE: return may_begin (wb) && begin (mapping);
  case BATCH_TAGGING: tag (mapping); return true;
  case BATCH_SENDING: return send_tagged (mapping);
  }
  return false;
}
