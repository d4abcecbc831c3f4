/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the connector, a thread that makes sessions when they are
 * wanted.  The loop thread takes them from nbd->made.
 *
 *   the thread  connect_at  goes on by
 *   sleeps      FOREVER     connector_want: pauses
 *   pauses      to come     the time: makes
 *   makes       past        hand_over: sleeps, having made one; or pauses, twice as long
 *                           as before
 *
 * connector_stop ends it in any of them.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/nbd/connector.h"
#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/num.h"

#define MIN_BACKOFF (100 * NSEC_PER_MSEC)
#define MAX_BACKOFF (3200 * NSEC_PER_MSEC)

/* A further connection may take so long, and longer if the first one did:
 * meanwhile that one, though it could, does nothing.  A packet that was lost is
 * sent again after a second.
 */
#define MIN_FURTHER (2 * NSEC_PER_SEC)
#define FURTHER_TIMES 4

void
connector_want (struct nbd_store *nbd, bool pause)
{
  struct env *env = nbd->store.env;

  if (pause && nbd->backoff == 0)
    nbd->backoff = MIN_BACKOFF;
  nbd->connect_at = env->now (env) + nbd->backoff;
  nbd->backoff = max_u64 (min_u64 (nbd->backoff * 2, MAX_BACKOFF), MIN_BACKOFF);
  atomic_fetch_add (&nbd->connect_now, 1);
  env->wake (env, &nbd->connect_now);
}

/* ------------------------------------------------------ making a session */

/* Takes over the handle. */
static int
add_conn (struct session *session, struct nbd_handle *handle, char *why)
{
  struct connection *conn = &session->conns[session->n];

  conn->session = session;
  conn->handle = handle;
  conn->fd = fcntl (nbd_aio_get_fd (handle), F_DUPFD_CLOEXEC, 0);
  session->n++;
  if (conn->fd >= 0)
    return 0;
  snprintf (why, WHY_MAX, "%s", strerror (errno));
  return -EMFILE;
}

/* Does the session, with its newest connection, make what it takes?  If not, say
 * so, once.
 */
static int
check_facts (struct nbd_store *nbd, struct session *session, char *why)
{
  struct nbd_handle *handle = session->conns[session->n - 1].handle;
  struct export_facts facts;
  int r = export_learn (handle, &facts, why);

  if (r < 0)
    return r;
  if (session->n == 1)
    session->facts = facts;
  else
    export_join (&session->facts, &facts);
  if (session->n > 1 && !session->facts.multi_conn) {
    snprintf (why, WHY_MAX, "it is not fit for several connections any more");
    return -ESTALE;
  }
  if (export_fits (&nbd->facts, nbd->store.geo.readonly, &session->facts, why))
    return 0;
  if (strcmp (nbd->refused, why) != 0)
    env_log (nbd->store.env, LOG_ERROR,
             "%s: the export is not the one it was: %s; it is not used until "
             "it is as before",
             nbd->uri, why);
  snprintf (nbd->refused, sizeof nbd->refused, "%s", why);
  return -ESTALE;
}

/* Nothing was asked of it, so if there is something to read it has ended. */
static bool
probe_alive (const struct nbd_store *nbd)
{
  struct pollfd fd = { .fd = nbd_aio_get_fd (nbd->probe), .events = POLLIN };

  return poll (&fd, 1, 0) == 0;
}

/* The first connection of a session: the probe, for the first session. */
static int
first_conn (struct nbd_store *nbd, uint64_t deadline,
            struct nbd_handle **handle, char *why)
{
  struct env *env = nbd->store.env;
  uint64_t begun;
  int r;

  *handle = nbd->probe;
  if (*handle && probe_alive (nbd)) {
    nbd->probe = NULL;
    return 0;
  }
  if (*handle)
    nbd_close (*handle);
  nbd->probe = NULL;
  begun = env->now (env);
  r = handle_connect (env, nbd->uri, deadline, nbd->cancel_fd, handle, why);
  nbd->took = env->now (env) - begun;
  return r;
}

static void
say_fewer (struct nbd_store *nbd, unsigned have, unsigned wished,
           const char *why)
{
  if (!nbd->told_fewer)
    env_log (nbd->store.env, LOG_DEBUG,
             "%s: %u of %u connections could be made: %s", nbd->uri, have,
             wished, why);
  nbd->told_fewer = true;
}

/* Until when a further connection is waited for. */
static uint64_t
further_deadline (const struct nbd_store *nbd, uint64_t deadline)
{
  uint64_t patience = max_u64 (nbd->took * FURTHER_TIMES, MIN_FURTHER);

  return min_u64 (deadline, nbd->store.env->now (nbd->store.env) + patience);
}

/* A server that takes no more clients need not say so: it may leave them waiting.
 * That is waited for once.  Later there may be fewer only because clients that
 * were lost still count there.
 */
static void
settle_with (struct nbd_store *nbd, unsigned have)
{
  nbd->connections = (unsigned) max_u64 (have, nbd->most);
  env_log (nbd->store.env, LOG_DEBUG, "%s: from now on %u connections are made",
           nbd->uri, nbd->connections);
}

/* Add further connections: all, or as many as the server lets us have. */
static int
add_others (struct nbd_store *nbd, struct session *session, unsigned wished,
            uint64_t deadline, char *why)
{
  struct env *env = nbd->store.env;
  struct nbd_handle *handle;
  uint64_t until;
  int r;

  while (session->n < wished) {
    until = further_deadline (nbd, deadline);
    r = handle_connect (env, nbd->uri, until, nbd->cancel_fd, &handle, why);
    if (r < 0) {
      say_fewer (nbd, session->n, wished, why);
      if (env->now (env) >= until)
        settle_with (nbd, session->n);
      break;
    }
    if ((r = add_conn (session, handle, why)) < 0 ||
        (r = check_facts (nbd, session, why)) < 0)
      return r;
  }
  nbd->most = (unsigned) max_u64 (nbd->most, session->n);
  return 0;
}

static struct session *
make_session (struct nbd_store *nbd, char *why)
{
  struct env *env = nbd->store.env;
  uint64_t deadline = env->now (env) + CONNECT_TIMEOUT;
  unsigned wished = nbd->connections;
  struct session *session;
  struct nbd_handle *handle;

  if (first_conn (nbd, deadline, &handle, why) < 0)
    return NULL;
  session = calloc (1, sizeof *session + wished * sizeof (struct connection));
  if (session == NULL) {
    snprintf (why, WHY_MAX, "out of memory");
    nbd_close (handle);
    return NULL;
  }
  session->nbd = nbd;
  if (add_conn (session, handle, why) == 0 &&
      check_facts (nbd, session, why) == 0 &&
      add_others (nbd, session, session->facts.multi_conn ? wished : 1,
                  deadline, why) == 0)
    return session;
  session_close (session);
  return NULL;
}

void
session_close (struct session *session)
{
  struct env *env = session->nbd->store.env;
  uint64_t deadline = env->now (env) + GOODBYE_TIMEOUT;
  unsigned i;

  for (i = 0; i < session->n; i++)
    handle_goodbye (session->conns[i].handle);
  for (i = 0; i < session->n; i++) {
    handle_close (env, session->conns[i].handle, deadline);
    if (session->conns[i].fd >= 0)
      close (session->conns[i].fd);
  }
  free (session);
}

/* -------------------------------------------------------------- the thread */

/* Wait until a session is wanted and the time has come.  False: end. */
static bool
wait_until_wanted (struct nbd_store *nbd)
{
  struct env *env = nbd->store.env;
  uint64_t deadline;
  uint32_t word;
  bool stop;

  for (;;) {
    word = atomic_load (&nbd->connect_now);
    pthread_mutex_lock (&nbd->lock);
    stop = nbd->stop;
    deadline = nbd->connect_at;
    pthread_mutex_unlock (&nbd->lock);
    if (stop || env->now (env) >= deadline)
      return !stop;
    env->wait (env, &nbd->connect_now, word, deadline);
  }
}

/* What was appended has to wait until all is started anew. */
static void
say_larger (struct nbd_store *nbd, const struct export_facts *is)
{
  const struct export_facts *was = &nbd->facts;
  uint64_t had = was->size + was->tail, has = is->size + is->tail;

  if (has > had && has != nbd->told_size)
    env_log (nbd->store.env, LOG_INFO,
             "%s: the export has grown from %" PRIu64 " to %" PRIu64
             " bytes; the disk keeps its size until the plugin is restarted",
             nbd->uri, had, has);
  nbd->told_size = has;
}

/* Hand over the session, or note why there is none and try again later. */
static void
hand_over (struct nbd_store *nbd, struct session *session, const char *why)
{
  pthread_mutex_lock (&nbd->lock);
  nbd->connect_at = ENV_FOREVER;
  nbd->made = session;
  if (session == NULL) {
    snprintf (nbd->trouble, sizeof nbd->trouble, "%s", why);
    connector_want (nbd, true);
  }
  pthread_mutex_unlock (&nbd->lock);
  if (session) {
    nbd->refused[0] = '\0';
    say_larger (nbd, &session->facts);
    nbd_store_wake (nbd);
  }
  else
    env_log (nbd->store.env, LOG_DEBUG, "%s: cannot connect: %s", nbd->uri,
             why);
}

static void *
connector_main (void *opaque)
{
  struct nbd_store *nbd = opaque;
  struct session *session;
  char why[WHY_MAX];

  while (wait_until_wanted (nbd)) {
    why[0] = '\0';
    session = make_session (nbd, why);
    hand_over (nbd, session, why);
  }
  return NULL;
}

int
connector_start (struct nbd_store *nbd)
{
  int r;

  nbd->cancel_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (nbd->cancel_fd < 0)
    return -errno;
  nbd->stop = false;
  nbd->connect_at = 0;
  r = env_thread (&nbd->connector, 0, connector_main, nbd);
  if (r < 0)
    close (nbd->cancel_fd);
  return r;
}

void
connector_stop (struct nbd_store *nbd)
{
  struct env *env = nbd->store.env;
  ssize_t n;

  pthread_mutex_lock (&nbd->lock);
  nbd->stop = true;
  pthread_mutex_unlock (&nbd->lock);
  n = eventfd_write (nbd->cancel_fd, 1);
  (void) n; /* its counter is at 0 before */
  atomic_fetch_add (&nbd->connect_now, 1);
  env->wake (env, &nbd->connect_now);
  pthread_join (nbd->connector, NULL);
  close (nbd->cancel_fd);
}
