/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests come in, are sent, answered, and done.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/nbd/nbd-impl.h"

/* What a command weighs beside its data, in bytes: it takes some time too. */
#define COMMAND_WEIGHT 4096u

/* ------------------------------------------------------ lists of requests */

static void
done_add (struct store_nbd *sn, struct done_list *done, struct store_req *req,
          int error)
{
  sn->wanted--;
  req->state = error;
  req->next = NULL;
  *done->tail = req;
  done->tail = &req->next;
}

void
remote_done_call (struct done_list *done)
{
  struct store_req *req;

  while ((req = done->head) != NULL) {
    done->head = req->next;
    req->done (req, req->state);
  }
}

static void
hold (struct store_nbd *sn, struct store_req *req)
{
  req->next = NULL;
  if (sn->held.tail)
    sn->held.tail->next = req;
  else
    sn->held.head = req;
  sn->held.tail = req;
}

/* Each goes before all others, so the last goes first. */
void
remote_unhold (struct store_nbd *sn)
{
  struct store_req *req = sn->held.head, *next, *reversed = NULL;

  sn->holding = false;
  sn->held.head = sn->held.tail = NULL;
  for (; req; req = next) {
    next = req->next;
    req->next = reversed;
    reversed = req;
  }
  for (; reversed; reversed = next) {
    next = reversed->next;
    store_queue_add_first (&sn->queue, reversed);
  }
}

void
remote_fail_waiting (struct store_nbd *sn, int error, struct done_list *done)
{
  struct store_list *lists[] = { &sn->held, &sn->queue.urgent,
                                 &sn->queue.rest };
  struct store_req *req;
  size_t i;

  for (i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    while ((req = lists[i]->head) != NULL) {
      lists[i]->head = req->next;
      done_add (sn, done, req, error);
    }
    lists[i]->tail = NULL;
  }
}

/* --------------------------------------------- commands; the lock is held */

static struct remote_cmd *
cmd_take (struct store_nbd *sn, struct store_req *req)
{
  struct remote_cmd *cmd = sn->free_slots;

  sn->free_slots = cmd->next;
  cmd->req = req;
  cmd->next = NULL;
  cmd->prev = sn->newest;
  if (sn->newest)
    sn->newest->next = cmd;
  else
    sn->oldest = cmd;
  sn->newest = cmd;
  return cmd;
}

static void
cmd_free (struct store_nbd *sn, struct remote_cmd *cmd)
{
  if (cmd->prev)
    cmd->prev->next = cmd->next;
  else
    sn->oldest = cmd->next;
  if (cmd->next)
    cmd->next->prev = cmd->prev;
  else
    sn->newest = cmd->prev;
  store_queue_done (&sn->queue, cmd->req);
  cmd->next = sn->free_slots;
  sn->free_slots = cmd;
}

static void
cmd_done (struct store_nbd *sn, struct remote_cmd *cmd, int error,
          struct done_list *done)
{
  struct store_req *req = cmd->req;

  if (cmd->conn)
    cmd->conn->weight -= cmd->weight;
  cmd->conn = NULL;
  cmd_free (sn, cmd);
  done_add (sn, done, req, error);
}

/* The connection with the least to do. */
static void
choose_conn (struct remote_session *session, struct remote_cmd *cmd,
             uint64_t bytes, bool slow)
{
  struct env *env = session->sn->store.env;
  struct remote_conn *best = &session->conns[0];
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
slow_req (const struct remote_facts *facts, const struct store_req *req)
{
  if (req->op == STORE_FLUSH || remote_wants_fua (facts, req))
    return true;
  return facts->zero && req->op != STORE_READ && req->op != STORE_WRITE;
}

static bool
slow_piece (const struct remote_cmd *cmd)
{
  return cmd->kind == REMOTE_FLUSH || cmd->kind == REMOTE_ZERO ||
         (cmd->flags & LIBNBD_CMD_FLAG_FUA);
}

/* The next whose turn it is, on a connection, or NULL. */
static struct remote_cmd *
next_cmd (struct store_nbd *sn, struct remote_session *session)
{
  uint64_t max_io = remote_max_io (&session->facts), bytes = 0;
  struct remote_cmd *cmd;
  struct store_req *req;

  while ((req = store_queue_take (&sn->queue)) != NULL) {
    if (sn->holding && req->op != STORE_READ) {
      store_queue_done (&sn->queue, req);
      hold (sn, req);
      continue;
    }
    cmd = cmd_take (sn, req);
    if (req->op == STORE_READ || req->op == STORE_WRITE)
      bytes = req->length < max_io ? req->length : max_io;
    choose_conn (session, cmd, bytes, slow_req (&session->facts, req));
    return cmd;
  }
  return NULL;
}

/* ------------------------------------------------------- sending, answers */

/* The lock is held. */
static void
finish_cmd (struct remote_cmd *cmd, int error)
{
  struct store_nbd *sn = cmd->sn;

  cmd->error = error;
  if (error == 0 && !remote_piece_whole (cmd))
    cmd->error = EIO;
  cmd->finished = NULL;
  *sn->finished_tail = cmd;
  sn->finished_tail = &cmd->finished;
}

/* libnbd's callback, in any thread.  ENOTCONN is no answer: no server can give
 * it.
 */
static int
on_answer (void *opaque, int *error)
{
  struct remote_ticket *ticket = opaque;
  struct remote_cmd *cmd;
  struct store_nbd *sn = ticket->conn->session->sn;
  bool wake;

  pthread_mutex_lock (&sn->lock);
  cmd = ticket->cmd;
  if (cmd)
    cmd->ticket = NULL;
  if (cmd && *error == ENOTCONN)
    remote_lose (ticket->conn->session, NULL);
  else if (cmd)
    finish_cmd (cmd, *error);
  else if (*error != ENOTCONN)
    remote_drain_answered (ticket);
  wake = cmd && !sn->collecting;
  pthread_mutex_unlock (&sn->lock);
  if (wake)
    remote_wake (sn);
  return 1; /* libnbd forgets it */
}

static bool
conn_dead (const struct remote_conn *conn)
{
  return nbd_aio_is_dead (conn->handle) || nbd_aio_is_closed (conn->handle);
}

/* Without the lock, with the command prepared.  Returns REMOTE_AGAIN: it is
 * sent, or its session is lost, else its result.
 */
static int
send_cmd (struct remote_cmd *cmd)
{
  struct remote_conn *conn = cmd->conn;
  struct store_nbd *sn = cmd->sn;
  char why[WHY_MAX];
  int r;

  /* Once it is sent it may be answered, and be another's, at once. */
  r = remote_piece_send (cmd, on_answer);
  if (r < 0 && !conn_dead (conn))
    return r;
  if (r < 0) {
    remote_explain (why, "the connection is closed");
    pthread_mutex_lock (&sn->lock);
    remote_lose (conn->session, why);
    pthread_mutex_unlock (&sn->lock);
    remote_wake (sn);
  }
  else if (nbd_aio_get_direction (conn->handle) & LIBNBD_AIO_DIRECTION_WRITE)
    remote_wake (sn);
  return REMOTE_AGAIN;
}

void
remote_pump (struct store_nbd *sn, struct done_list *done)
{
  struct remote_session *session = sn->session;
  struct remote_cmd *cmd;
  int r;

  if (session == NULL)
    return;
  session->users++;
  while (!session->lost && (cmd = next_cmd (sn, session)) != NULL) {
    pthread_mutex_unlock (&sn->lock);
    r = remote_piece_prepare (cmd);
    if (r == REMOTE_AGAIN)
      r = send_cmd (cmd);
    pthread_mutex_lock (&sn->lock);
    if (r != REMOTE_AGAIN)
      cmd_done (sn, cmd, r, done);
  }
  if (--session->users == 0 && session->lost)
    remote_wake (sn);
}

static int
refuse (const struct store_nbd *sn, const struct store_req *req)
{
  if (sn->given_up)
    return sn->give_up_error;
  if (sn->store.geo.readonly && req->op != STORE_READ && req->op != STORE_FLUSH)
    return -EROFS;
  return 0;
}

void
remote_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct store_nbd *sn = store_nbd_of (store);
  struct done_list done = { NULL, &done.head };
  bool was_idle;
  unsigned i;
  int r;

  pthread_mutex_lock (&sn->lock);
  for (i = 0; i < n; i++) {
    reqs[i]->progress = 0;
    reqs[i]->state = 0;
    if (sn->wanted++ == 0 && sn->session)
      sn->quiet_since = store->env->now (store->env);
    r = refuse (sn, reqs[i]);
    if (r < 0)
      done_add (sn, &done, reqs[i], r);
    else
      store_queue_add (&sn->queue, reqs[i]);
  }
  was_idle = sn->idle;
  sn->idle = false;
  if (was_idle)
    remote_wake (sn);
  remote_pump (sn, &done);
  pthread_mutex_unlock (&sn->lock);
  remote_done_call (&done);
}

/* ------------------------------------------- after the answer: loop thread */

static const char *
name_of (const struct remote_cmd *cmd)
{
  switch (cmd->kind) {
  case REMOTE_READ: return "reading";
  case REMOTE_WRITE: return "writing";
  case REMOTE_ZERO: return "zeroing";
  case REMOTE_FLUSH: return "flushing";
  default: return "asking for the extents of";
  }
}

/* At most one a second. */
static void
log_error (struct store_nbd *sn, const struct remote_cmd *cmd)
{
  struct env *env = sn->store.env;
  uint64_t now = env->now (env);
  char more[48] = "";

  if (cmd->error == ENOTSUP && (cmd->flags & LIBNBD_CMD_FLAG_FAST_ZERO))
    return;
  if (sn->logged && now - sn->logged < NSEC_PER_SEC) {
    sn->unlogged++;
    return;
  }
  if (sn->unlogged > 0)
    snprintf (more, sizeof more, " (and %u more errors before)", sn->unlogged);
  sn->logged = now;
  sn->unlogged = 0;
  env_log (env, LOG_ERROR,
           "%s: the server failed %s %" PRIu64 " bytes at offset %" PRIu64
           ": %s%s",
           sn->uri, name_of (cmd), cmd->length, cmd->offset,
           strerror (cmd->error), more);
}

/* The server said something: it is alive.  The lock is held. */
static void
answered (struct store_nbd *sn, struct remote_cmd *cmd)
{
  uint64_t now = sn->store.env->now (sn->store.env);
  uint64_t *answered_sent =
    &cmd->conn->answered_sent[remote_line_of (cmd->req)];

  cmd->conn->weight -= cmd->weight;
  cmd->weight = 0;
  cmd->late = 0;
  if (cmd->error == ESHUTDOWN) {
    sn->said = -ESHUTDOWN;
    cmd->conn->session->shut_down = true;
    remote_lose (cmd->conn->session, "the server is shutting down");
  }
  else {
    sn->said = 0;
    sn->quiet_since = cmd->conn->quiet_since = now;
    if (*answered_sent < cmd->sent)
      *answered_sent = cmd->sent;
    if (cmd->slow && now - cmd->sent >= sn->retry)
      sn->slow_end = now;
    sn->backoff = 0;
    cmd->conn->session->heard = true;
  }
}

/* One answered command; the lock is held, but not all of the time. */
static void
collect_one (struct store_nbd *sn, struct remote_cmd *cmd,
             struct done_list *done)
{
  struct remote_session *session = cmd->conn->session;
  int r;

  answered (sn, cmd);
  if (cmd->error == ESHUTDOWN)
    return; /* in flight until the session ends */
  pthread_mutex_unlock (&sn->lock);
  if (cmd->error)
    log_error (sn, cmd);
  r = remote_piece_advance (cmd);
  pthread_mutex_lock (&sn->lock);
  if (r == REMOTE_AGAIN && session->lost)
    return;
  if (r == REMOTE_AGAIN) {
    choose_conn (session, cmd, cmd->length, slow_piece (cmd));
    pthread_mutex_unlock (&sn->lock);
    r = send_cmd (cmd);
    pthread_mutex_lock (&sn->lock);
  }
  if (r != REMOTE_AGAIN)
    cmd_done (sn, cmd, r, done);
}

void
remote_collect (struct store_nbd *sn)
{
  struct done_list done = { NULL, &done.head };
  struct remote_cmd *cmd;

  pthread_mutex_lock (&sn->lock);
  sn->collecting = false;
  while ((cmd = sn->finished) != NULL) {
    sn->finished = cmd->finished;
    if (sn->finished == NULL)
      sn->finished_tail = &sn->finished;
    collect_one (sn, cmd, &done);
  }
  remote_pump (sn, &done);
  pthread_mutex_unlock (&sn->lock);
  remote_done_call (&done);
}

/* The session was lost once more with this request in flight.  If that happens
 * always, though others are answered, it may be the request's fault; and if it
 * was lost because the request was late, it is.
 */
static void
requeue_one (struct store_nbd *sn, struct remote_cmd *cmd,
             struct done_list *done)
{
  struct store_req *req = cmd->req;
  bool question = req->flags & REMOTE_STATUS_FLAG;
  int losses;
  bool again = remote_piece_reset (cmd, &losses);

  cmd->conn = NULL;
  cmd_free (sn, cmd);
  if (req->op == STORE_FLUSH)
    done_add (sn, done, req, -ECONNRESET);
  else if (remote_status_hopeless (req) || (question && !again))
    done_add (sn, done, req, 0);
  else if (again)
    store_queue_add_first (&sn->queue, req);
  else {
    env_log (sn->store.env, LOG_ERROR,
             "%s: the connection was lost %d times with %s at offset %" PRIu64
             " under way, which is given up",
             sn->uri, losses, name_of (cmd), req->offset);
    done_add (sn, done, req, -EIO);
  }
}

/* The newest goes back first, so the oldest is first in the queue. */
void
remote_requeue (struct store_nbd *sn, struct done_list *done)
{
  while (sn->newest)
    requeue_one (sn, sn->newest, done);
}
