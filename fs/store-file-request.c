/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: a request from its beginning to its end, call by call.  Who
 * makes the calls, and when, is not known here.
 */

#include <errno.h>

#include "fs/store-file-impl.h"

int
file_begin (struct store_file *sf, struct store_req *req)
{
  bool empty = file_req_end (sf, req) == req->offset;

  req->progress = 0;
  req->state = 0;
  switch (req->op) {
  case STORE_FLUSH: req->progress = sf->flush_errors; return FILE_AGAIN;
  case STORE_READ: return empty ? file_rw_advance (sf, req, 0) : FILE_AGAIN;
  case STORE_WRITE:
    if (sf->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : FILE_AGAIN;
  default:
    if (sf->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : file_zero_begin (sf, req);
  }
}

void
file_prepare (struct store_file *sf, struct store_req *req,
              struct file_call *call)
{
  switch (req->op) {
  case STORE_FLUSH:
    *call = (struct file_call) { .kind = CALL_SYNC, .fd = sf->sync_fd };
    break;
  case STORE_READ:
  case STORE_WRITE: file_rw_prepare (sf, req, call); break;
  default: file_zero_prepare (sf, req, call);
  }
}

/* The kernel reports a failed write-back to one of several concurrent flushes
 * only: all that were under way with it fail too.  The same goes for a cut, with
 * which went what had been written and not flushed.
 */
static int
flush_advance (struct store_file *sf, struct store_req *req, int res)
{
  if (file_transient (req, res))
    return FILE_AGAIN;
  if (res == 0 && atomic_exchange (&sf->cut_unreported, false))
    res = -EIO;
  if (res < 0) {
    sf->flush_errors++;
    return res;
  }
  return req->progress == sf->flush_errors ? 0 : -EIO;
}

int
file_advance (struct store_file *sf, struct store_req *req, int res)
{
  int r;

  switch (req->op) {
  case STORE_FLUSH: return flush_advance (sf, req, res);
  case STORE_READ:
  case STORE_WRITE: r = file_rw_advance (sf, req, res); break;
  default: r = file_zero_advance (sf, req, res);
  }
  return file_is_cut (sf, req) ? -EIO : r;
}
