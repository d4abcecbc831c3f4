/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the connector, a thread that makes sessions when they are
 * wanted.  The loop thread takes them from sn->made.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/nbd/nbd-impl.h"

#define MIN_BACKOFF (100 * NSEC_PER_MSEC)
#define MAX_BACKOFF (3200 * NSEC_PER_MSEC)

/* A further connection may take so long, and longer if the first one did:
 * meanwhile that one, though it could, does nothing.  A packet that was lost is
 * sent again after a second.
 */
#define MIN_FURTHER (2 * NSEC_PER_SEC)
#define FURTHER_TIMES 4

void
remote_connector_want (struct store_nbd *sn, bool pause)
{
  struct env *env = sn->store.env;

  if (pause && sn->backoff == 0)
    sn->backoff = MIN_BACKOFF;
  sn->connect_wanted = true;
  sn->connect_after = env->now (env) + sn->backoff;
  if (sn->backoff == 0)
    sn->backoff = MIN_BACKOFF;
  else if (sn->backoff < MAX_BACKOFF)
    sn->backoff *= 2;
  atomic_fetch_add (&sn->connect_now, 1);
  env->wake (env, &sn->connect_now);
}

/* ------------------------------------------------------ making a session */

/* Takes over the handle. */
static int
add_conn (struct remote_session *session, struct nbd_handle *handle, char *why)
{
  struct remote_conn *conn = &session->conns[session->n];

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
check_facts (struct store_nbd *sn, struct remote_session *session, char *why)
{
  struct nbd_handle *handle = session->conns[session->n - 1].handle;
  struct remote_facts facts;
  int r = remote_learn (handle, &facts, why);

  if (r < 0)
    return r;
  if (session->n == 1)
    session->facts = facts;
  else
    remote_join (&session->facts, &facts);
  if (session->n > 1 && !session->facts.multi_conn) {
    snprintf (why, WHY_MAX, "it is not fit for several connections any more");
    return -ESTALE;
  }
  if (remote_same (sn, &session->facts, why))
    return 0;
  if (strcmp (sn->refused, why) != 0)
    env_log (sn->store.env, LOG_ERROR,
             "%s: the export is not the one it was: %s; it is not used until "
             "it is as before",
             sn->uri, why);
  snprintf (sn->refused, sizeof sn->refused, "%s", why);
  return -ESTALE;
}

/* Nothing was asked of it, so if there is something to read it has ended. */
static bool
probe_alive (const struct store_nbd *sn)
{
  struct pollfd fd = { .fd = nbd_aio_get_fd (sn->probe), .events = POLLIN };

  return poll (&fd, 1, 0) == 0;
}

/* The first connection of a session: the probe, for the first session. */
static int
first_conn (struct store_nbd *sn, uint64_t deadline, struct nbd_handle **handle,
            char *why)
{
  struct env *env = sn->store.env;
  uint64_t begun;
  int r;

  *handle = sn->probe;
  if (*handle && probe_alive (sn)) {
    sn->probe = NULL;
    return 0;
  }
  if (*handle)
    nbd_close (*handle);
  sn->probe = NULL;
  begun = env->now (env);
  r = remote_connect (sn, deadline, sn->cancel_fd, handle, why);
  sn->took = env->now (env) - begun;
  return r;
}

static void
say_fewer (struct store_nbd *sn, unsigned have, unsigned wished,
           const char *why)
{
  if (!sn->told_fewer)
    env_log (sn->store.env, LOG_DEBUG,
             "%s: %u of %u connections could be made: %s", sn->uri, have,
             wished, why);
  sn->told_fewer = true;
}

/* Until when a further connection is waited for. */
static uint64_t
further_deadline (const struct store_nbd *sn, uint64_t deadline)
{
  uint64_t patience = sn->took * FURTHER_TIMES;
  uint64_t now = sn->store.env->now (sn->store.env);

  if (patience < MIN_FURTHER)
    patience = MIN_FURTHER;
  return deadline < now + patience ? deadline : now + patience;
}

/* A server that takes no more clients need not say so: it may leave them waiting.
 * That is waited for once.  Later there may be fewer only because clients that
 * were lost still count there.
 */
static void
settle_with (struct store_nbd *sn, unsigned have)
{
  sn->connections = have > sn->most ? have : sn->most;
  env_log (sn->store.env, LOG_DEBUG, "%s: from now on %u connections are made",
           sn->uri, sn->connections);
}

/* Add further connections: all, or as many as the server lets us have. */
static int
add_others (struct store_nbd *sn, struct remote_session *session,
            unsigned wished, uint64_t deadline, char *why)
{
  struct env *env = sn->store.env;
  struct nbd_handle *handle;
  uint64_t until;
  int r;

  while (session->n < wished) {
    until = further_deadline (sn, deadline);
    r = remote_connect (sn, until, sn->cancel_fd, &handle, why);
    if (r < 0) {
      say_fewer (sn, session->n, wished, why);
      if (env->now (env) >= until)
        settle_with (sn, session->n);
      break;
    }
    if ((r = add_conn (session, handle, why)) < 0 ||
        (r = check_facts (sn, session, why)) < 0)
      return r;
  }
  if (sn->most < session->n)
    sn->most = session->n;
  return 0;
}

static struct remote_session *
make_session (struct store_nbd *sn, char *why)
{
  struct env *env = sn->store.env;
  uint64_t deadline = env->now (env) + CONNECT_TIMEOUT;
  unsigned wished = sn->connections;
  struct remote_session *session;
  struct nbd_handle *handle;

  if (first_conn (sn, deadline, &handle, why) < 0)
    return NULL;
  session = calloc (1, sizeof *session + wished * sizeof (struct remote_conn));
  if (session == NULL) {
    snprintf (why, WHY_MAX, "out of memory");
    nbd_close (handle);
    return NULL;
  }
  session->sn = sn;
  if (add_conn (session, handle, why) == 0 &&
      check_facts (sn, session, why) == 0 &&
      add_others (sn, session, session->facts.multi_conn ? wished : 1, deadline,
                  why) == 0)
    return session;
  remote_session_close (session);
  return NULL;
}

void
remote_session_close (struct remote_session *session)
{
  struct nbd_handle **handles = malloc (session->n * sizeof *handles);
  unsigned i;

  for (i = 0; i < session->n; i++) {
    if (handles)
      handles[i] = session->conns[i].handle;
    else
      nbd_close (session->conns[i].handle);
  }
  if (handles)
    remote_goodbye (session->sn->store.env, handles, session->n);
  for (i = 0; i < session->n; i++)
    if (session->conns[i].fd >= 0)
      close (session->conns[i].fd);
  free (handles);
  free (session);
}

/* -------------------------------------------------------------- the thread */

/* Wait until a session is wanted and the time has come.  False: end. */
static bool
wait_until_wanted (struct store_nbd *sn)
{
  struct env *env = sn->store.env;
  uint64_t deadline;
  uint32_t word;
  bool wanted, stop;

  for (;;) {
    word = atomic_load (&sn->connect_now);
    pthread_mutex_lock (&sn->lock);
    stop = sn->stop;
    wanted = sn->connect_wanted;
    deadline = wanted ? sn->connect_after : ENV_FOREVER;
    pthread_mutex_unlock (&sn->lock);
    if (stop || (wanted && env->now (env) >= deadline))
      return !stop;
    env->wait (env, &sn->connect_now, word, deadline);
  }
}

/* What was appended has to wait until all is started anew. */
static void
say_larger (struct store_nbd *sn, const struct remote_facts *is)
{
  const struct remote_facts *was = &sn->facts;
  uint64_t had = was->size + was->tail, has = is->size + is->tail;

  if (has > had && has != sn->told_size)
    env_log (sn->store.env, LOG_INFO,
             "%s: the export has grown from %" PRIu64 " to %" PRIu64
             " bytes; the disk keeps its size until the plugin is restarted",
             sn->uri, had, has);
  sn->told_size = has;
}

/* Hand over the session, or note why there is none and try again later. */
static void
hand_over (struct store_nbd *sn, struct remote_session *session,
           const char *why)
{
  pthread_mutex_lock (&sn->lock);
  sn->connect_wanted = false;
  sn->made = session;
  if (session == NULL) {
    snprintf (sn->trouble, sizeof sn->trouble, "%s", why);
    remote_connector_want (sn, true);
  }
  pthread_mutex_unlock (&sn->lock);
  if (session) {
    sn->refused[0] = '\0';
    say_larger (sn, &session->facts);
    remote_wake (sn);
  }
  else
    env_log (sn->store.env, LOG_DEBUG, "%s: cannot connect: %s", sn->uri, why);
}

static void *
connector_main (void *opaque)
{
  struct store_nbd *sn = opaque;
  struct remote_session *session;
  char why[WHY_MAX];

  while (wait_until_wanted (sn)) {
    why[0] = '\0';
    session = make_session (sn, why);
    hand_over (sn, session, why);
  }
  return NULL;
}

/* Signals are for the threads of the program that we are part of. */
static int
start_thread (struct store_nbd *sn)
{
  sigset_t all, old;
  int r;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  r = pthread_create (&sn->connector, NULL, connector_main, sn);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  return -r;
}

int
remote_connector_start (struct store_nbd *sn)
{
  int r;

  sn->cancel_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (sn->cancel_fd < 0)
    return -errno;
  sn->stop = false;
  sn->connect_wanted = true;
  sn->connect_after = 0;
  r = start_thread (sn);
  if (r < 0)
    close (sn->cancel_fd);
  return r;
}

void
remote_connector_stop (struct store_nbd *sn)
{
  struct env *env = sn->store.env;
  ssize_t n;

  pthread_mutex_lock (&sn->lock);
  sn->stop = true;
  pthread_mutex_unlock (&sn->lock);
  n = eventfd_write (sn->cancel_fd, 1);
  (void) n; /* its counter is at 0 before */
  atomic_fetch_add (&sn->connect_now, 1);
  env->wake (env, &sn->connect_now);
  pthread_join (sn->connector, NULL);
  close (sn->cancel_fd);
}
