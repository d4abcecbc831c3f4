/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: its watchers in the loop.
 */

#include <assert.h>
#include <string.h>

#include "fs/nbd/nbd-impl.h"

/* The tick looks after outages; it stops when the store is idle. */
#define TICKS_PER_RETRY 8
#define MIN_TICK 0.005 /* seconds */
#define MAX_TICK 1.0
#define OVERSLEPT 3 /* ticks: then the thread had not been running */

void
remote_wake (struct store_nbd *sn)
{
  ev_async_send (sn->loop, &sn->wake);
}

/* What every event ends with. */
static void
look_at_everything (struct store_nbd *sn)
{
  remote_collect (sn);
  remote_session_end (sn);
  remote_session_install (sn);
}

static int
events_of (const struct remote_conn *conn)
{
  unsigned direction = nbd_aio_get_direction (conn->handle);

  return (direction & LIBNBD_AIO_DIRECTION_READ ? EV_READ : 0) |
         (direction & LIBNBD_AIO_DIRECTION_WRITE ? EV_WRITE : 0);
}

/* Have libnbd do what it waits for.  Threads that submit may make it want more
 * meanwhile, never less.
 */
static int
notify (struct remote_conn *conn, int revents)
{
  int wants = events_of (conn) & revents;

  if (wants & EV_READ)
    return nbd_aio_notify_read (conn->handle);
  if (wants & EV_WRITE)
    return nbd_aio_notify_write (conn->handle);
  return 0;
}

static void
on_socket (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct remote_conn *conn = watcher->data;
  struct store_nbd *sn = conn->session->sn;
  char why[WHY_MAX] = "";
  int r;

  (void) loop;
  pthread_mutex_lock (&sn->lock);
  sn->collecting = true;
  pthread_mutex_unlock (&sn->lock);
  r = notify (conn, revents);
  if (r < 0)
    remote_explain (why, "the server closed it");
  if (r < 0 || nbd_aio_is_dead (conn->handle) ||
      nbd_aio_is_closed (conn->handle)) {
    ev_io_stop (sn->loop, watcher); /* or it would fire until the end */
    pthread_mutex_lock (&sn->lock);
    remote_lose (conn->session, why[0] ? why : NULL);
    pthread_mutex_unlock (&sn->lock);
  }
  else
    remote_watch (conn);
  look_at_everything (sn);
}

void
remote_watch (struct remote_conn *conn)
{
  struct ev_loop *loop = conn->session->sn->loop;
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
watch_all (struct store_nbd *sn)
{
  struct remote_session *session;
  bool lost;
  unsigned i;

  pthread_mutex_lock (&sn->lock);
  session = sn->session;
  lost = session && session->lost;
  pthread_mutex_unlock (&sn->lock);
  for (i = 0; session && !lost && i < session->n; i++)
    remote_watch (&session->conns[i]);
}

/* Start the tick again if it has stopped and something is wanted. */
static void
start_tick (struct store_nbd *sn)
{
  bool idle;

  pthread_mutex_lock (&sn->lock);
  idle = sn->idle;
  pthread_mutex_unlock (&sn->lock);
  if (!idle && !ev_is_active (&sn->tick))
    ev_timer_again (sn->loop, &sn->tick);
}

static void
on_wake (struct ev_loop *loop, ev_async *watcher, int revents)
{
  struct store_nbd *sn = watcher->data;

  (void) loop;
  (void) revents;
  look_at_everything (sn);
  watch_all (sn);
  start_tick (sn);
}

/* Nothing is wanted and nothing can go wrong unnoticed. */
static void
stop_tick_if_idle (struct store_nbd *sn)
{
  pthread_mutex_lock (&sn->lock);
  sn->idle = sn->wanted == 0 && sn->session && sn->draining == NULL;
  if (sn->idle) {
    ev_timer_stop (sn->loop, &sn->tick);
    sn->last_tick = 0;
  }
  pthread_mutex_unlock (&sn->lock);
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
forgive_own_sleep (struct store_nbd *sn, uint64_t now)
{
  uint64_t slept = sn->last_tick ? now - sn->last_tick : 0;
  struct remote_cmd *cmd;
  unsigned i;

  sn->last_tick = now;
  if (slept < (uint64_t) (OVERSLEPT * sn->tick.repeat * NSEC_PER_SEC))
    return;
  pthread_mutex_lock (&sn->lock);
  add_until (&sn->quiet_since, slept, now);
  for (i = 0; sn->session && i < sn->session->n; i++)
    add_until (&sn->session->conns[i].quiet_since, slept, now);
  for (cmd = sn->oldest; cmd; cmd = cmd->next)
    add_until (&cmd->sent, slept, now);
  pthread_mutex_unlock (&sn->lock);
}

static void
on_tick (struct ev_loop *loop, ev_timer *watcher, int revents)
{
  struct store_nbd *sn = watcher->data;
  uint64_t now = sn->store.env->now (sn->store.env);

  (void) loop;
  (void) revents;
  forgive_own_sleep (sn, now);
  remote_drain_check (sn, now);
  remote_outage_check (sn, now);
  look_at_everything (sn);
  stop_tick_if_idle (sn);
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
remote_attach (struct store *store, struct ev_loop *loop)
{
  struct store_nbd *sn = store_nbd_of (store);
  int r;

  sn->loop = loop;
  sn->quiet_since = store->env->now (store->env);
  ev_async_init (&sn->wake, on_wake);
  sn->wake.data = sn;
  ev_async_start (loop, &sn->wake);
  ev_timer_init (&sn->tick, on_tick, 0., tick_length (sn->retry));
  sn->tick.data = sn;
  ev_timer_again (loop, &sn->tick);
  r = remote_connector_start (sn);
  if (r == 0)
    return 0;
  ev_timer_stop (loop, &sn->tick);
  ev_async_stop (loop, &sn->wake);
  env_log (store->env, LOG_ERROR, "%s: cannot start a thread: %s", sn->uri,
           strerror (-r));
  return r;
}

static void
end_session (struct store_nbd *sn, struct remote_session *session)
{
  unsigned i;

  for (i = 0; i < session->n; i++)
    ev_io_stop (sn->loop, &session->conns[i].watcher);
  remote_session_close (session);
}

void
remote_detach (struct store *store)
{
  struct store_nbd *sn = store_nbd_of (store);

  assert (sn->wanted == 0);
  remote_connector_stop (sn);
  remote_drain_stop (sn);
  if (sn->made)
    remote_session_close (sn->made);
  if (sn->session)
    end_session (sn, sn->session);
  sn->made = sn->session = NULL;
  ev_timer_stop (sn->loop, &sn->tick);
  ev_async_stop (sn->loop, &sn->wake);
}
