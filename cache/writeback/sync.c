/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs: batches of them, whose data is sent.  The stages are drawn in
 * writeback.h.
 */

#include <errno.h>
#include <stddef.h>

#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/post/inbox.h"
#include "cache/post/zeroes.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync.h"

/* A slice of work. */
#define SLICE_NODES 256

/* Enough to cut the largest write down to one block: 2^20 of them. */
#define MAX_TRIES 20

void
sync_complete (struct writeback *wb, struct sync_req *req)
{
  if (req == &wb->own_sync)
    wb->own_pending = false;
  else
    completion_signal (wb->env, &req->done);
}

void
sync_complete_all (struct writeback *wb, struct sync_list *list, int error)
{
  struct sync_req *req, *next;

  for (req = list->head; req; req = next) {
    next = req->next;
    if (error)
      req->error = error;
    sync_complete (wb, req);
  }
  sync_list_init (list);
}

/* Does it want any of the ranges; *partly: but not all of them? */
static bool
touches (const struct sync_req *req, const struct range *ranges, unsigned n,
         bool *partly)
{
  bool any = false;
  unsigned i;

  *partly = false;
  for (i = 0; i < n; i++) {
    any |= req->start < ranges[i].end && ranges[i].start < req->end;
    *partly |= ranges[i].start < req->start || req->end < ranges[i].end;
  }
  return any;
}

static void
note_error (struct sync_list *list, const struct range *ranges, unsigned n,
            int error, bool cut)
{
  struct sync_req *req;
  bool partly;

  for (req = list->head; req; req = req->next) {
    if (!touches (req, ranges, n, &partly))
      continue;
    if (cut && partly && (req->again || req->tries < MAX_TRIES)) {
      req->tries += !req->again;
      req->again = true;
    }
    else if (req->error == 0 || req->error == -ENOSPC)
      req->error = error;
  }
}

void
sync_note_error (struct writeback *wb, const struct range *ranges, unsigned n,
                 int error, bool cut)
{
  note_error (&wb->writing, ranges, n, error, cut);
  note_error (&wb->draining, ranges, n, error, cut);
  note_error (&wb->ready, ranges, n, error, cut);
}

/* --- what is to be written once more --- */

/* Both only grow, so the sum is the same only if both are. */
uint32_t
sync_redone (struct writeback *wb)
{
  return zeroes_redone (wb->zeroes) + atomic_load (&wb->folios->overwritten);
}

/* --- batches --- */

/* Where to begin tagging for a sync: tags go by where a folio begins, and the
 * first one may begin before the range does.
 */
static uint64_t
first_tagged (struct writeback *wb, const struct sync_req *req)
{
  uint64_t page = req->start >> PAGE_SHIFT;
  struct folio *folio = index_get (wb->folios->index, page);

  if (folio) {
    page = folio_index (folio);
    folio_put (wb->folios->arena, folio);
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
begin (struct writeback *wb)
{
  struct sync_req *req;

  sync_list_move (&wb->writing, &wb->again);
  pthread_mutex_lock (&wb->inbox->lock);
  sync_list_move (&wb->writing, &wb->inbox->queue);
  pthread_mutex_unlock (&wb->inbox->lock);
  if (wb->writing.head == NULL)
    return false;

  for (req = wb->writing.head; req; req = req->next) {
    req->again = false;
    req->redone = sync_redone (wb);
  }
  wb->tag_req = wb->writing.head;
  wb->tag_page = first_tagged (wb, wb->tag_req);
  wb->batch_state = BATCH_TAGGING;
  return true;
}

void
sync_restart (struct writeback *wb)
{
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
tag (struct writeback *wb)
{
  uint64_t last = (wb->tag_req->end - 1) >> PAGE_SHIFT;
  bool done;

  index_lock (wb->folios->index);
  done = index_copy_tag (wb->folios->index, &wb->tag_page, last, TAG_DIRTY,
                         TAG_TOWRITE, SLICE_NODES);
  index_unlock (wb->folios->index);
  if (!done)
    return;
  wb->tag_req = next_to_tag (wb->tag_req);
  if (wb->tag_req) {
    wb->tag_page = first_tagged (wb, wb->tag_req);
    return;
  }
  wb->sync_pass = (struct wb_pass) { .active = true, .kind = PASS_SYNC };
  wb->batch_state = BATCH_SENDING;
}

/* Send what is tagged.  Returns true if there is more to do at once. */
static bool
send_tagged (struct writeback *wb)
{
  if (!wb->sync_pass.active) {
    /* We were woken: try again what was in use. */
    wb->sync_pass = (struct wb_pass) { .active = true, .kind = PASS_SYNC };
  }
  if (pass_run (wb, &wb->sync_pass, NULL))
    return true;
  if (wb->sync_pass.active || wb->sync_pass.skipped)
    return false;
  wb->batch_state = BATCH_NONE;
  sync_drain (wb);
  return true;
}

bool
sync_step (struct writeback *wb)
{
  switch (wb->batch_state) {
  case BATCH_NONE: return may_begin (wb) && begin (wb);
  case BATCH_TAGGING: tag (wb); return true;
  case BATCH_SENDING: return send_tagged (wb);
  }
  return false;
}
