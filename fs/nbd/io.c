/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests come in, are sent, answered, and done.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/nbd/handle.h"
#include "fs/nbd/io.h"
#include "fs/nbd/piece.h"
#include "fs/nbd/status.h"
#include "fs/num.h"

/* What a command weighs beside its data, in bytes: it takes some time too. */
#define COMMAND_WEIGHT 4096u

/* The connection with the least to do. */
static void
choose_conn (struct session *session, struct command *cmd, uint64_t bytes,
             bool slow)
{
  struct env *env = session->nbd->store.env;
  struct connection *best = &session->conns[0];
  unsigned i;

  for (i = 1; i < session->n; i++)
    if (session->conns[i].weight < best->weight)
      best = &session->conns[i];
  cmd->sent = env->now (env);
  if (best->weight == 0)
    best->quiet_since = cmd->sent;
  cmd->conn = best;
  cmd->slow = slow;
  cmd->late = 0;
  cmd->weight = bytes + COMMAND_WEIGHT;
  best->weight += cmd->weight;
}

/* Does it make the server write what came before, or zeroes, however many? */
static bool
slow_req (const struct export_facts *facts, const struct store_req *req)
{
  if (req->op == STORE_FLUSH || export_wants_fua (facts, req))
    return true;
  return facts->zero && req->op != STORE_READ && req->op != STORE_WRITE;
}

static bool
slow_piece (const struct command *cmd)
{
  return cmd->kind == COMMAND_FLUSH || cmd->kind == COMMAND_ZERO ||
         (cmd->flags & LIBNBD_CMD_FLAG_FUA);
}

/* The next whose turn it is, on a connection, or NULL. */
static struct command *
next_cmd (struct nbd_store *nbd, struct session *session)
{
  uint64_t max_io = export_max_io (&session->facts), bytes = 0;
  struct command *cmd;
  struct store_req *req;

  req = store_queue_take (&nbd->queue);
  if (req == NULL)
    return NULL;
  cmd = command_take (nbd, req);
  if (req->op == STORE_READ || req->op == STORE_WRITE)
    bytes = min_u64 (req->length, max_io);
  choose_conn (session, cmd, bytes, slow_req (&session->facts, req));
  return cmd;
}

/* ------------------------------------------------------- sending, answers */

/* The lock is held. */
static void
finish_cmd (struct command *cmd, int error)
{
  struct nbd_store *nbd = cmd->nbd;

  cmd->error = error;
  if (error == 0 && !piece_whole (cmd))
    cmd->error = EIO;
  STAILQ_INSERT_TAIL (&nbd->finished, cmd, finished);
}

/* libnbd's callback, in any thread.  ENOTCONN is no answer: no server can give
 * it.
 */
static int
on_answer (void *opaque, int *error)
{
  struct ticket *ticket = opaque;
  struct command *cmd;
  struct nbd_store *nbd = ticket->conn->session->nbd;
  bool wake;

  pthread_mutex_lock (&nbd->lock);
  cmd = ticket->cmd;
  if (cmd)
    cmd->ticket = NULL;
  if (cmd && *error == ENOTCONN)
    session_lose (ticket->conn->session, NULL);
  else if (cmd)
    finish_cmd (cmd, *error);
  else if (*error != ENOTCONN && ticket->change)
    ticket->conn->changes--; /* one less to be drained */
  wake = cmd && !nbd->collecting;
  pthread_mutex_unlock (&nbd->lock);
  if (wake)
    nbd_store_wake (nbd);
  return 1; /* libnbd forgets it */
}

static bool
conn_dead (const struct connection *conn)
{
  return nbd_aio_is_dead (conn->handle) || nbd_aio_is_closed (conn->handle);
}

/* Without the lock, with the command prepared.  Returns PIECE_AGAIN: it is
 * sent, or its session is lost, else its result.
 */
static int
send_cmd (struct command *cmd)
{
  struct connection *conn = cmd->conn;
  struct nbd_store *nbd = cmd->nbd;
  char why[WHY_MAX];
  int r;

  /* Once it is sent it may be answered, and be another's, at once. */
  r = piece_send (cmd, on_answer);
  if (r < 0 && !conn_dead (conn))
    return r;
  if (r < 0) {
    handle_explain (why, "the connection is closed");
    pthread_mutex_lock (&nbd->lock);
    session_lose (conn->session, why);
    pthread_mutex_unlock (&nbd->lock);
    nbd_store_wake (nbd);
  }
  else if (nbd_aio_get_direction (conn->handle) & LIBNBD_AIO_DIRECTION_WRITE)
    nbd_store_wake (nbd);
  return PIECE_AGAIN;
}

void
requests_pump (struct nbd_store *nbd, struct store_list *done)
{
  struct session *session = nbd->session;
  struct command *cmd;
  int r;

  if (session == NULL)
    return;
  session->users++;
  while (!session->lost && (cmd = next_cmd (nbd, session)) != NULL) {
    pthread_mutex_unlock (&nbd->lock);
    r = piece_prepare (cmd);
    if (r == PIECE_AGAIN)
      r = send_cmd (cmd);
    pthread_mutex_lock (&nbd->lock);
    if (r != PIECE_AGAIN)
      command_done (nbd, cmd, r, done);
  }
  if (--session->users == 0 && session->lost)
    nbd_store_wake (nbd);
}

static int
refuse (const struct nbd_store *nbd, const struct store_req *req)
{
  if (nbd->given_up)
    return nbd->given_up;
  if (nbd->store.geo.readonly && req->op != STORE_READ &&
      req->op != STORE_FLUSH)
    return -EROFS;
  return 0;
}

void
nbd_store_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct nbd_store *nbd = nbd_store_of (store);
  struct store_list done = { 0 };
  bool was_idle;
  unsigned i;
  int r;

  pthread_mutex_lock (&nbd->lock);
  for (i = 0; i < n; i++) {
    piece_begin (reqs[i]);
    if (nbd->wanted++ == 0 && nbd->session)
      nbd->quiet_since = store->env->now (store->env);
    r = refuse (nbd, reqs[i]);
    if (r < 0)
      requests_done (nbd, &done, reqs[i], r);
    else
      store_queue_add (&nbd->queue, reqs[i]);
  }
  was_idle = nbd->idle;
  nbd->idle = false;
  if (was_idle)
    nbd_store_wake (nbd);
  requests_pump (nbd, &done);
  pthread_mutex_unlock (&nbd->lock);
  store_done_call (&done);
}

void
nbd_store_resume (struct store *store, int error)
{
  struct nbd_store *nbd = nbd_store_of (store);
  struct store_list failed = { 0 }, done = { 0 };
  struct store_req *req;

  pthread_mutex_lock (&nbd->lock);
  store_queue_resume (&nbd->queue, error, &failed);
  while ((req = store_list_take (&failed)) != NULL)
    requests_done (nbd, &done, req, req->error);
  requests_pump (nbd, &done);
  pthread_mutex_unlock (&nbd->lock);
  store_done_call (&done);
}

/* ------------------------------------------- after the answer: loop thread */

static const char *
name_of (const struct command *cmd)
{
  switch (cmd->kind) {
  case COMMAND_READ: return "reading";
  case COMMAND_WRITE: return "writing";
  case COMMAND_ZERO: return "zeroing";
  case COMMAND_FLUSH: return "flushing";
  default: return "asking for the extents of";
  }
}

/* At most one a second. */
static void
log_error (struct nbd_store *nbd, const struct command *cmd)
{
  struct env *env = nbd->store.env;
  uint64_t now = env->now (env);
  char more[48] = "";

  if (cmd->error == ENOTSUP && (cmd->flags & LIBNBD_CMD_FLAG_FAST_ZERO))
    return; /* that was the question */
  if (nbd->logged && now - nbd->logged < NSEC_PER_SEC) {
    nbd->unlogged++;
    return;
  }
  if (nbd->unlogged > 0)
    snprintf (more, sizeof more, " (and %u more errors before)", nbd->unlogged);
  nbd->logged = now;
  nbd->unlogged = 0;
  env_log (env, LOG_ERROR,
           "%s: the server failed %s %" PRIu64 " bytes at offset %" PRIu64
           ": %s%s",
           nbd->uri, name_of (cmd), cmd->length, cmd->offset,
           strerror (cmd->error), more);
}

/* The server said something: it is alive.  The lock is held. */
static void
answered (struct nbd_store *nbd, struct command *cmd)
{
  uint64_t now = nbd->store.env->now (nbd->store.env);
  uint64_t *newest = &cmd->conn->answered_sent[line_of (cmd->req)];

  cmd->conn->weight -= cmd->weight;
  cmd->weight = 0;
  cmd->late = 0;
  if (cmd->error == ESHUTDOWN) {
    nbd->said = -ESHUTDOWN;
    cmd->conn->session->shut_down = true;
    session_lose (cmd->conn->session, "the server is shutting down");
  }
  else {
    nbd->said = 0;
    nbd->quiet_since = cmd->conn->quiet_since = now;
    *newest = max_u64 (*newest, cmd->sent);
    if (cmd->slow && now - cmd->sent >= nbd->retry)
      nbd->slow_end = now;
    nbd->backoff = 0;
    cmd->conn->session->heard = true;
  }
}

/* One answered command; the lock is held, but not all of the time. */
static void
collect_one (struct nbd_store *nbd, struct command *cmd,
             struct store_list *done)
{
  struct session *session = cmd->conn->session;
  int r;

  answered (nbd, cmd);
  if (cmd->error == ESHUTDOWN)
    return; /* in flight until the session ends */
  pthread_mutex_unlock (&nbd->lock);
  if (cmd->error)
    log_error (nbd, cmd);
  r = piece_advance (cmd);
  pthread_mutex_lock (&nbd->lock);
  if (r == PIECE_AGAIN && session->lost)
    return;
  if (r == PIECE_AGAIN && !command_goes_on (nbd, cmd))
    return;
  if (r == PIECE_AGAIN) {
    choose_conn (session, cmd, cmd->length, slow_piece (cmd));
    pthread_mutex_unlock (&nbd->lock);
    r = send_cmd (cmd);
    pthread_mutex_lock (&nbd->lock);
  }
  if (r != PIECE_AGAIN)
    command_done (nbd, cmd, r, done);
}

void
requests_collect (struct nbd_store *nbd)
{
  struct store_list done = { 0 };
  struct command *cmd;

  pthread_mutex_lock (&nbd->lock);
  nbd->collecting = false;
  while ((cmd = STAILQ_FIRST (&nbd->finished)) != NULL) {
    STAILQ_REMOVE_HEAD (&nbd->finished, finished);
    collect_one (nbd, cmd, &done);
  }
  requests_pump (nbd, &done);
  pthread_mutex_unlock (&nbd->lock);
  store_done_call (&done);
}

/* The session was lost once more with this request in flight.  If that happens
 * always, though others are answered, it may be the request's fault; and if it
 * was lost because the request was late, it is.
 */
static void
requeue_one (struct nbd_store *nbd, struct command *cmd,
             struct store_list *done)
{
  struct store_req *req = cmd->req;
  bool question = req->flags & STATUS_QUESTION;
  bool again = piece_reset (cmd);

  cmd->conn = NULL;
  command_free (nbd, cmd);
  if (req->op == STORE_FLUSH)
    requests_done (nbd, done, req, -ECONNRESET);
  else if (status_hopeless (req) || (question && !again))
    requests_done (nbd, done, req, 0);
  else if (again)
    store_queue_add_first (&nbd->queue, req);
  else {
    env_log (nbd->store.env, LOG_ERROR,
             "%s: the connection was lost %d times with %s at offset %" PRIu64
             " under way, which is given up",
             nbd->uri, req->losses, name_of (cmd), req->offset);
    requests_done (nbd, done, req, -EIO);
  }
}

/* The newest goes back first, so the oldest is first in the queue. */
void
requests_requeue (struct nbd_store *nbd, struct store_list *done)
{
  struct command *cmd;

  while ((cmd = TAILQ_LAST (&nbd->in_flight, commands)) != NULL)
    requeue_one (nbd, cmd, done);
}
