/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: a request from its beginning to its end, call by call.  Who
 * makes the calls, and when, is not known here.
 *
 *   what came of a call      then
 *   ECANCELED: not begun     once more at once, then with pauses; EIO after FILE_PATIENCE
 *   EINTR, EAGAIN, EFAULT    the same; but of a sync EIO, and EFAULT once only
 *   else                     is for flush_, file_rw_ or file_zero_advance to judge
 */

#include <errno.h>

#include "fs/file/io.h"
#include "fs/file/request.h"
#include "fs/file/zero.h"

int
file_begin (struct file_store *file, struct store_req *req)
{
  bool empty = store_req_end (&file->store, req) == req->offset;

  req->progress = 0;
  req->phase = req->tried = 0;
  req->failing = 0;
  switch (req->op) {
  case STORE_FLUSH: req->progress = file->flush_errors; return FILE_AGAIN;
  case STORE_READ: return empty ? file_rw_advance (file, req, 0) : FILE_AGAIN;
  case STORE_WRITE:
    if (file->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : FILE_AGAIN;
  default:
    if (file->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : file_zero_begin (file, req);
  }
}

void
file_prepare (struct file_store *file, struct store_req *req,
              struct file_call *call)
{
  switch (req->op) {
  case STORE_FLUSH:
    *call = (struct file_call) { .kind = CALL_SYNC, .fd = file->sync_fd };
    break;
  case STORE_READ:
  case STORE_WRITE: file_rw_prepare (file, req, call); break;
  default: file_zero_prepare (file, req, call);
  }
}

/* Worth trying again as it is?  When a thread ends, its kernel workers do too,
 * and what it had submitted and was not begun fails with ECANCELED or EFAULT.
 * The second try comes from the loop thread, which stays: EFAULT is then true.
 */
static bool
is_transient (struct store_req *req, int res)
{
  if (res == -EFAULT && !(req->tried & FILE_RETRIED)) {
    req->tried |= FILE_RETRIED;
    return true;
  }
  return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

/* At once, the first time, and then with pauses until patience ends. */
static int
try_again (const struct file_store *file, struct store_req *req)
{
  struct env *env = file->store.env;
  uint64_t now = env->now (env);

  if (req->failing == 0) {
    req->failing = now;
    return FILE_AGAIN;
  }
  return now - req->failing < FILE_PATIENCE ? FILE_LATER : -EIO;
}

/* The kernel reports a failed write-back to one of several concurrent flushes
 * only: all that were under way with it fail too.  The same goes for a cut, with
 * which went what had been written and not flushed.
 */
static int
flush_advance (struct file_store *file, struct store_req *req, int res)
{
  if (res == 0 && atomic_exchange (&file->cut_unreported, false))
    res = -EIO;
  if (res < 0) {
    file->flush_errors++;
    return res;
  }
  return req->progress == file->flush_errors ? 0 : -EIO;
}

static int
advance (struct file_store *file, struct store_req *req, int res)
{
  switch (req->op) {
  case STORE_FLUSH: return flush_advance (file, req, res);
  case STORE_READ:
  case STORE_WRITE: return file_rw_advance (file, req, res);
  default: return file_zero_advance (file, req, res);
  }
}

/* The kernel may have written back in vain, at any time, for any reason that the
 * file system has, which it tells whoever asks for durability first, and only
 * once.  So a sync is tried again only if it had not begun: that it succeeds then
 * would prove nothing.
 */
int
file_advance (struct file_store *file, struct store_req *req, int res)
{
  int r = 0;

  if (is_transient (req, res))
    r = req->op == STORE_FLUSH && res != -ECANCELED ? -EIO
                                                    : try_again (file, req);
  else
    req->failing = 0;
  if (r < 0)
    res = r; /* as if the kernel had said so */
  if (r <= 0)
    r = advance (file, req, res);
  return file_is_cut (file, req) ? -EIO : r;
}
