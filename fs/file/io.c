/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: reads and writes.  Each goes to the kernel in pieces, mostly
 * one: as many whole elements of the request's iov as possible, or, where a
 * short transfer or the end of the file cuts through one, the rest of that.
 */

#include <errno.h>
#include <string.h>

#include "fs/file/cut.h"
#include "fs/file/io.h"
#include "fs/num.h"

#define MAX_IOV 1024 /* as many as the kernel takes: IOV_MAX */

struct piece {
  const struct iovec *iov; /* n whole elements, if n > 0 */
  unsigned n;
  void *base; /* else this */
  uint64_t length;
};

/* How much of the request is left to do in one piece.  None crosses the place
 * where direct I/O ends: see file_open_direct.
 */
static uint64_t
bytes_left (const struct file_store *file, const struct store_req *req)
{
  uint64_t offset = req->offset + req->progress;
  uint64_t left = store_req_end (&file->store, req) - offset;

  if (file->direct_fd >= 0 && offset < file->direct_end &&
      left > file->direct_end - offset)
    left = file->direct_end - offset;
  return left;
}

static void
next_piece (const struct file_store *file, const struct store_req *req,
            struct piece *piece)
{
  uint64_t left = bytes_left (file, req), skip;
  const struct iovec *iov = store_req_iov (req, &skip);
  const struct iovec *end = req->iov + req->niov;

  *piece = (struct piece) { .iov = iov };
  if (skip > 0 || iov->iov_len > left) {
    piece->base = (char *) iov->iov_base + skip;
    piece->length = min_u64 (iov->iov_len - skip, left);
    return;
  }
  for (; iov < end && piece->n < MAX_IOV; iov++, piece->n++) {
    if (piece->length + iov->iov_len > left)
      break;
    piece->length += iov->iov_len;
  }
}

/* Can this piece, at offset, go by O_DIRECT? */
static bool
suits_direct (const struct file_store *file, const struct store_req *req,
              uint64_t offset, const struct piece *piece)
{
  uintptr_t memory = (uintptr_t) piece->base;
  uint64_t bytes = offset | piece->length;
  unsigned i;

  if (file->direct_fd < 0 || (req->tried & FILE_BUFFERED) ||
      offset + piece->length > file->direct_end)
    return false;
  for (i = 0; i < piece->n; i++) {
    memory |= (uintptr_t) piece->iov[i].iov_base;
    bytes |= piece->iov[i].iov_len;
  }
  return memory % file->mem_align == 0 && bytes % file->align == 0;
}

static void
prepare_piece (struct file_store *file, struct store_req *req, bool write,
               const struct piece *piece, struct file_call *call)
{
  uint64_t offset = req->offset + req->progress;
  int fd = file->direct_fd;

  if (!suits_direct (file, req, offset, piece)) {
    req->tried |= FILE_BUFFERED;
    fd = file->fd;
  }
  *call = (struct file_call) {
    .kind = write ? CALL_WRITE : CALL_READ,
    .fd = fd,
    .offset = offset,
    .length = piece->length,
    .iov = piece->iov,
    .n = piece->n,
    .base = piece->base,
  };
}

void
file_rw_prepare (struct file_store *file, struct store_req *req,
                 struct file_call *call)
{
  bool write = req->op == STORE_WRITE;
  struct piece piece;

  next_piece (file, req, &piece);
  prepare_piece (file, req, write, &piece, call);
  if (write && (req->flags & STORE_FUA))
    call->flags = RWF_DSYNC;
}

void
file_write_zeroes_prepare (struct file_store *file, struct store_req *req,
                           struct file_call *call)
{
  struct piece piece = {
    .base = file->zeroes,
    .length = min_u64 (bytes_left (file, req), ZEROES_SIZE),
  };

  prepare_piece (file, req, true, &piece, call);
}

/* It ends before the size it had when it was opened.  (Of a device, a read cannot
 * tell that from one that is out of reach: see file_look.)
 */
static int
ends_early (struct file_store *file, const struct store_req *req)
{
  file_look (file);
  if (req->op == STORE_READ && !file->fixed_medium)
    file_note_end (file, req->offset + req->progress);
  return -EIO;
}

int
file_rw_advance (struct file_store *file, struct store_req *req, int res)
{
  uint64_t wanted = store_req_end (&file->store, req) - req->offset;

  if (res == -EINVAL && !(req->tried & FILE_BUFFERED)) {
    if (file->store.geo.can_fua && (req->flags & STORE_FUA))
      return -EOPNOTSUPP; /* through the page cache it would not be sound */
    req->tried |= FILE_BUFFERED; /* more particular than it told us */
    return FILE_AGAIN;
  }
  if (res < 0)
    return res;
  if (res == 0 && req->progress < wanted)
    return ends_early (file, req);
  req->progress += (unsigned) res;
  if (res > 0 && req->progress < wanted)
    return FILE_AGAIN;
  if (req->op == STORE_READ)
    store_req_clear_rest (req);
  return 0;
}
