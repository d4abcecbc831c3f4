/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: sessions begin and end, and outages that last too long are given
 * up.  All of it is the loop thread's, but for remote_lose.
 */

#include <inttypes.h>
#include <stdio.h>

#include "fs/nbd/nbd-impl.h"

/* A server that says nothing at all is worth a line in the log now and then. */
#define TELL_AGAIN (30 * NSEC_PER_SEC)

/* In units of `retry': see lose_if_passed_over. */
#define PASSED_PATIENCE SLOW_PATIENCE
#define SLOW_PASSED_PATIENCE 32

void
remote_lose (struct remote_session *session, const char *why)
{
  session->lost = true;
  if (why && session->why[0] == '\0')
    snprintf (session->why, WHY_MAX, "%s", why);
}

static uint64_t
now_of (const struct store_nbd *sn)
{
  return sn->store.env->now (sn->store.env);
}

static void
tell_changed (struct store_nbd *sn)
{
  if (sn->store.changed)
    sn->store.changed (sn->store.opaque);
}

/* --------------------------------------------------------------- a beginning */

static void
say_up (struct store_nbd *sn, const struct remote_session *session)
{
  struct env *env = sn->store.env;
  uint64_t ms = (now_of (sn) - sn->down_since) / NSEC_PER_MSEC;

  if (sn->down_since)
    env_log (env, LOG_ERROR,
             "%s: connected again after %" PRIu64 ".%" PRIu64 " seconds",
             sn->uri, ms / 1000, ms % 1000 / 100);
  env_log (env, LOG_DEBUG, "%s: %u connections", sn->uri, session->n);
  sn->down_since = 0;
  sn->was_up = true;
}

void
remote_session_install (struct store_nbd *sn)
{
  struct remote_session *session;
  bool was_given_up;
  unsigned i;

  pthread_mutex_lock (&sn->lock);
  session = sn->made;
  sn->made = NULL;
  was_given_up = session && sn->given_up;
  if (session) {
    sn->session = session;
    sn->given_up = false;
    if (was_given_up || !sn->was_up || sn->wanted == 0)
      sn->quiet_since = now_of (sn);
  }
  pthread_mutex_unlock (&sn->lock);
  if (session == NULL)
    return;
  for (i = 0; i < session->n; i++)
    remote_watch (&session->conns[i]);
  say_up (sn, session);
  if (was_given_up)
    tell_changed (sn);
  remote_collect (sn);
}

/* ------------------------------------------------------------------ patience */

/* The lock is held. */
static bool
slow_in_flight (const struct store_nbd *sn)
{
  const struct remote_cmd *cmd;

  for (cmd = sn->oldest; cmd; cmd = cmd->next)
    if (cmd->slow)
      return true;
  return false;
}

/* For how long may a server, or a connection of it, say nothing?  A flush and
 * the like may well take longer than anything else, and hold up what else was
 * asked for, so while one is under way there is more time, and after it, for
 * what it held up.  (A host that is dead or cut off is noticed
 * sooner only while nothing that was sent to it is unacknowledged: see
 * set_keepalive.)  The lock is held.
 */
static uint64_t
patience_of (const struct store_nbd *sn, uint64_t now)
{
  bool held_up = sn->slow_end && now < sn->slow_end + sn->retry;

  return sn->retry * (held_up || slow_in_flight (sn) ? SLOW_PATIENCE : 1);
}

/* -------------------------------------------------------------------- an end */

static void
say_lost (struct store_nbd *sn, const struct remote_session *session)
{
  uint64_t now = now_of (sn);
  bool tell =
    session->heard || sn->loss_told == 0 || now - sn->loss_told >= TELL_AGAIN;

  env_log (sn->store.env, tell ? LOG_ERROR : LOG_DEBUG,
           "%s: the connection is lost: %s; connecting again", sn->uri,
           session->why[0] ? session->why : "the server closed it");
  if (!tell)
    return;
  sn->loss_told = now;
  if (sn->down_since == 0)
    sn->down_since = now;
}

/* The lost session that no thread uses, taken from everybody; or NULL. */
static struct remote_session *
take_lost (struct store_nbd *sn)
{
  struct remote_session *session;

  pthread_mutex_lock (&sn->lock);
  session = sn->session;
  if (session && (!session->lost || session->users > 0))
    session = NULL;
  if (session) {
    sn->session = NULL;
    sn->holding = true;
  }
  pthread_mutex_unlock (&sn->lock);
  return session;
}

/* Answers that have come are taken before the loss is counted: they are true
 * of the server's old life.  If it was silent because it had much to do, it may
 * still be at it: the silence of an outage begins now, and may be a long one.
 */
void
remote_session_end (struct store_nbd *sn)
{
  struct done_list done = { NULL, &done.head };
  struct remote_session *session = take_lost (sn);
  bool busy;

  if (session == NULL)
    return;
  say_lost (sn, session);
  remote_collect (sn);
  remote_drain_begin (sn, session);
  atomic_fetch_add (&sn->store.losses, 1);
  pthread_mutex_lock (&sn->lock);
  busy = session->heard && slow_in_flight (sn);
  remote_requeue (sn, &done);
  if (sn->given_up)
    remote_fail_waiting (sn, sn->give_up_error, &done);
  if (sn->wanted == 0 || busy)
    sn->quiet_since = now_of (sn);
  if (busy)
    sn->slow_end = sn->quiet_since + (SLOW_PATIENCE - 1) * sn->retry;
  remote_connector_want (sn, sn->said != 0);
  pthread_mutex_unlock (&sn->lock);
  remote_drain_sweep (sn);
  remote_done_call (&done);
  tell_changed (sn);
  remote_outage_check (sn, now_of (sn));
}

/* ------------------------------------------------------------------- outages */

/* The lock is held. */
static void
give_up (struct store_nbd *sn, uint64_t silent, struct done_list *done)
{
  sn->given_up = true;
  sn->give_up_error = sn->said ? sn->said : -EHOSTDOWN;
  remote_fail_waiting (sn, sn->give_up_error, done);
  env_log (sn->store.env, LOG_ERROR,
           "%s: no answer for %" PRIu64 ".%" PRIu64 " seconds%s%s; requests "
           "fail until it is back",
           sn->uri, silent / NSEC_PER_SEC,
           silent % NSEC_PER_SEC / (NSEC_PER_SEC / 10),
           sn->trouble[0] ? "; " : "", sn->trouble);
}

/* A session is to be lost for its sake.  The lock is held. */
static void
blame (struct remote_cmd *cmd, uint64_t waited)
{
  uint64_t late = waited / cmd->sn->retry;

  cmd->late = late < MOST_LATE ? (unsigned) late : MOST_LATE;
}

/* All that the connection does not answer, or what is slow of it, behind which the
 * rest may wait: for as long as it is silent, since before that they may have been
 * in a line.  The lock is held.
 */
static void
blame_all (const struct remote_conn *conn, uint64_t now)
{
  struct remote_cmd *cmd;
  bool slow = false;
  uint64_t since;

  for (cmd = conn->session->sn->oldest; cmd; cmd = cmd->next)
    slow |= cmd->conn == conn && cmd->weight > 0 && cmd->slow;
  for (cmd = conn->session->sn->oldest; cmd; cmd = cmd->next) {
    since = cmd->sent > conn->quiet_since ? cmd->sent : conn->quiet_since;
    if (cmd->conn == conn && cmd->weight > 0 && cmd->slow == slow &&
        now > since)
      blame (cmd, now - since);
  }
}

/* One connection can hang while others answer: its path is cut, say.  The lock
 * is held.
 */
static void
lose_if_one_hangs (struct remote_session *session, uint64_t now)
{
  struct store_nbd *sn = session->sn;
  uint64_t patience = patience_of (sn, now);
  char why[80];
  unsigned i;

  for (i = 0; i < session->n && sn->retry > 0; i++) {
    const struct remote_conn *conn = &session->conns[i];

    if (conn->weight == 0 || now < conn->quiet_since + patience)
      continue;
    snprintf (why, sizeof why,
              "one of %u has not answered for %" PRIu64 " seconds", session->n,
              (now - conn->quiet_since) / NSEC_PER_SEC);
    blame_all (conn, now);
    remote_lose (session, why);
    return;
  }
}

/* By how much (ns) the newest that its connection has answered was sent after the
 * command; 0 if that proves nothing yet.
 */
static uint64_t
passed_over (const struct remote_cmd *cmd)
{
  enum remote_line line = remote_line_of (cmd->req), i;
  uint64_t retry = cmd->sn->retry, most, later;

  for (i = 0; i < NR_LINES; i++) {
    later = cmd->conn->answered_sent[i] > cmd->sent
              ? cmd->conn->answered_sent[i] - cmd->sent
              : 0;
    most = cmd->slow || i != line ? SLOW_PASSED_PATIENCE : PASSED_PATIENCE;
    if (later >= most * retry)
      return later;
  }
  return 0;
}

/* Or one command can, on a connection that answers others.  How old it is says
 * nothing: all may be in a long line.  But later ones have been answered.  The
 * lock is held.
 */
static void
lose_if_passed_over (struct remote_session *session)
{
  struct store_nbd *sn = session->sn;
  struct remote_cmd *cmd;
  uint64_t later;
  char why[80];

  for (cmd = sn->retry > 0 ? sn->oldest : NULL; cmd; cmd = cmd->next) {
    later = cmd->weight > 0 ? passed_over (cmd) : 0;
    if (later == 0)
      continue;
    blame (cmd, later);
    snprintf (why, sizeof why,
              "a request is not answered, but one sent %" PRIu64
              " seconds later is",
              later / NSEC_PER_SEC);
    remote_lose (session, why);
  }
}

/* Nothing was heard since quiet_since, the time of the last answer, or if
 * nothing was wanted then, of the first request after it, or of the loss.
 * Before there was ever a session, there is time to make one, and then to answer.
 * That another session was made is no answer; but it is silent only if it was
 * asked something, and while all is held until sockets are drained, that is not
 * so.  One that was asked for much may be silent for longer.
 */
void
remote_outage_check (struct store_nbd *sn, uint64_t now)
{
  uint64_t patience = sn->retry;
  struct done_list done = { NULL, &done.head };
  char why[64];
  uint64_t silent;
  bool up;

  if (!sn->was_up && patience < CONNECT_TIMEOUT)
    patience = CONNECT_TIMEOUT;
  pthread_mutex_lock (&sn->lock);
  up = sn->session && !sn->session->lost;
  if (up) {
    patience = patience_of (sn, now);
    if (sn->oldest == NULL)
      sn->quiet_since = now;
  }
  silent = now > sn->quiet_since ? now - sn->quiet_since : 0;
  if (!sn->given_up && silent >= patience && (!up || sn->retry > 0)) {
    snprintf (why, sizeof why, "no answer for %" PRIu64 " seconds",
              silent / NSEC_PER_SEC);
    if (up)
      remote_lose (sn->session, why);
    give_up (sn, silent, &done);
  }
  else if (up) {
    lose_if_one_hangs (sn->session, now);
    lose_if_passed_over (sn->session);
  }
  pthread_mutex_unlock (&sn->lock);
  remote_done_call (&done);
}
