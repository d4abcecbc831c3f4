/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: what the server says of holes.  What it does not say, or says
 * in a way that makes no sense, is data.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "fs/nbd/status.h"
#include "fs/num.h"

/* Runs of one answer that are kept, at most; whatever a server says. */
#define MAX_RUNS ((size_t) 16384)

/* A question that has cost so many sessions is not asked again. */
#define MAX_COST 3

/* Room for so many more runs, as far as there is memory, and no more than is
 * kept of an answer.  Returns how many there is room for.
 */
static size_t
make_room (struct status_answer *status, size_t more)
{
  size_t room = min_u64 (status->n + more, MAX_RUNS);
  struct status_run *run;

  if (room > status->room &&
      (run = reallocarray (status->run, room, sizeof *run)) != NULL) {
    status->run = run;
    status->room = room;
  }
  return min_u64 (status->room - status->n, more);
}

int
status_on_extents (void *opaque, const char *context, uint64_t offset,
                   uint32_t *entries, size_t n, int *error)
{
  struct status_answer *status = opaque;
  size_t i, more;

  (void) offset;
  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  more = make_room (status, n / 2);
  for (i = 0; i < more; i++)
    status->run[status->n++] =
      (struct status_run) { entries[2 * i], entries[2 * i + 1] };
  return 0;
}

static enum store_extent
type_of (uint32_t state)
{
  if ((state & LIBNBD_STATE_ZERO) == 0)
    return STORE_DATA;
  return state & LIBNBD_STATE_HOLE ? STORE_HOLE : STORE_UNWRITTEN;
}

/* The server's runs, of which the first begins at from, as far as they lie in
 * [offset, end); all is data if there is none.
 */
static void
report (const struct status_answer *status, uint64_t from, uint64_t offset,
        uint64_t end, store_extent_fn *fn, void *opaque)
{
  uint64_t pos = offset, to = from;
  size_t i;

  for (i = 0; i < status->n && status->run[i].length > 0 && to < end; i++) {
    to = min_u64 (to + status->run[i].length, end);
    if (to <= pos)
      continue;
    fn (opaque, pos, to - pos, type_of (status->run[i].state));
    pos = to;
  }
  if (pos == offset)
    fn (opaque, offset, end - offset, STORE_DATA);
}

bool
status_hopeless (struct store_req *req)
{
  struct status_answer *status;

  if ((req->flags & STATUS_QUESTION) == 0)
    return false;
  status = req->iov->iov_base;
  status->n = 0;
  return ++status->losses == MAX_COST;
}

int
nbd_store_block_status (struct store *store, uint64_t offset, uint64_t length,
                        store_extent_fn *fn, void *opaque)
{
  struct status_answer status = { 0 };
  struct iovec iov = { &status, 0 };
  struct store_req req = {
    .op = STORE_READ,
    .flags = STATUS_QUESTION,
    .offset = round_down (offset, store->geo.min_io),
    .iov = &iov,
    .niov = 1,
  };
  uint64_t end;
  int r = 0;

  if (offset >= store->geo.size || length == 0)
    return -EINVAL;
  end = offset + min_u64 (length, store->geo.size - offset);
  req.length = round_up (end, store->geo.min_io) - req.offset;
  if (store->geo.can_extents)
    r = store_submit_wait (store, &req);
  if (r == 0)
    report (&status, req.offset, offset, end, fn, opaque);
  free (status.run);
  return r;
}
