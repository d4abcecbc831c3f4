/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the connections of a lost session are drained, that is kept
 * until no change (a write, or zeroes) that was sent by them can still be made.
 * All of it is the loop thread's.
 *
 * A server may have received a change and make it much later.  It is over when
 * it is answered, so answers are what is waited for.  Meanwhile nothing is shut
 * down: a server that reads an end of file may close the connection while it is
 * still at work (qemu-nbd does so, and nbdkit does if the end cuts a message), so
 * an end that we have caused proves nothing.  One that comes by itself, or an
 * error of the socket, is taken for the end of all that came by it.
 *
 * The requests do not wait for that: they are sent again or fail, and then their
 * memory is not ours.  libnbd goes on receiving only where it does not touch any:
 * if all was sent, and there is no read (nor question) to be answered.  Else the
 * handle is closed and the socket kept open; what comes by it cannot be told
 * apart and is thrown away.  Then only an end that is not of our making, or
 * drain_until, is left to wait for.  A command that was cut by that is never
 * complete, so it is never executed.
 */

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/nbd/nbd-impl.h"

#define DRAIN_BUFFER 16384u /* bytes */
#define DRAIN_READS 64      /* at once, before other watchers get their turn */

/* ----------------------------------------------------------- one connection */

/* Returns true if the socket has come to its end. */
static bool
ended (int fd)
{
  char buf[DRAIN_BUFFER];
  ssize_t n = 1;
  int i;

  for (i = 0; i < DRAIN_READS && n > 0; i++)
    n = recv (fd, buf, sizeof buf, MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* The socket stays, since conn->fd is a duplicate. */
static void
close_handle (struct remote_conn *conn)
{
  if (conn->handle)
    nbd_close (conn->handle);
  conn->handle = NULL;
}

static void
end (struct remote_conn *conn)
{
  ev_io_stop (conn->session->sn->loop, &conn->watcher);
  close_handle (conn);
  close (conn->fd);
  conn->fd = -1;
}

/* Take an answer, or a part of one, if libnbd still can. */
static void
receive (struct remote_conn *conn)
{
  if (conn->handle == NULL)
    return;
  if (nbd_aio_notify_read (conn->handle) < 0 ||
      nbd_aio_is_dead (conn->handle) || nbd_aio_is_closed (conn->handle))
    close_handle (conn);
}

static bool
drained (struct remote_conn *conn)
{
  return conn->changes == 0 || (conn->handle == NULL && ended (conn->fd));
}

static void
on_drain (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct remote_conn *conn = watcher->data;
  struct store_nbd *sn = conn->session->sn;

  (void) loop;
  (void) revents;
  receive (conn);
  if (!drained (conn))
    return;
  end (conn);
  remote_drain_sweep (sn);
  remote_wake (sn);
}

/* libnbd is ready only if it has nothing more to send. */
static void
begin (struct remote_conn *conn)
{
  struct ev_loop *loop = conn->session->sn->loop;

  ev_io_stop (loop, &conn->watcher);
  if (conn->receiving || nbd_aio_is_ready (conn->handle) <= 0)
    close_handle (conn);
  ev_io_init (&conn->watcher, on_drain, conn->fd, EV_READ);
  conn->watcher.data = conn;
  if (drained (conn))
    end (conn);
  else
    ev_io_start (loop, &conn->watcher);
}

/* -------------------------------------------------------------- all of them */

/* What was not answered is not the commands' any more, but their connection's.
 * The lock is held.
 */
static void
take_over (struct store_nbd *sn)
{
  struct remote_cmd *cmd;

  for (cmd = sn->oldest; cmd; cmd = cmd->next) {
    if (cmd->ticket)
      cmd->ticket->cmd = NULL;
    cmd->ticket = NULL;
    if (cmd->weight == 0)
      continue; /* the last piece was answered */
    if (cmd->kind == REMOTE_WRITE || cmd->kind == REMOTE_ZERO)
      cmd->conn->changes++;
    else if (cmd->kind != REMOTE_FLUSH)
      cmd->conn->receiving = true;
  }
}

void
remote_drain_begin (struct store_nbd *sn, struct remote_session *session)
{
  uint64_t patience = sn->retry < NSEC_PER_SEC ? NSEC_PER_SEC : sn->retry;
  unsigned i;

  session->drain_until = sn->store.env->now (sn->store.env) + patience;
  session->next = sn->draining;
  sn->draining = session;
  pthread_mutex_lock (&sn->lock);
  take_over (sn);
  pthread_mutex_unlock (&sn->lock);
  for (i = 0; i < session->n; i++)
    begin (&session->conns[i]);
}

void
remote_drain_answered (const struct remote_ticket *ticket)
{
  if (ticket->change)
    ticket->conn->changes--;
}

void
remote_drain_sweep (struct store_nbd *sn)
{
  struct remote_session **p = &sn->draining, *session;
  unsigned i;

  while ((session = *p) != NULL) {
    for (i = 0; i < session->n && session->conns[i].fd < 0; i++)
      ;
    if (i < session->n) {
      p = &session->next;
      continue;
    }
    *p = session->next;
    free (session);
  }
  if (sn->draining)
    return;
  pthread_mutex_lock (&sn->lock);
  remote_unhold (sn);
  pthread_mutex_unlock (&sn->lock);
}

static void
drop (struct remote_session *session)
{
  unsigned i;

  for (i = 0; i < session->n; i++)
    if (session->conns[i].fd >= 0)
      end (&session->conns[i]);
}

void
remote_drain_check (struct store_nbd *sn, uint64_t now)
{
  struct remote_session *session;
  bool late = false;

  for (session = sn->draining; session; session = session->next) {
    if (now < session->drain_until)
      continue;
    late = true;
    drop (session);
    env_log (sn->store.env, LOG_ERROR,
             "%s: an old connection does not end; should a write be stalled "
             "there, it could still land on a newer one",
             sn->uri);
  }
  if (!late)
    return;
  remote_drain_sweep (sn);
  remote_collect (sn);
}

void
remote_drain_stop (struct store_nbd *sn)
{
  struct remote_session *session;

  while ((session = sn->draining) != NULL) {
    sn->draining = session->next;
    drop (session);
    free (session);
  }
}
