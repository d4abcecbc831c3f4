/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: zero and trim, by the best means the file has.
 *
 * A request tries one means after another; what the file turns out not to have
 * is remembered.  From left to right:
 *
 *   space may be given back   PUNCH  RANGE  WRITE
 *   else, a file              RANGE  PUNCH_KEEP, then ALLOCATE  WRITE
 *   else, a block device      RANGE  WRITE
 *
 * With STORE_FUA then comes SYNC.  On a block device the kernel punches only
 * where the device promises zeroes for what was given back, and has RANGE
 * write zeroes by itself if the device can do no better.  It insists on the
 * descriptor with O_EXCL if the page cache holds any of the range (EBUSY).
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "fs/file/direct.h"
#include "fs/file/io.h"
#include "fs/file/punch.h"
#include "fs/file/zero.h"

/* Of req->phase. */
enum phase { PUNCH, RANGE, PUNCH_KEEP, WRITE, ALLOCATE, SYNC, NO_PHASE };

/* A device may take its time: this much at once, so that the rest of its queue
 * gets its turn.
 */
#define DEVICE_CHUNK (UINT64_C (1) << 30)

static void
set_phase (struct store_req *req, enum phase phase)
{
  req->phase = (uint8_t) phase;
  req->tried = 0;
}

static bool
lacks (const struct file_store *file, enum phase phase)
{
  switch (phase) {
  case PUNCH: return file->no_punch;
  case PUNCH_KEEP: return file->no_punch || file->block_device;
  case RANGE: return file->no_zero_range;
  default: return false;
  }
}

/* What to try after phase (NO_PHASE: first). */
static enum phase
next_phase (const struct file_store *file, const struct store_req *req,
            enum phase phase)
{
  static const enum phase giving_back[] = { PUNCH, RANGE, WRITE };
  static const enum phase keeping[] = { RANGE, PUNCH_KEEP, WRITE };
  bool give = req->op == STORE_TRIM || (req->flags & STORE_MAY_TRIM);
  const enum phase *order = give ? giving_back : keeping;

  if (phase != NO_PHASE)
    while (*order++ != phase)
      ;
  while (lacks (file, *order))
    order++;
  return *order;
}

static int
enter (struct store_req *req, enum phase phase)
{
  if (phase == WRITE && req->op == STORE_ZERO && (req->flags & STORE_FAST_ZERO))
    return -ENOTSUP;
  set_phase (req, phase);
  return FILE_AGAIN;
}

int
file_zero_begin (struct file_store *file, struct store_req *req)
{
  if (req->op == STORE_ZERO && (req->flags & STORE_FAST_ZERO) &&
      !file->store.geo.can_fast_zero)
    return -ENOTSUP;
  return enter (req, next_phase (file, req, NO_PHASE));
}

/* The end of the part that is done at once. */
static uint64_t
chunk_end (const struct file_store *file, const struct store_req *req)
{
  uint64_t from = req->offset + req->progress;
  uint64_t end = store_req_end (&file->store, req);

  if (file->block_device && end - from > DEVICE_CHUNK)
    end = from + DEVICE_CHUNK;
  return end;
}

void
file_zero_prepare (struct file_store *file, struct store_req *req,
                   struct file_call *call)
{
  uint64_t from = req->offset + req->progress;

  *call = (struct file_call) {
    .kind = CALL_ALLOCATE,
    .fd = file->sync_fd,
    .flags = FALLOC_FL_KEEP_SIZE,
    .offset = from,
    .length = chunk_end (file, req) - from,
  };
  switch (req->phase) {
  case PUNCH:
  case PUNCH_KEEP: call->flags |= FALLOC_FL_PUNCH_HOLE; break;
  case RANGE: call->flags |= FALLOC_FL_ZERO_RANGE; break;
  case ALLOCATE:
    call->offset = req->offset;
    call->length = store_req_end (&file->store, req) - req->offset;
    break;
  case SYNC:
    *call = (struct file_call) { .kind = CALL_SYNC, .fd = file->fd };
    break;
  default: file_write_zeroes_prepare (file, req, call);
  }
}

/* The range reads as zero. */
static int
zeroed (struct store_req *req)
{
  if (!(req->flags & STORE_FUA))
    return 0;
  set_phase (req, SYNC);
  return FILE_AGAIN;
}

static int
advance_write (struct file_store *file, struct store_req *req, int res)
{
  if (res == -EINVAL && !(req->tried & FILE_BUFFERED)) {
    req->tried |= FILE_BUFFERED;
    return FILE_AGAIN;
  }
  if (res <= 0)
    return res < 0 ? res : -EIO;
  req->progress += (unsigned) res;
  if (req->offset + req->progress < store_req_end (&file->store, req))
    return FILE_AGAIN;
  return zeroed (req);
}

static bool
unsupported (int res)
{
  return res == -EOPNOTSUPP || res == -ENOSYS;
}

/* This means does not work here, or, now or ever, not for this range: on to the
 * next.
 */
static int
try_next (struct file_store *file, struct store_req *req, int res)
{
  enum phase phase = req->phase;

  if (unsupported (res) && phase == RANGE)
    file->no_zero_range = true;
  else if (unsupported (res))
    file->no_punch = true;
  return enter (req, next_phase (file, req, phase));
}

static int
advance_fallocate (struct file_store *file, struct store_req *req, int res)
{
  if (unsupported (res) || res == -EINVAL || res == -EBUSY)
    return try_next (file, req, res);
  if (res < 0)
    return res;
  req->progress = chunk_end (file, req) - req->offset;
  if (req->offset + req->progress < store_req_end (&file->store, req))
    return FILE_AGAIN;
  if (req->phase == PUNCH_KEEP && !file->no_allocate) {
    set_phase (req, ALLOCATE);
    return FILE_AGAIN;
  }
  return zeroed (req);
}

bool
file_zero_syncs (const struct store_req *req)
{
  return req->phase == SYNC;
}

int
file_zero_advance (struct file_store *file, struct store_req *req, int res)
{
  switch (req->phase) {
  case WRITE: return advance_write (file, req, res);
  case SYNC: return res;
  case ALLOCATE:
    if (unsupported (res))
      file->no_allocate = true;
    else if (res < 0)
      return res;
    return zeroed (req);
  default: return advance_fallocate (file, req, res);
  }
}

void
file_zero_probe (struct file_store *file, const struct stat *st)
{
  struct store_geometry *geo = &file->store.geo;
  bool fast;

  if (geo->readonly)
    return;
  if (file->block_device)
    fast = file_queue_attribute (st->st_rdev, "write_zeroes_max_bytes", 0) > 0;
  else
    fast = file_punches (file->fd);
  geo->can_zero = geo->can_fast_zero = geo->can_trim = fast;
}
