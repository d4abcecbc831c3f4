/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: its watchers in the loop.
 */

#include <assert.h>
#include <string.h>

#include "fs/nbd/connector.h"
#include "fs/nbd/drain.h"
#include "fs/nbd/handle.h"
#include "fs/nbd/io.h"
#include "fs/nbd/loop.h"
#include "fs/nbd/outage.h"
#include "fs/nbd/session.h"

/* The tick looks after outages; it stops when the store is idle. */
#define TICKS_PER_RETRY 8
#define MIN_TICK 0.005 /* seconds */
#define MAX_TICK 1.0
#define OVERSLEPT 3 /* ticks: then the thread had not been running */

/* The same, with a lease: the loop has something to do that often, or has nothing under
 * way.
 */
#define STOOD_STILL (2 * NSEC_PER_SEC)

static int
events_of (const struct connection *conn)
{
  unsigned direction = nbd_aio_get_direction (conn->handle);

  return (direction & LIBNBD_AIO_DIRECTION_READ ? EV_READ : 0) |
         (direction & LIBNBD_AIO_DIRECTION_WRITE ? EV_WRITE : 0);
}

/* Have libnbd do what it waits for.  Threads that submit may make it want more
 * meanwhile, never less.
 */
static int
notify (struct connection *conn, int revents)
{
  int wants = events_of (conn) & revents;

  if (wants & EV_READ)
    return nbd_aio_notify_read (conn->handle);
  if (wants & EV_WRITE)
    return nbd_aio_notify_write (conn->handle);
  return 0;
}

static void on_socket (struct ev_loop *loop, ev_io *watcher, int revents);

/* Watch a connection's socket as libnbd wants it. */
static void
watch (struct connection *conn)
{
  struct ev_loop *loop = conn->session->nbd->loop;
  int events = events_of (conn);

  if (ev_is_active (&conn->watcher) &&
      (conn->watcher.events & (EV_READ | EV_WRITE)) == events)
    return;
  ev_io_stop (loop, &conn->watcher);
  ev_io_init (&conn->watcher, on_socket, conn->fd, events);
  conn->watcher.data = conn;
  if (events)
    ev_io_start (loop, &conn->watcher);
}

/* The session is set and cleared by this thread only. */
static void
watch_all (struct nbd_store *nbd)
{
  struct session *session;
  bool lost;
  unsigned i;

  pthread_mutex_lock (&nbd->lock);
  session = nbd->session;
  lost = session && session->lost;
  pthread_mutex_unlock (&nbd->lock);
  for (i = 0; session && !lost && i < session->n; i++)
    watch (&session->conns[i]);
}

/* What every event ends with. */
static void
look_at_everything (struct nbd_store *nbd)
{
  requests_collect (nbd);
  session_end (nbd);
  if (session_install (nbd))
    watch_all (nbd);
}

static void
add_until (uint64_t *time, uint64_t more, uint64_t last)
{
  *time = *time + more < last ? *time + more : last;
}

/* If it is not the server but we who were stopped, nothing can be said of the
 * server's silence meanwhile.
 */
static void
forgive_own_sleep (struct nbd_store *nbd, uint64_t now)
{
  uint64_t slept = nbd->last_tick ? now - nbd->last_tick : 0;
  struct command *cmd;
  unsigned i;

  nbd->last_tick = now;
  if (slept < (uint64_t) (OVERSLEPT * nbd->tick.repeat * NSEC_PER_SEC))
    return;
  pthread_mutex_lock (&nbd->lock);
  add_until (&nbd->quiet_since, slept, now);
  for (i = 0; nbd->session && i < nbd->session->n; i++)
    add_until (&nbd->session->conns[i].quiet_since, slept, now);
  TAILQ_FOREACH (cmd, &nbd->in_flight, link)
    add_until (&cmd->sent, slept, now);
  pthread_mutex_unlock (&nbd->lock);
}

/* Have we been stopped, and the lease has ended meanwhile?  What libnbd has not sent yet
 * was given to it before that, and is not to be sent any more.
 */
static void
lose_if_stale (struct nbd_store *nbd)
{
  struct env *env = nbd->store.env;
  uint64_t last = nbd->awake;
  unsigned i;

  if (atomic_load (&nbd->store.lease.until) == 0)
    return;
  nbd->awake = env_boottime (env);
  if (last == 0 || nbd->awake - last < STOOD_STILL ||
      store_may_change (&nbd->store))
    return;
  if (nbd->last_tick)
    forgive_own_sleep (nbd, env->now (env));
  pthread_mutex_lock (&nbd->lock);
  for (i = 0; nbd->session && i < nbd->session->n; i++)
    if (nbd_aio_get_direction (nbd->session->conns[i].handle) &
        LIBNBD_AIO_DIRECTION_WRITE)
      session_lose (nbd->session, "we were stopped with requests half sent");
  pthread_mutex_unlock (&nbd->lock);
}

static void
on_socket (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct connection *conn = watcher->data;
  struct nbd_store *nbd = conn->session->nbd;
  char why[WHY_MAX] = "";
  bool lost;
  int r;

  (void) loop;
  lose_if_stale (nbd);
  pthread_mutex_lock (&nbd->lock);
  nbd->collecting = true;
  lost = conn->session->lost;
  pthread_mutex_unlock (&nbd->lock);
  r = lost ? 0 : notify (conn, revents);
  if (r < 0)
    handle_explain (why, "the server closed it");
  if (r < 0 || nbd_aio_is_dead (conn->handle) ||
      nbd_aio_is_closed (conn->handle)) {
    ev_io_stop (nbd->loop, watcher); /* or it would fire until the end */
    pthread_mutex_lock (&nbd->lock);
    session_lose (conn->session, why[0] ? why : NULL);
    pthread_mutex_unlock (&nbd->lock);
  }
  else
    watch (conn);
  look_at_everything (nbd);
}

/* Start the tick again if it has stopped and something is wanted. */
static void
start_tick (struct nbd_store *nbd)
{
  bool idle;

  pthread_mutex_lock (&nbd->lock);
  idle = nbd->idle;
  pthread_mutex_unlock (&nbd->lock);
  if (!idle && !ev_is_active (&nbd->tick))
    ev_timer_again (nbd->loop, &nbd->tick);
}

static void
on_wake (struct ev_loop *loop, ev_async *watcher, int revents)
{
  struct nbd_store *nbd = watcher->data;

  (void) loop;
  (void) revents;
  lose_if_stale (nbd);
  look_at_everything (nbd);
  watch_all (nbd);
  start_tick (nbd);
}

/* Nothing is wanted and nothing can go wrong unnoticed. */
static void
stop_tick_if_idle (struct nbd_store *nbd)
{
  pthread_mutex_lock (&nbd->lock);
  nbd->idle = nbd->wanted == 0 && nbd->session && nbd->draining == NULL;
  if (nbd->idle) {
    ev_timer_stop (nbd->loop, &nbd->tick);
    nbd->last_tick = 0;
  }
  pthread_mutex_unlock (&nbd->lock);
}

static void
on_tick (struct ev_loop *loop, ev_timer *watcher, int revents)
{
  struct nbd_store *nbd = watcher->data;
  uint64_t now = nbd->store.env->now (nbd->store.env);

  (void) loop;
  (void) revents;
  lose_if_stale (nbd);
  forgive_own_sleep (nbd, now);
  drain_check (nbd, now);
  outage_check (nbd, now);
  look_at_everything (nbd);
  stop_tick_if_idle (nbd);
}

static double
tick_length (uint64_t retry)
{
  double seconds = (double) retry / TICKS_PER_RETRY / NSEC_PER_SEC;

  if (retry == 0 || seconds > MAX_TICK)
    return MAX_TICK;
  return seconds < MIN_TICK ? MIN_TICK : seconds;
}

int
nbd_store_attach (struct store *store, struct ev_loop *loop)
{
  struct nbd_store *nbd = nbd_store_of (store);
  int r;

  nbd->loop = loop;
  nbd->quiet_since = store->env->now (store->env);
  ev_async_init (&nbd->wake, on_wake);
  nbd->wake.data = nbd;
  ev_async_start (loop, &nbd->wake);
  ev_timer_init (&nbd->tick, on_tick, 0., tick_length (nbd->retry));
  nbd->tick.data = nbd;
  ev_timer_again (loop, &nbd->tick);
  r = connector_start (nbd);
  if (r == 0)
    return 0;
  ev_timer_stop (loop, &nbd->tick);
  ev_async_stop (loop, &nbd->wake);
  env_log (store->env, LOG_ERROR, "%s: cannot start a thread: %s", nbd->uri,
           strerror (-r));
  return r;
}

static void
end_session (struct nbd_store *nbd, struct session *session)
{
  unsigned i;

  for (i = 0; i < session->n; i++)
    ev_io_stop (nbd->loop, &session->conns[i].watcher);
  session_close (session);
}

void
nbd_store_detach (struct store *store)
{
  struct nbd_store *nbd = nbd_store_of (store);

  assert (nbd->wanted == 0);
  connector_stop (nbd);
  drain_stop (nbd);
  if (nbd->made)
    session_close (nbd->made);
  if (nbd->session)
    end_session (nbd, nbd->session);
  nbd->made = nbd->session = NULL;
  ev_timer_stop (nbd->loop, &nbd->tick);
  ev_async_stop (nbd->loop, &nbd->wake);
}
