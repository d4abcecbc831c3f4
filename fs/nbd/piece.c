/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests in pieces, each of which is one command that the
 * server can take.  Mostly there is one.
 *
 *   phase  its pieces         when the last is answered  when the session is lost
 *   WORK   of what is asked   done; or SYNC, for FUA     WORK from its start on
 *          for, in order      that the server lacks
 *   SYNC   a flush            done                       WORK from its start on
 *
 * req->losses counts the sessions that were lost with it in flight, but not for a
 * server that said that it shuts down; req->late, how much it was to blame for that.
 * When either is too much the request fails instead.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/nbd/piece.h"
#include "fs/nbd/status.h"
#include "fs/num.h"

/* Of a command that zeroes, bytes: a server that has to write them is to answer
 * in time.
 */
#define MAX_ZERO (UINT64_C (512) << 20)

/* Of a question, bytes: 32 bits hold no more. */
#define MAX_STATUS (UINT64_C (0xffff0000))

/* Of req->phase. */
enum { WORK, SYNC };

/* There may be so many of req->losses. */
#define MAX_LOSSES 16

static void
limit (struct command *cmd, uint64_t most)
{
  cmd->length = min_u64 (cmd->length, most);
}

/* ------------------------------------------------------- memory of requests */

enum direction { GATHER, SCATTER };

/* Copy length bytes from req->progress on between the request's memory and buf. */
static void
copy (const struct store_req *req, char *buf, uint64_t length,
      enum direction direction)
{
  uint64_t skip, n;
  const struct iovec *iov = store_req_iov (req, &skip);

  for (; length > 0 && iov < req->iov + req->niov; iov++, skip = 0) {
    n = min_u64 (iov->iov_len - skip, length);
    if (direction == GATHER)
      memcpy (buf, (char *) iov->iov_base + skip, n);
    else
      memcpy ((char *) iov->iov_base + skip, buf, n);
    buf += n;
    length -= n;
  }
}

/* A command takes contiguous memory.  If the request's is in elements that are
 * small, as many of them as its bounce buffer holds are copied; a large one
 * goes as it is.
 */
static int
prepare_memory (struct command *cmd)
{
  const struct nbd_store *nbd = cmd->nbd;
  const struct store_req *req = cmd->req;
  uint64_t skip, here;
  const struct iovec *iov = store_req_iov (req, &skip);

  here = (iov->iov_len - skip) / nbd->store.geo.min_io * nbd->store.geo.min_io;
  cmd->buf = (char *) iov->iov_base + skip;
  if (iov->iov_len - skip >= cmd->length)
    return PIECE_AGAIN;
  if (here >= nbd->bounce_size) {
    cmd->length = here;
    return PIECE_AGAIN;
  }
  limit (cmd, nbd->bounce_size);
  cmd->buf = cmd->bounce;
  if (cmd->kind == COMMAND_WRITE)
    copy (req, cmd->buf, cmd->length, GATHER);
  return PIECE_AGAIN;
}

/* ------------------------------------------------------- pieces, by request */

static const struct export_facts *
facts_of (const struct command *cmd)
{
  return &cmd->conn->session->facts;
}

static uint32_t
fua_flag (const struct command *cmd)
{
  return export_wants_fua (facts_of (cmd), cmd->req) ? LIBNBD_CMD_FLAG_FUA : 0;
}

static int
prepare_rw (struct command *cmd)
{
  bool write = cmd->req->op == STORE_WRITE;

  cmd->kind = write ? COMMAND_WRITE : COMMAND_READ;
  cmd->flags = write ? fua_flag (cmd) : 0;
  limit (cmd, export_max_io (facts_of (cmd)));
  return prepare_memory (cmd);
}

/* NBD's TRIM promises nothing of what is read afterwards; zeroing that may make
 * holes does.
 */
static int
prepare_zero (struct command *cmd)
{
  const struct export_facts *facts = facts_of (cmd);
  bool fast = cmd->req->flags & STORE_FAST_ZERO;

  if (fast && !(facts->zero && facts->fast_zero))
    return -ENOTSUP;
  cmd->flags = fua_flag (cmd);
  if (!facts->zero) {
    cmd->kind = COMMAND_WRITE;
    cmd->buf = cmd->nbd->zeroes;
    limit (cmd, export_max_io (facts));
    limit (cmd, ZEROES_SIZE);
    return PIECE_AGAIN;
  }
  cmd->kind = COMMAND_ZERO;
  if (cmd->req->op == STORE_ZERO)
    cmd->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (fast)
    cmd->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  limit (cmd, MAX_ZERO);
  return PIECE_AGAIN;
}

/* A server that cannot flush was sent everything with FUA; or there is nothing
 * that can be done, and the user knows (nbd_store_options.unsafe_no_flush).
 */
static int
prepare_flush (struct command *cmd)
{
  cmd->kind = COMMAND_FLUSH;
  cmd->length = 0;
  return facts_of (cmd)->flush ? PIECE_AGAIN : 0;
}

/* A server may have lost the ability meanwhile: nothing is known then. */
static int
prepare_status (struct command *cmd)
{
  struct status_answer *status = cmd->req->iov->iov_base;

  cmd->kind = COMMAND_STATUS;
  status->n = 0;
  limit (cmd, MAX_STATUS);
  return facts_of (cmd)->extents ? PIECE_AGAIN : 0;
}

/* All of it that lies inside the store is done. */
static int
prepare_end (struct command *cmd)
{
  struct store_req *req = cmd->req;

  if (req->op == STORE_READ)
    store_req_clear_rest (req);
  else if ((req->flags & STORE_FUA) && !facts_of (cmd)->fua &&
           req->progress > 0) {
    req->phase = SYNC;
    return prepare_flush (cmd);
  }
  return 0;
}

void
piece_begin (struct store_req *req)
{
  req->progress = 0;
  req->phase = WORK;
  req->losses = req->late = 0;
}

int
piece_prepare (struct command *cmd)
{
  struct store_req *req = cmd->req;
  uint64_t end = store_req_end (&cmd->nbd->store, req);

  cmd->offset = req->offset + req->progress;
  cmd->flags = 0;
  if (req->op == STORE_FLUSH || req->phase == SYNC)
    return prepare_flush (cmd);
  if (cmd->offset >= end)
    return prepare_end (cmd);
  cmd->length = end - cmd->offset;
  if (req->flags & STATUS_QUESTION)
    return prepare_status (cmd);
  if (req->op == STORE_READ || req->op == STORE_WRITE)
    return prepare_rw (cmd);
  return prepare_zero (cmd);
}

/* ----------------------------------------------------------------- commands */

/* libnbd's callback for each chunk of a read, which may come in any order.  What
 * was in the memory before is nobody's business: a server that sends something
 * twice instead of something else gets zeroes there.
 */
static int
on_chunk (void *opaque, const void *data, size_t n, uint64_t offset,
          unsigned status, int *error)
{
  struct command *cmd = opaque;
  uint64_t at = offset - cmd->offset;

  (void) data;
  (void) status;
  (void) error;
  if (at > cmd->reached)
    memset ((char *) cmd->buf + cmd->reached, 0, at - cmd->reached);
  if (at + n > cmd->reached)
    cmd->reached = at + n;
  cmd->got += n;
  return 0;
}

bool
piece_whole (const struct command *cmd)
{
  return cmd->kind != COMMAND_READ ||
         (cmd->got >= cmd->length && cmd->reached == cmd->length);
}

static struct ticket *
new_ticket (struct command *cmd)
{
  struct ticket *ticket = malloc (sizeof *ticket);

  if (ticket)
    *ticket = (struct ticket) {
      .cmd = cmd,
      .conn = cmd->conn,
      .change = cmd->kind == COMMAND_WRITE || cmd->kind == COMMAND_ZERO,
    };
  return ticket;
}

int
piece_send (struct command *cmd, int (*on_answer) (void *, int *))
{
  nbd_completion_callback done = { .callback = on_answer, .free = free };
  nbd_extent_callback extents = { .callback = status_on_extents };
  nbd_chunk_callback chunk = { .callback = on_chunk, .user_data = cmd };
  struct nbd_handle *h = cmd->conn->handle;
  int64_t r = -1;

  done.user_data = cmd->ticket = new_ticket (cmd);
  if (cmd->ticket == NULL)
    return -ENOMEM;
  switch (cmd->kind) {
  case COMMAND_READ:
    cmd->got = cmd->reached = 0;
    r = nbd_aio_pread_structured (h, cmd->buf, cmd->length, cmd->offset, chunk,
                                  done, 0);
    break;
  case COMMAND_WRITE:
    r =
      nbd_aio_pwrite (h, cmd->buf, cmd->length, cmd->offset, done, cmd->flags);
    break;
  case COMMAND_ZERO:
    r = nbd_aio_zero (h, cmd->length, cmd->offset, done, cmd->flags);
    break;
  case COMMAND_FLUSH: r = nbd_aio_flush (h, done, 0); break;
  case COMMAND_STATUS:
    extents.user_data = cmd->req->iov->iov_base;
    r = nbd_aio_block_status (h, cmd->length, cmd->offset, extents, done, 0);
    break;
  }
  if (r >= 0)
    return 0;
  cmd->ticket = NULL;
  return handle_errno ();
}

int
piece_advance (struct command *cmd)
{
  struct store_req *req = cmd->req;

  if (cmd->error)
    return -cmd->error;
  if (cmd->kind == COMMAND_READ && cmd->buf == cmd->bounce)
    copy (req, cmd->buf, cmd->length, SCATTER);
  if (cmd->kind == COMMAND_FLUSH || cmd->kind == COMMAND_STATUS)
    return 0;
  req->progress += cmd->length;
  return piece_prepare (cmd);
}

bool
piece_reset (struct command *cmd)
{
  struct store_req *req = cmd->req;

  req->progress = 0;
  req->phase = WORK;
  req->late += cmd->late;
  req->losses += !cmd->conn->session->shut_down;
  return req->losses < MAX_LOSSES && req->late < TOO_LATE;
}
