/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: opening, geometry, closing.  The rest, each over those it uses:
 *
 * loop.c       watchers
 * session.c    sessions begin and end
 * outage.c     for how long a server may say nothing
 * drain.c      connections of a lost session
 * io.c         requests, sent and answered
 * piece.c      what is sent for a request
 * status.c     holes
 * requests.c   those that wait, are in flight, are done
 * connector.c  the thread that makes connections
 * state.c      what all of these take
 * export.c     what an export is like
 * handle.c     one connection
 * uri.c        URIs
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/nbd/io.h"
#include "fs/nbd/loop.h"
#include "fs/nbd/nbd.h"
#include "fs/nbd/state.h"
#include "fs/nbd/status.h"
#include "fs/nbd/uri.h"
#include "fs/num.h"

/* Neighbouring data is gathered up to this, bytes. */
#define BEST_IO (2u << 20)

#define MIN_IO 512u
#define MAX_CONNECTIONS 64u

/* Between attempts to connect at the start. */
#define MIN_PAUSE (100 * NSEC_PER_MSEC)
#define MAX_PAUSE (1600 * NSEC_PER_MSEC)

/* All bounce buffers together, bytes. */
#define MAX_BOUNCES ((size_t) 16 << 20)

static void
nbd_store_close (struct store *store)
{
  struct nbd_store *nbd = nbd_store_of (store);

  if (nbd->probe) {
    handle_goodbye (nbd->probe);
    handle_close (store->env, nbd->probe,
                  store->env->now (store->env) + GOODBYE_TIMEOUT);
  }
  if (nbd->zeroes)
    munmap (nbd->zeroes, ZEROES_SIZE);
  if (nbd->bounces)
    munmap (nbd->bounces, nbd->bounces_size);
  pthread_mutex_destroy (&nbd->lock);
  free (nbd->slots);
  free (nbd->uri);
  free (nbd);
}

/* By the connection by which the size was asked for. */
static int
nbd_store_peek (struct store *store, uint64_t offset, void *buf, size_t n)
{
  struct nbd_store *nbd = nbd_store_of (store);
  uint64_t size = store->geo.size;
  size_t there = offset >= size      ? 0
                 : n < size - offset ? n
                                     : (size_t) (size - offset);

  memset ((char *) buf + there, 0, n - there);
  if (nbd->probe == NULL)
    return -ENOTCONN;
  if (there > 0 && nbd_pread (nbd->probe, buf, there, offset, 0) < 0)
    return handle_errno ();
  return 0;
}

static const struct store_ops nbd_store_ops = {
  .name = "nbd",
  .peek = nbd_store_peek,
  .attach = nbd_store_attach,
  .detach = nbd_store_detach,
  .submit = nbd_store_submit,
  .resume = nbd_store_resume,
  .block_status = nbd_store_block_status,
  .close = nbd_store_close,
};

static void
make_slots (struct nbd_store *nbd, unsigned depth)
{
  unsigned i;

  for (i = 0; i < depth; i++) {
    nbd->slots[i].nbd = nbd;
    nbd->slots[i].bounce = (char *) nbd->bounces + i * nbd->bounce_size;
    TAILQ_INSERT_HEAD (&nbd->unused, &nbd->slots[i], link);
  }
}

static struct nbd_store *
new_store (struct env *env, const struct nbd_store_options *options)
{
  struct nbd_store *nbd = calloc (1, sizeof *nbd);
  unsigned depth;

  if (nbd == NULL)
    return NULL;
  nbd->store.ops = &nbd_store_ops;
  nbd->store.env = env;
  nbd->connections =
    (unsigned) max_u64 (min_u64 (options->connections, MAX_CONNECTIONS), 1);
  nbd->retry = options->retry;
  TAILQ_INIT (&nbd->in_flight);
  TAILQ_INIT (&nbd->unused);
  STAILQ_INIT (&nbd->finished);
  pthread_mutex_init (&nbd->lock, NULL);
  store_queue_init (&nbd->queue, &nbd->store, options->io_depth);
  depth = nbd->queue.depth;
  nbd->uri = strdup (options->uri);
  nbd->zeroes = store_map (ZEROES_SIZE, PROT_READ);
  nbd->bounce_size = MAX_BOUNCES / depth / MAX_MIN_IO * MAX_MIN_IO;
  nbd->bounces_size = depth * nbd->bounce_size;
  nbd->bounces = store_map (nbd->bounces_size, PROT_READ | PROT_WRITE);
  nbd->slots = calloc (depth, sizeof *nbd->slots);
  if (nbd->uri && nbd->zeroes && nbd->bounces && nbd->slots) {
    make_slots (nbd, depth);
    return nbd;
  }
  nbd_store_close (&nbd->store);
  return NULL;
}

static bool
nothing_is_durable (const struct export_facts *facts, bool readonly)
{
  return !readonly && !facts->flush && !facts->fua;
}

static int
check_export (const struct nbd_store *nbd,
              const struct nbd_store_options *options,
              const struct store_message *m)
{
  const struct export_facts *facts = &nbd->facts;

  if (facts->readonly && !options->readonly)
    return store_refuse (m, -EROFS,
                         "%s: the export is read-only; use -r to serve it "
                         "read-only",
                         nbd->uri);
  if (facts->min_block > MAX_MIN_IO ||
      (facts->min_block & (facts->min_block - 1)))
    return store_refuse (m, -EINVAL,
                         "%s: the export takes requests of %" PRIu32
                         " bytes or multiples only; at most %u can be used",
                         nbd->uri, facts->min_block, MAX_MIN_IO);
  if (facts->max_block < MAX_MIN_IO)
    return store_refuse (m, -EINVAL,
                         "%s: the export takes requests of at most %" PRIu32
                         " bytes; at least %u are needed",
                         nbd->uri, facts->max_block, MAX_MIN_IO);
  if (nothing_is_durable (facts, options->readonly) &&
      !options->unsafe_no_flush)
    return store_refuse (m, -ENOTSUP,
                         "%s: the server can neither flush nor do FUA, so "
                         "nothing written would ever be known to be durable; "
                         "have it offer flush, or use unsafe-no-flush=yes to "
                         "serve it nevertheless, or -r to serve it read-only",
                         nbd->uri);
  return 0;
}

static void
fill_geometry (struct nbd_store *nbd, bool readonly)
{
  const struct export_facts *facts = &nbd->facts;

  nbd->store.geo = (struct store_geometry) {
    .size = facts->size,
    .min_io = (uint32_t) max_u64 (facts->min_block, MIN_IO),
    .best_io = (uint32_t) min_u64 (export_max_io (facts), BEST_IO),
    .max_io = export_max_io (facts),
    .readonly = readonly,
    .rotational = facts->rotational,
    .can_fua = !readonly && facts->fua,
    .can_zero = !readonly && facts->zero && facts->fast_zero,
    .doubt_zero = true,
    .can_trim = !readonly && facts->zero,
    .can_extents = facts->extents,
  };
}

static int
try_to_connect (struct nbd_store *nbd, char *why)
{
  struct env *env = nbd->store.env;
  uint64_t begun = env->now (env);
  int r = handle_connect (env, nbd->uri, begun + CONNECT_TIMEOUT, -1,
                          &nbd->probe, why);

  nbd->took = env->now (env) - begun;
  return r;
}

/* A server that is not there yet is waited for, if at all, in one line. */
static int
connect_at_start (struct nbd_store *nbd, uint64_t patience, char *why)
{
  struct env *env = nbd->store.env;
  uint64_t begun = env->now (env), until = begun + patience;
  uint64_t pause = MIN_PAUSE;
  int r = try_to_connect (nbd, why);

  if (r == 0 || patience == 0)
    return r;
  env_log (env, LOG_ERROR,
           "%s: cannot connect: %s; trying again for %g seconds", nbd->uri, why,
           (double) patience / NSEC_PER_SEC);
  while (r < 0 && env->now (env) < until) {
    env_sleep (env, min_u64 (env->now (env) + pause, until));
    pause = min_u64 (pause * 2, MAX_PAUSE);
    r = try_to_connect (nbd, why);
  }
  if (r == 0)
    env_log (env, LOG_INFO, "%s: connected after %" PRIu64 " seconds", nbd->uri,
             (env->now (env) - begun) / NSEC_PER_SEC);
  return r;
}

static int
probe (struct nbd_store *nbd, uint64_t patience, const struct store_message *m)
{
  char why[WHY_MAX];
  int r = connect_at_start (nbd, patience, why);

  if (r < 0)
    return store_refuse (m, r, "%s: cannot connect: %s", nbd->uri, why);
  r = export_learn (nbd->probe, &nbd->facts, why);
  return r < 0 ? store_refuse (m, r, "%s: %s", nbd->uri, why) : 0;
}

/* What of the wishes cannot be had. */
static void
settle_for (struct nbd_store *nbd)
{
  const struct export_facts *facts = &nbd->facts;
  struct env *env = nbd->store.env;

  if (!facts->multi_conn && nbd->connections > 1) {
    env_log (env, LOG_DEBUG,
             "%s: one connection only: the server does not announce "
             "multi-conn",
             nbd->uri);
    nbd->connections = 1;
  }
  if (facts->tail)
    env_log (env, LOG_ERROR,
             "warning: %s: its last %" PRIu32 " bytes are not served: it has "
             "%" PRIu64 " bytes, and takes requests of %" PRIu32
             " bytes or multiples only",
             nbd->uri, facts->tail, facts->size + facts->tail,
             facts->min_block);
  if (nothing_is_durable (facts, nbd->store.geo.readonly))
    env_log (env, LOG_ERROR,
             "warning: %s: the server can neither flush nor do FUA, and "
             "unsafe-no-flush=yes: what clients flush may be lost when the "
             "server goes down",
             nbd->uri);
  else if (!facts->flush && !nbd->store.geo.readonly)
    env_log (env, LOG_INFO,
             "%s: the server cannot flush: everything is written with FUA",
             nbd->uri);
}

int
nbd_store_open (struct env *env, const struct nbd_store_options *options,
                struct store **store, char *err, size_t errlen)
{
  const struct store_message m = { err, errlen };
  struct nbd_store *nbd;
  char why[WHY_MAX];
  int r;

  if (!nbd_store_check_uri (options->uri, why, sizeof why))
    return store_refuse (&m, -EINVAL, "%s: %s", options->uri, why);
  nbd = new_store (env, options);
  if (nbd == NULL)
    return store_refuse (&m, -ENOMEM, "out of memory");
  if ((r = probe (nbd, options->patience, &m)) < 0 ||
      (r = check_export (nbd, options, &m)) < 0) {
    nbd_store_close (&nbd->store);
    return r;
  }
  fill_geometry (nbd, options->readonly);
  settle_for (nbd);
  *store = &nbd->store;
  return 0;
}
