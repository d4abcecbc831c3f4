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
 *
 *   a connection  handle  fd    what comes by it   goes on by
 *   answers       set     open  is libnbd's        no changes left: over; libnbd has an
 *                                                  error: deaf
 *   is deaf       NULL    open  is thrown away     its end: over
 *   is over       NULL    -1
 *
 * and from either to its end by drain_check, when drain_until has come.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/nbd/drain.h"
#include "fs/nbd/io.h"
#include "fs/num.h"

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
close_handle (struct connection *conn)
{
  if (conn->handle)
    nbd_close (conn->handle);
  conn->handle = NULL;
}

static void
end (struct connection *conn)
{
  ev_io_stop (conn->session->nbd->loop, &conn->watcher);
  close_handle (conn);
  close (conn->fd);
  conn->fd = -1;
}

/* Take an answer, or a part of one, if libnbd still can. */
static void
receive (struct connection *conn)
{
  if (conn->handle == NULL)
    return;
  if (nbd_aio_notify_read (conn->handle) < 0 ||
      nbd_aio_is_dead (conn->handle) || nbd_aio_is_closed (conn->handle))
    close_handle (conn);
}

static bool
drained (struct connection *conn)
{
  return conn->changes == 0 || (conn->handle == NULL && ended (conn->fd));
}

static void
on_drain (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct connection *conn = watcher->data;
  struct nbd_store *nbd = conn->session->nbd;

  (void) loop;
  (void) revents;
  receive (conn);
  if (!drained (conn))
    return;
  end (conn);
  drain_sweep (nbd);
  nbd_store_wake (nbd);
}

/* libnbd is ready only if it has nothing more to send. */
static void
begin (struct connection *conn)
{
  struct ev_loop *loop = conn->session->nbd->loop;

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
take_over (struct nbd_store *nbd)
{
  struct command *cmd;

  TAILQ_FOREACH (cmd, &nbd->in_flight, link) {
    if (cmd->ticket)
      cmd->ticket->cmd = NULL;
    cmd->ticket = NULL;
    if (cmd->weight == 0)
      continue; /* the last piece was answered */
    if (cmd->kind == COMMAND_WRITE || cmd->kind == COMMAND_ZERO)
      cmd->conn->changes++;
    else if (cmd->kind != COMMAND_FLUSH)
      cmd->conn->receiving = true;
  }
}

void
drain_begin (struct nbd_store *nbd, struct session *session)
{
  unsigned i;

  session->drain_until =
    nbd->store.env->now (nbd->store.env) + max_u64 (nbd->retry, NSEC_PER_SEC);
  session->next = nbd->draining;
  nbd->draining = session;
  pthread_mutex_lock (&nbd->lock);
  take_over (nbd);
  pthread_mutex_unlock (&nbd->lock);
  for (i = 0; i < session->n; i++)
    begin (&session->conns[i]);
}

void
drain_sweep (struct nbd_store *nbd)
{
  struct session **p = &nbd->draining, *session;
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
  if (nbd->draining)
    return;
  pthread_mutex_lock (&nbd->lock);
  nbd->queue.holding = false;
  store_queue_resume (&nbd->queue, 0, NULL);
  pthread_mutex_unlock (&nbd->lock);
}

static void
drop (struct session *session)
{
  unsigned i;

  for (i = 0; i < session->n; i++)
    if (session->conns[i].fd >= 0)
      end (&session->conns[i]);
}

void
drain_check (struct nbd_store *nbd, uint64_t now)
{
  struct session *session;
  bool late = false;

  for (session = nbd->draining; session; session = session->next) {
    if (now < session->drain_until)
      continue;
    late = true;
    drop (session);
    env_log (nbd->store.env, LOG_ERROR,
             "%s: an old connection does not end; should a write be stalled "
             "there, it could still land on a newer one",
             nbd->uri);
  }
  if (!late)
    return;
  drain_sweep (nbd);
  requests_collect (nbd);
}

void
drain_stop (struct nbd_store *nbd)
{
  struct session *session;

  while ((session = nbd->draining) != NULL) {
    nbd->draining = session->next;
    drop (session);
    free (session);
  }
}
