/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs, as the rest of write-back sees them.  Their states and how they go on are
 * in sync.c, which is above all that this tells of.
 */

#include <errno.h>

#include "fs/num.h"
#include "cache/folio/folio.h"
#include "cache/folio/reclaim.h"
#include "cache/post/inbox.h"
#include "cache/post/outbox.h"
#include "fs/iomap.h"
#include "cache/writeback/sync-list.h"

/* Enough to cut the largest write down to one block: 2^20 of them. */
#define MAX_TRIES 20

bool
sync_has_fua (const struct writeback *wb)
{
  return wb->fs->can_fua && !atomic_load (&wb->inbox->no_fua);
}

/* Has it begun, and not come to a flush? */
static bool
is_sending (const struct sync_req *req)
{
  return req->state != SYNC_QUEUED && req->state < SYNC_FLUSHING;
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

void
sync_send_again (struct writeback *wb, const struct range *ranges, unsigned n)
{
  struct sync_req *req;
  bool partly;

  for (req = wb->sync.list; req; req = req->next)
    if (is_sending (req) && touches (req, ranges, n, &partly))
      req->again = true;
}

void
sync_note_error (struct writeback *wb, const struct range *ranges, unsigned n,
                 int error, bool cut)
{
  struct sync_req *req;
  bool partly;

  for (req = wb->sync.list; req; req = req->next) {
    if (!is_sending (req) || !touches (req, ranges, n, &partly))
      continue;
    if (cut && partly && (req->again || req->tries < MAX_TRIES)) {
      req->tries += !req->again;
      req->again = true;
    }
    else if (req->error == 0 || req->error == -ENOSPC)
      req->error = error;
  }
}

uint32_t
sync_redone (struct writeback *wb)
{
  return atomic_load (&wb->folios->overwritten);
}

uint64_t
sync_last_byte (const struct writeback *wb, const struct sync_req *req)
{
  uint64_t disk = wb->folios->nr_pages << PAGE_SHIFT;

  return req->end >= disk ? disk : round_up (req->end, wb->fs->block_size);
}

uint64_t
sync_first_byte (const struct writeback *wb, const struct sync_req *req)
{
  return min_u64 (round_down (req->start, wb->fs->block_size),
                  sync_last_byte (wb, req));
}

/* Does the sync wait for this ioend, in flight?  (It does not change its mind: the
 * range is as it was when it was sent.)
 */
static bool
waits_for (const struct sync_req *req, const struct ioend *ioend)
{
  return ioend->number < req->fence &&
         ioend_touches (ioend, req->start, req->end);
}

void
sync_count_awaited (struct writeback *wb, struct sync_req *req)
{
  unsigned i;

  req->fence = wb->ioends.nr_sent;
  req->awaited = 0;
  for (i = 0; wb->ioends.in_flight > 0 && i < wb->ioends.nr; i++)
    req->awaited +=
      wb->ioends.all[i].in_flight && waits_for (req, &wb->ioends.all[i]);
}

void
sync_ioend_over (struct writeback *wb, const struct ioend *ioend)
{
  struct sync_req *req;

  for (req = wb->sync.list; req; req = req->next)
    if (req->state == SYNC_DRAINING)
      req->awaited -= waits_for (req, ioend);
}

/* Eviction sets the flag and then looks whether the folio is clean; both are
 * read-modify-writes of the flags, so that one of us sees what the other did before.
 */
void
sync_cleaned (struct writeback *wb, struct folio *folio)
{
  atomic_store (&wb->outbox->cleaned_at, wb->env->now (wb->env));
  if (atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_RECLAIM) &
      FOLIO_RECLAIM)
    reclaim_rotate (wb->folios->reclaim, folio);
}
