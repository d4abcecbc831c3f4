/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: zero and trim, by the best means the file has.
 *
 * A request tries one means after another; what the file turns out not to have
 * is remembered.  From left to right:
 *
 *   trim                  PUNCH  RANGE  WRITE
 *   zero, a file          RANGE  PUNCH_KEEP, then ALLOCATE  WRITE
 *   zero, a block device  RANGE  WRITE
 *
 * On a block device the kernel punches only where the device promises zeroes for
 * what was given back, and has RANGE write zeroes by itself if the device can do no
 * better.  It insists on the descriptor with O_EXCL if the page cache holds any of
 * the range (EBUSY).
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "fs/file/direct.h"
#include "fs/file/io.h"
#include "fs/file/punch.h"
#include "fs/file/zero.h"

/* Of req->phase. */
enum phase { PUNCH, RANGE, PUNCH_KEEP, WRITE, ALLOCATE, NO_PHASE };

/* A device may take its time: this much at once, so that the rest of its queue
 * gets its turn.
 */
#define DEVICE_CHUNK (UINT64_C (1) << 30)

static int
enter (struct store_req *req, enum phase phase)
{
  req->phase = (uint8_t) phase;
  req->tried = 0;
  return FILE_AGAIN;
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
  const enum phase *order = req->op == STORE_TRIM ? giving_back : keeping;

  if (phase != NO_PHASE)
    while (*order++ != phase)
      ;
  while (lacks (file, *order))
    order++;
  return *order;
}

int
file_zero_begin (struct file_store *file, struct store_req *req)
{
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
  default: file_write_zeroes_prepare (file, req, call);
  }
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
  return req->offset + req->progress < store_req_end (&file->store, req)
           ? FILE_AGAIN
           : 0;
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
  return req->phase == PUNCH_KEEP && !file->no_allocate ? enter (req, ALLOCATE)
                                                        : 0;
}

int
file_zero_advance (struct file_store *file, struct store_req *req, int res)
{
  switch (req->phase) {
  case WRITE: return advance_write (file, req, res);
  case ALLOCATE:
    if (unsupported (res))
      file->no_allocate = true;
    return unsupported (res) ? 0 : res;
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
  geo->can_zero = geo->can_trim = fast;
}
