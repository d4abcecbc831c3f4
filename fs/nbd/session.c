/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: sessions begin and end.  All of it is the loop thread's.
 *
 *   a session is  of nbd    lost  users  goes on by
 *   made          made      no    0      session_install, when the connector has woken
 *                                        the loop: up
 *   up            session   no    any    session_lose, by any thread: lost
 *   lost          session   yes   any    session_end, when users are 0: drained
 *   drained       draining  yes   0      drain_sweep, when each connection is over: freed
 *
 * There is one that is made or up or lost at most, and any number that are drained.  One
 * that is made or up when the store is detached is closed with a goodbye.
 */

#include <inttypes.h>

#include "fs/nbd/connector.h"
#include "fs/nbd/drain.h"
#include "fs/nbd/io.h"
#include "fs/nbd/outage.h"
#include "fs/nbd/requests.h"
#include "fs/nbd/session.h"

/* A server that says nothing at all is worth a line in the log now and then. */
#define TELL_AGAIN (30 * NSEC_PER_SEC)

static uint64_t
now_of (const struct nbd_store *nbd)
{
  return nbd->store.env->now (nbd->store.env);
}

static void
tell_changed (struct nbd_store *nbd)
{
  if (nbd->store.changed)
    nbd->store.changed (nbd->store.opaque);
}

/* --------------------------------------------------------------- a beginning */

static void
say_up (struct nbd_store *nbd, const struct session *session)
{
  struct env *env = nbd->store.env;
  uint64_t ms = (now_of (nbd) - nbd->down_since) / NSEC_PER_MSEC;

  if (nbd->down_since)
    env_log (env, LOG_ERROR,
             "%s: connected again after %" PRIu64 ".%" PRIu64 " seconds",
             nbd->uri, ms / 1000, ms % 1000 / 100);
  env_log (env, LOG_DEBUG, "%s: %u connections", nbd->uri, session->n);
  nbd->down_since = 0;
  nbd->was_up = true;
}

bool
session_install (struct nbd_store *nbd)
{
  struct session *session;
  bool was_given_up;

  pthread_mutex_lock (&nbd->lock);
  session = nbd->made;
  nbd->made = NULL;
  was_given_up = session && nbd->given_up;
  if (session) {
    nbd->session = session;
    nbd->given_up = 0;
    if (was_given_up || !nbd->was_up || nbd->wanted == 0)
      nbd->quiet_since = now_of (nbd);
  }
  pthread_mutex_unlock (&nbd->lock);
  if (session == NULL)
    return false;
  atomic_store (&nbd->store.away, false);
  say_up (nbd, session);
  if (was_given_up)
    tell_changed (nbd);
  requests_collect (nbd);
  return true;
}

/* -------------------------------------------------------------------- an end */

static void
say_lost (struct nbd_store *nbd, const struct session *session)
{
  uint64_t now = now_of (nbd);
  bool tell =
    session->heard || nbd->loss_told == 0 || now - nbd->loss_told >= TELL_AGAIN;

  env_log (nbd->store.env, tell ? LOG_ERROR : LOG_DEBUG,
           "%s: the connection is lost: %s; connecting again", nbd->uri,
           session->why[0] ? session->why : "the server closed it");
  if (!tell)
    return;
  nbd->loss_told = now;
  if (nbd->down_since == 0)
    nbd->down_since = now;
}

/* The lost session that no thread uses, taken from everybody; or NULL. */
static struct session *
take_lost (struct nbd_store *nbd)
{
  struct session *session;

  pthread_mutex_lock (&nbd->lock);
  session = nbd->session;
  if (session && (!session->lost || session->users > 0))
    session = NULL;
  if (session) {
    nbd->session = NULL;
    nbd->queue.holding = true;
  }
  pthread_mutex_unlock (&nbd->lock);
  return session;
}

/* Answers that have come are taken before the loss is counted: they are true
 * of the server's old life.  If it was silent because it had much to do, it may
 * still be at it: the silence of an outage begins now, and may be a long one.
 */
void
session_end (struct nbd_store *nbd)
{
  struct store_list done = { 0 };
  struct session *session = take_lost (nbd);
  bool busy;

  if (session == NULL)
    return;
  atomic_store (&nbd->store.away, true);
  say_lost (nbd, session);
  requests_collect (nbd);
  drain_begin (nbd, session);
  atomic_fetch_add (&nbd->store.losses, 1);
  pthread_mutex_lock (&nbd->lock);
  busy = session->heard && slow_in_flight (nbd);
  requests_requeue (nbd, &done);
  if (nbd->given_up)
    requests_fail_waiting (nbd, nbd->given_up, &done);
  if (nbd->wanted == 0 || busy)
    nbd->quiet_since = now_of (nbd);
  if (busy)
    nbd->slow_end = nbd->quiet_since + (SLOW_PATIENCE - 1) * nbd->retry;
  connector_want (nbd, nbd->said != 0);
  pthread_mutex_unlock (&nbd->lock);
  drain_sweep (nbd);
  store_done_call (&done);
  tell_changed (nbd);
  outage_check (nbd, now_of (nbd));
}
