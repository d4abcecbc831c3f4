/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs.  All are in one list, and each has a state:
 *
 *   state     waits for                         then
 *   QUEUED    what was lost to be dirty; with   -> TAGGING, or SENDING by FUA
 *             FUA, write-back of its range
 *   TAGGING   its dirty folios to be tagged     -> SENDING
 *             TOWRITE: later ones are not its
 *   SENDING   its turn, folio locks, ranges     -> DRAINING
 *   DRAINING  ioends of its range               -> READY, or OVER if it is not
 *                                               to be durable, or is by FUA
 *   READY     the flush before, company         -> FLUSHING, all together, or
 *                                               OVER if there is nothing to flush
 *   FLUSHING  the store flush                   -> OVER
 *   OVER      its waiter to be told
 *
 * Besides,
 *
 *   an error of a write of its range, or of a flush    DRAINING, READY -> OVER
 *   it failed within something larger, which is cut    DRAINING, READY -> QUEUED
 *   something became dirty again behind its back       DRAINING to FLUSHING
 *                                                      -> QUEUED
 *   the store has lost something                       any but OVER -> QUEUED
 *
 * So what comes while others are sent, or flushed, is sent meanwhile, and
 * concurrent syncs share store flushes (see group-commit.h for when a flush waits
 * for more of them).
 *
 * The smallest range goes first.  But one that is OVERDUE is not overtaken any
 * more, except in the one ioend that is kept for those that need no more.
 *
 * FUA.  Where the store can do that, a small range is made durable by writes with
 * FUA of all that is dirty or unstable in it, and only these sectors are clean then.
 * A flush that finds nothing to be made durable but a few dirty pages sends these
 * with FUA, too.  What the sends have achieved is not concluded from what was sent,
 * but from what there is when all is done: where anything is left that only a flush
 * makes durable, a flush it is.
 */

#include <stddef.h>

#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "fs/iomap.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync.h"

/* A slice of work. */
#define SLICE_NODES 256

/* Older than this (ns), a sync is not overtaken. */
#define OVERDUE NSEC_PER_SEC

/* Dirty pages that a flush may send with FUA. */
#define LONE_PAGES 16

void
sync_init (struct writeback *wb)
{
  wb->sync.own = (struct sync_req) { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  wb->sync.flush_at = ENV_FOREVER;
  wb->sync.losses = store_losses (wb->fs->store);
}

/* --- the list --- */

static uint64_t
size_of (const struct sync_req *req)
{
  return req->end - req->start;
}

static void
insert (struct wb_sync *sync, struct sync_req *req)
{
  struct sync_req **p = &sync->list;

  sync->alone = *p ? 0 : sync->alone + 1;
  while (*p && size_of (*p) <= size_of (req))
    p = &(*p)->next;
  req->next = *p;
  *p = req;
  req->state = SYNC_QUEUED;
  sync->nr[SYNC_QUEUED]++;
}

static void
take_inbox (struct writeback *wb)
{
  struct sync_req *req, *next;

  pthread_mutex_lock (&wb->inbox->lock);
  req = wb->inbox->queue.head;
  sync_list_init (&wb->inbox->queue);
  pthread_mutex_unlock (&wb->inbox->lock);
  for (; req; req = next) {
    next = req->next;
    insert (&wb->sync, req);
  }
}

void
sync_complete (struct writeback *wb)
{
  struct wb_sync *sync = &wb->sync;
  struct sync_req **p = &sync->list, *req;

  while (sync->nr[SYNC_OVER] > 0) {
    req = *p;
    if (req->state != SYNC_OVER) {
      p = &req->next;
      continue;
    }
    *p = req->next;
    sync->nr[SYNC_OVER]--;
    if (req == &sync->own)
      sync->own_pending = false;
    else
      completion_signal (wb->env, &req->done);
  }
}

/* --- beginning --- */

/* (It may have been asked for since now was noted.) */
static bool
is_overdue (const struct sync_req *req, uint64_t now)
{
  return now >= req->asked + OVERDUE;
}

/* Is it to be made durable by FUA, if it can be? */
static bool
is_small_fua (struct writeback *wb, const struct sync_req *req, uint64_t now)
{
  return req->kind == SYNC_FUA && sync_has_fua (wb) &&
         size_of (req) <= wb->ioends.max_io && !is_overdue (req, now);
}

/* Is there nothing to be made durable but a few pages that are dirty, and nobody
 * to share a flush with?  Then FUA takes the store once instead of twice.
 */
static bool
is_lone_flush (struct writeback *wb, const struct sync_req *req, uint64_t now)
{
  const struct wb_sync *sync = &wb->sync;

  return req->kind == SYNC_FLUSH && sync_has_fua (wb) && sync->list == req &&
         req->next == NULL && sync->flush_state == FLUSH_IDLE &&
         wb->ioends.in_flight == 0 && !atomic_load (&wb->inbox->unflushed) &&
         throttle_unstable (wb->throttle) == 0 &&
         atomic_load (&wb->folios->nr_dirty) <= LONE_PAGES &&
         !group_commit_expects (&sync->group_commit, now);
}

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
  return page << PAGE_SHIFT;
}

/* Returns whether it has begun. */
static bool
begin (struct writeback *wb, struct sync_req *req, uint64_t now)
{
  if (sync_settling (&wb->sync) || wb->sync.flush_state == FLUSH_DIRTY)
    return false;
  req->by_fua = is_small_fua (wb, req, now);
  if (req->by_fua) {
    sync_count_awaited (wb, req);
    if (req->awaited > 0)
      return false;
  }
  req->fua = req->by_fua || is_lone_flush (wb, req, now);
  req->again = false;
  req->skipped = false;
  req->redone = sync_redone (wb);
  req->pos = req->by_fua ? sync_first_byte (wb, req) : first_tagged (wb, req);
  sync_set_state (&wb->sync, req, req->by_fua ? SYNC_SENDING : SYNC_TAGGING);
  return true;
}

/* Tag what is dirty for the sync, a slice at a time. */
static void
tag (struct writeback *wb, struct sync_req *req)
{
  uint64_t page = req->pos >> PAGE_SHIFT, last = (req->end - 1) >> PAGE_SHIFT;
  bool done;

  index_lock (wb->folios->index);
  done = index_copy_tag (wb->folios->index, &page, last, TAG_DIRTY, TAG_TOWRITE,
                         SLICE_NODES);
  index_unlock (wb->folios->index);
  req->pos = done ? sync_first_byte (wb, req) : page << PAGE_SHIFT;
  if (done)
    sync_set_state (&wb->sync, req, SYNC_SENDING);
}

/* --- sending --- */

/* Send what there is.  Returns true if there is more to do at once. */
static bool
send_dirty (struct writeback *wb, struct sync_req *req)
{
  struct wb_pass pass = {
    .active = true,
    .kind = req->by_fua ? PASS_FUA : PASS_SYNC,
    .fua = req->fua,
    .start = sync_first_byte (wb, req),
    .end = sync_last_byte (wb, req),
    .pos = req->pos,
    .skipped = req->skipped,
  };
  bool more = pass_run (wb, &pass, NULL);

  /* What was in use is tried again when we are woken. */
  req->pos = pass.active ? pass.pos : pass.start;
  req->skipped = pass.active && pass.skipped;
  if (pass.active || pass.skipped)
    return more;
  sync_count_awaited (wb, req);
  sync_set_state (&wb->sync, req, SYNC_DRAINING);
  return true;
}

/* Returns true if there is more to do at once. */
static bool
advance (struct writeback *wb, struct sync_req *req, uint64_t now)
{
  switch (req->state) {
  case SYNC_QUEUED: return begin (wb, req, now);
  case SYNC_TAGGING: tag (wb, req); return true;
  case SYNC_SENDING: return send_dirty (wb, req);
  default: return false;
  }
}

/* The oldest that has not sent all, if it is OVERDUE. */
static struct sync_req *
overdue (struct wb_sync *sync, uint64_t now)
{
  struct sync_req *req, *oldest = NULL;

  for (req = sync->list; req; req = req->next)
    if (req->state <= SYNC_SENDING && is_overdue (req, now) &&
        (oldest == NULL || req->asked < oldest->asked))
      oldest = req;
  return oldest;
}

bool
sync_step (struct writeback *wb, uint64_t now)
{
  struct wb_sync *sync = &wb->sync;
  struct sync_req *req;

  take_inbox (wb);
  req = overdue (sync, now);
  if (req && advance (wb, req, now))
    return true;
  for (req = sync->list; req; req = req->next)
    if (advance (wb, req, now))
      return true;
  return false;
}
