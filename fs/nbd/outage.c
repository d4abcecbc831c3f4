/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: for how long a server may say nothing, and what becomes of
 * requests then.  All of it is the loop thread's.
 *
 *   the store is  session       given_up  requests  and after silence
 *   starting      none so far   0         wait      of `retry', or of CONNECT_TIMEOUT if
 *                                                   that is longer: given up
 *   up            one           0         are sent  of patience_of: given up, and lost; of a
 *                                                   part of it: lost, so down; never, if
 *                                                   `retry' is 0
 *   ending        lost          as above  wait      stays so, until session_end: down
 *   down          none          0         wait      of `retry': given up
 *   given up      none          an error  fail      stays so
 *
 * From any of them session_install makes it up.  For a while after that nbd->holding
 * has all but reads wait, until drain_sweep.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs/nbd/outage.h"
#include "fs/nbd/piece.h"
#include "fs/nbd/requests.h"
#include "fs/num.h"

/* In units of `retry': see lose_if_passed_over. */
#define PASSED_PATIENCE SLOW_PATIENCE
#define SLOW_PASSED_PATIENCE 32

/* ------------------------------------------------------------------ patience */

bool
slow_in_flight (const struct nbd_store *nbd)
{
  const struct command *cmd;

  TAILQ_FOREACH (cmd, &nbd->in_flight, link)
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
patience_of (const struct nbd_store *nbd, uint64_t now)
{
  bool held_up = nbd->slow_end && now < nbd->slow_end + nbd->retry;

  return nbd->retry * (held_up || slow_in_flight (nbd) ? SLOW_PATIENCE : 1);
}

/* ------------------------------------------------------------------- outages */

/* The lock is held. */
static void
give_up (struct nbd_store *nbd, uint64_t silent, struct store_list *done)
{
  nbd->given_up = nbd->said ? nbd->said : -EHOSTDOWN;
  requests_fail_waiting (nbd, nbd->given_up, done);
  env_log (nbd->store.env, LOG_ERROR,
           "%s: no answer for %" PRIu64 ".%" PRIu64 " seconds%s%s; requests "
           "fail until it is back",
           nbd->uri, silent / NSEC_PER_SEC,
           silent % NSEC_PER_SEC / (NSEC_PER_SEC / 10),
           nbd->trouble[0] ? "; " : "", nbd->trouble);
}

/* A session is to be lost for its sake.  The lock is held. */
static void
blame (struct command *cmd, uint64_t waited)
{
  cmd->late = (unsigned) min_u64 (waited / cmd->nbd->retry, MOST_LATE);
}

/* All that the connection does not answer, or what is slow of it, behind which the
 * rest may wait: for as long as it is silent, since before that they may have been
 * in a line.  The lock is held.
 */
static void
blame_all (const struct connection *conn, uint64_t now)
{
  struct commands *in_flight = &conn->session->nbd->in_flight;
  struct command *cmd;
  bool slow = false;
  uint64_t since;

  TAILQ_FOREACH (cmd, in_flight, link)
    slow |= cmd->conn == conn && cmd->weight > 0 && cmd->slow;
  TAILQ_FOREACH (cmd, in_flight, link) {
    since = max_u64 (cmd->sent, conn->quiet_since);
    if (cmd->conn == conn && cmd->weight > 0 && cmd->slow == slow &&
        now > since)
      blame (cmd, now - since);
  }
}

/* One connection can hang while others answer: its path is cut, say.  The lock
 * is held.
 */
static void
lose_if_one_hangs (struct session *session, uint64_t now)
{
  struct nbd_store *nbd = session->nbd;
  uint64_t patience = patience_of (nbd, now);
  char why[80];
  unsigned i;

  for (i = 0; i < session->n && nbd->retry > 0; i++) {
    const struct connection *conn = &session->conns[i];

    if (conn->weight == 0 || now < conn->quiet_since + patience)
      continue;
    snprintf (why, sizeof why,
              "one of %u has not answered for %" PRIu64 " seconds", session->n,
              (now - conn->quiet_since) / NSEC_PER_SEC);
    blame_all (conn, now);
    session_lose (session, why);
    return;
  }
}

/* By how much (ns) the newest that its connection has answered was sent after the
 * command; 0 if that proves nothing yet.
 */
static uint64_t
passed_over (const struct command *cmd)
{
  enum line line = line_of (cmd->req), i;
  uint64_t retry = cmd->nbd->retry, most, later;

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
lose_if_passed_over (struct session *session)
{
  struct nbd_store *nbd = session->nbd;
  struct command *cmd;
  uint64_t later;
  char why[80];

  TAILQ_FOREACH (cmd, &nbd->in_flight, link) {
    later = nbd->retry > 0 && cmd->weight > 0 ? passed_over (cmd) : 0;
    if (later == 0)
      continue;
    blame (cmd, later);
    snprintf (why, sizeof why,
              "a request is not answered, but one sent %" PRIu64
              " seconds later is",
              later / NSEC_PER_SEC);
    session_lose (session, why);
  }
}

/* Nothing was heard since quiet_since, the time of the last answer, or if
 * nothing was wanted then, of the first request after it, or of the loss.
 * Before there was ever a session, there is time to make one, and then to answer.
 * That another session was made is no answer; but it is silent only if it was
 * asked something, and while all is held until sockets are drained, that is not
 * so.  One that was asked for much may be silent for longer.  For how long after it
 * was lost, session_end says.
 */
void
outage_check (struct nbd_store *nbd, uint64_t now)
{
  uint64_t patience = nbd->retry;
  struct store_list done = { 0 };
  char why[64];
  uint64_t silent;
  bool up;

  if (!nbd->was_up)
    patience = max_u64 (patience, CONNECT_TIMEOUT);
  pthread_mutex_lock (&nbd->lock);
  if (nbd->session && nbd->session->lost) {
    pthread_mutex_unlock (&nbd->lock);
    return;
  }
  up = nbd->session != NULL;
  if (up) {
    patience = patience_of (nbd, now);
    if (TAILQ_EMPTY (&nbd->in_flight))
      nbd->quiet_since = now;
  }
  silent = now > nbd->quiet_since ? now - nbd->quiet_since : 0;
  if (!nbd->given_up && silent >= patience && (!up || nbd->retry > 0)) {
    snprintf (why, sizeof why, "no answer for %" PRIu64 " seconds",
              silent / NSEC_PER_SEC);
    if (up)
      session_lose (nbd->session, why);
    give_up (nbd, silent, &done);
  }
  else if (up) {
    lose_if_one_hangs (nbd->session, now);
    lose_if_passed_over (nbd->session);
  }
  pthread_mutex_unlock (&nbd->lock);
  store_done_call (&done);
}
