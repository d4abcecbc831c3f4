/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: opening, geometry, closing.  The rest is in
 * store-nbd-uri.c      URIs
 * store-nbd-connect.c  one connection
 * store-nbd-session.c  the thread that makes them
 * store-nbd-loop.c     watchers
 * store-nbd-loss.c     sessions that begin and end; outages
 * store-nbd-io.c       requests, sent and answered
 * store-nbd-piece.c    what is sent for a request
 * store-nbd-status.c   holes
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/nbd/nbd-impl.h"

/* Neighbouring data is gathered up to this, bytes. */
#define BEST_IO (2u << 20)

#define MIN_IO 512u
#define MAX_DEPTH 4096u
#define MAX_CONNECTIONS 64u

/* Between attempts to connect at the start. */
#define MIN_PAUSE (100 * NSEC_PER_MSEC)
#define MAX_PAUSE (1600 * NSEC_PER_MSEC)

/* All bounce buffers together, bytes. */
#define MAX_BOUNCES ((size_t) 16 << 20)

static void
nbd_store_close (struct store *store)
{
  struct store_nbd *sn = store_nbd_of (store);

  if (sn->probe)
    remote_goodbye (store->env, &sn->probe, 1);
  if (sn->zeroes)
    munmap (sn->zeroes, ZEROES_SIZE);
  if (sn->bounces)
    munmap (sn->bounces, sn->bounces_size);
  pthread_mutex_destroy (&sn->lock);
  free (sn->slots);
  free (sn->uri);
  free (sn);
}

static const struct store_ops nbd_store_ops = {
  .name = "nbd",
  .attach = remote_attach,
  .detach = remote_detach,
  .submit = remote_submit,
  .block_status = remote_block_status,
  .close = nbd_store_close,
};

static unsigned
clamp (unsigned n, unsigned most)
{
  if (n < 1)
    return 1;
  return n < most ? n : most;
}

/* Memory that reads as zero and takes none before it is written to. */
static void *
map (size_t size, int protection)
{
  void *p = mmap (NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  return p == MAP_FAILED ? NULL : p;
}

static void
make_slots (struct store_nbd *sn, unsigned depth)
{
  unsigned i;

  for (i = 0; i < depth; i++) {
    sn->slots[i].sn = sn;
    sn->slots[i].bounce = (char *) sn->bounces + i * sn->bounce_size;
    sn->slots[i].next = sn->free_slots;
    sn->free_slots = &sn->slots[i];
  }
}

static struct store_nbd *
new_store (struct env *env, const struct store_nbd_options *options)
{
  unsigned depth = clamp (options->io_depth, MAX_DEPTH);
  struct store_nbd *sn = calloc (1, sizeof *sn);

  if (sn == NULL)
    return NULL;
  sn->store.ops = &nbd_store_ops;
  sn->store.env = env;
  sn->connections = clamp (options->connections, MAX_CONNECTIONS);
  sn->retry = options->retry;
  sn->finished_tail = &sn->finished;
  pthread_mutex_init (&sn->lock, NULL);
  store_queue_init (&sn->queue, depth);
  sn->uri = strdup (options->uri);
  sn->zeroes = map (ZEROES_SIZE, PROT_READ);
  sn->bounce_size = MAX_BOUNCES / depth / MAX_MIN_IO * MAX_MIN_IO;
  sn->bounces_size = depth * sn->bounce_size;
  sn->bounces = map (sn->bounces_size, PROT_READ | PROT_WRITE);
  sn->slots = calloc (depth, sizeof *sn->slots);
  if (sn->uri && sn->zeroes && sn->bounces && sn->slots) {
    make_slots (sn, depth);
    return sn;
  }
  nbd_store_close (&sn->store);
  return NULL;
}

static bool
nothing_is_durable (const struct remote_facts *facts, bool readonly)
{
  return !readonly && !facts->flush && !facts->fua;
}

static int
check_export (const struct store_nbd *sn,
              const struct store_nbd_options *options,
              const struct store_message *m)
{
  const struct remote_facts *facts = &sn->facts;

  if (facts->readonly && !options->readonly)
    return store_refuse (m, -EROFS,
                         "%s: the export is read-only; use -r to serve it "
                         "read-only",
                         sn->uri);
  if (facts->min_block > MAX_MIN_IO ||
      (facts->min_block & (facts->min_block - 1)))
    return store_refuse (m, -EINVAL,
                         "%s: the export takes requests of %" PRIu32
                         " bytes or multiples only; at most %u can be used",
                         sn->uri, facts->min_block, MAX_MIN_IO);
  if (facts->max_block < MAX_MIN_IO)
    return store_refuse (m, -EINVAL,
                         "%s: the export takes requests of at most %" PRIu32
                         " bytes; at least %u are needed",
                         sn->uri, facts->max_block, MAX_MIN_IO);
  if (nothing_is_durable (facts, options->readonly) &&
      !options->unsafe_no_flush)
    return store_refuse (m, -ENOTSUP,
                         "%s: the server can neither flush nor do FUA, so "
                         "nothing written would ever be known to be durable; "
                         "have it offer flush, or use unsafe-no-flush=yes to "
                         "serve it nevertheless, or -r to serve it read-only",
                         sn->uri);
  return 0;
}

static void
fill_geometry (struct store_nbd *sn, bool readonly)
{
  const struct remote_facts *facts = &sn->facts;
  struct store_geometry *geo = &sn->store.geo;

  *geo = (struct store_geometry) {
    .size = facts->size,
    .min_io = facts->min_block < MIN_IO ? MIN_IO : facts->min_block,
    .max_io = remote_max_io (facts),
    .readonly = readonly,
    .rotational = facts->rotational,
    .can_fua = !readonly && facts->fua,
    .can_zero = !readonly && facts->zero,
    .can_fast_zero = !readonly && facts->zero && facts->fast_zero,
    .can_trim = !readonly && facts->zero,
    .can_extents = facts->extents,
  };
  geo->best_io = geo->max_io < BEST_IO ? geo->max_io : BEST_IO;
}

static int
try_to_connect (struct store_nbd *sn, char *why)
{
  struct env *env = sn->store.env;
  uint64_t begun = env->now (env);
  int r = remote_connect (sn, begun + CONNECT_TIMEOUT, -1, &sn->probe, why);

  sn->took = env->now (env) - begun;
  return r;
}

static void
sleep_until (struct env *env, uint64_t deadline)
{
  _Atomic uint32_t never = 0;

  while (env->now (env) < deadline)
    env->wait (env, &never, 0, deadline);
}

/* A server that is not there yet is waited for, if at all, in one line. */
static int
connect_at_start (struct store_nbd *sn, uint64_t patience, char *why)
{
  struct env *env = sn->store.env;
  uint64_t begun = env->now (env), until = begun + patience;
  uint64_t pause = MIN_PAUSE, next;
  int r = try_to_connect (sn, why);

  if (r == 0 || patience == 0)
    return r;
  env_log (env, LOG_ERROR,
           "%s: cannot connect: %s; trying again for %g seconds", sn->uri, why,
           (double) patience / NSEC_PER_SEC);
  while (r < 0 && env->now (env) < until) {
    next = env->now (env) + pause;
    sleep_until (env, next < until ? next : until);
    if (pause < MAX_PAUSE)
      pause *= 2;
    r = try_to_connect (sn, why);
  }
  if (r == 0)
    env_log (env, LOG_INFO, "%s: connected after %" PRIu64 " seconds", sn->uri,
             (env->now (env) - begun) / NSEC_PER_SEC);
  return r;
}

static int
probe (struct store_nbd *sn, uint64_t patience, const struct store_message *m)
{
  char why[WHY_MAX];
  int r = connect_at_start (sn, patience, why);

  if (r < 0)
    return store_refuse (m, r, "%s: cannot connect: %s", sn->uri, why);
  r = remote_learn (sn->probe, &sn->facts, why);
  return r < 0 ? store_refuse (m, r, "%s: %s", sn->uri, why) : 0;
}

/* What of the wishes cannot be had. */
static void
settle_for (struct store_nbd *sn)
{
  const struct remote_facts *facts = &sn->facts;
  struct env *env = sn->store.env;

  if (!facts->multi_conn && sn->connections > 1) {
    env_log (env, LOG_DEBUG,
             "%s: one connection only: the server does not announce "
             "multi-conn",
             sn->uri);
    sn->connections = 1;
  }
  if (facts->tail)
    env_log (env, LOG_ERROR,
             "warning: %s: its last %" PRIu32 " bytes are not served: it has "
             "%" PRIu64 " bytes, and takes requests of %" PRIu32
             " bytes or multiples only",
             sn->uri, facts->tail, facts->size + facts->tail, facts->min_block);
  if (nothing_is_durable (facts, sn->store.geo.readonly))
    env_log (env, LOG_ERROR,
             "warning: %s: the server can neither flush nor do FUA, and "
             "unsafe-no-flush=yes: what clients flush may be lost when the "
             "server goes down",
             sn->uri);
  else if (!facts->flush && !sn->store.geo.readonly)
    env_log (env, LOG_INFO,
             "%s: the server cannot flush: everything is written with FUA",
             sn->uri);
}

int
store_nbd_open (struct env *env, const struct store_nbd_options *options,
                struct store **store, char *err, size_t errlen)
{
  const struct store_message m = { err, errlen };
  struct store_nbd *sn;
  char why[WHY_MAX];
  int r;

  if (!store_nbd_check_uri (options->uri, why, sizeof why))
    return store_refuse (&m, -EINVAL, "%s: %s", options->uri, why);
  sn = new_store (env, options);
  if (sn == NULL)
    return store_refuse (&m, -ENOMEM, "out of memory");
  if ((r = probe (sn, options->patience, &m)) < 0 ||
      (r = check_export (sn, options, &m)) < 0) {
    nbd_store_close (&sn->store);
    return r;
  }
  fill_geometry (sn, options->readonly);
  settle_for (sn);
  *store = &sn->store;
  return 0;
}
