/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Machines that stand still, and the store that they share.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"

#define BLOCKS 512
#define DEPTH 4
#define STOPPED_AT_ONCE 30 /* per mille of the steps */

/* A request that was sent. */
struct job {
  struct model_timer timer;
  struct life *life;
  struct store_req *req;
  bool done; /* on the store */
};

/* --- time --- */

uint64_t
owner_time (struct world *w)
{
  return rng_log (&w->rng, 30 * NSEC_PER_SEC);
}

/* It is stopped, or the machine is suspended, of which only one clock tells. */
static void
stop (struct server *s, uint64_t ns)
{
  struct world *w = s->round->world;

  if (s->round->calm || s->until > w->clock)
    return;
  s->until = w->clock + ns;
  if (world_chance (w, 50))
    s->suspended += ns;
  world_note (w, "stopped", 0, 0, (int64_t) (s - s->round->servers));
}

/* Each step of a thread begins here: it may be long after the last. */
static void
stand_still (struct server *s)
{
  struct world *w = s->round->world;

  if (w->current == NULL)
    return;
  if (world_below (w, 1000) < STOPPED_AT_ONCE)
    stop (s, owner_time (w));
  while (w->clock < s->until)
    world_sleep (w, s->until - w->clock);
}

static uint64_t
server_boottime (struct env *env)
{
  struct server *s = (struct server *) env;

  stand_still (s);
  return s->round->world->clock;
}

static uint64_t
server_now (struct env *env)
{
  struct server *s = (struct server *) env;

  return server_boottime (env) - s->suspended;
}

static void
server_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
             uint64_t deadline)
{
  struct server *s = (struct server *) env;
  struct env *real = &s->round->world->env;

  stand_still (s);
  real->wait (real, word, value,
              deadline == ENV_FOREVER ? deadline : deadline + s->suspended);
  stand_still (s);
}

static void
server_wake (struct env *env, _Atomic uint32_t *word)
{
  struct env *real = &((struct server *) env)->round->world->env;

  real->wake (real, word);
}

static void
server_log (struct env *env, enum log_level level, const char *message)
{
  struct env *real = &((struct server *) env)->round->world->env;

  real->log (real, level, message);
}

/* --- the store --- */

static void pump (struct life *life);

static void
check_sent (const struct life *life, const struct store_req *req)
{
  const struct round *round = life->server->round;

  if (req->op != STORE_READ && atomic_load (&life->store.lease.until) &&
      round->owner != life)
    world_fail (round->world, WORLD_ALL,
                "server %d changes block %" PRIu64 ", which is another's",
                (int) (life->server - round->servers),
                req->offset / THIN_BLOCK);
}

static bool
changes (const struct store_req *req)
{
  return req->op != STORE_READ && req->op != STORE_FLUSH;
}

/* Only the owner's block has a content, and who finds himself there has the image. */
static void
take_effect (struct life *life, const struct store_req *req)
{
  struct round *round = life->server->round;
  const struct thin_owner_block *block =
    (const struct thin_owner_block *) round->owner_block;

  if (req->op == STORE_FLUSH || req->offset != THIN_OWNER * THIN_BLOCK)
    return;
  if (req->op != STORE_READ) {
    memcpy (round->owner_block, req->iov->iov_base, THIN_BLOCK);
    return;
  }
  memcpy (req->iov->iov_base, block, THIN_BLOCK);
  if (memcmp (block->run, life->owner.run, sizeof block->run) == 0)
    round->owner = life;
}

/* The server hears of it when it goes on. */
static void
job_due (void *opaque)
{
  struct job *job = opaque;
  struct life *life = job->life;
  struct server *s = life->server;
  struct world *w = s->round->world;
  struct store_req *req = job->req;

  if (!job->done) {
    take_effect (life, req);
    world_note (w, changes (req) ? "changes, of" : "reads, of", req->offset,
                req->length, (int64_t) (s - s->round->servers));
  }
  job->done = true;
  if (s->until > w->clock) {
    world_timer_set (w, &job->timer, s->until + 1, job_due, job);
    return;
  }
  free (job);
  store_queue_done (&life->queue, req);
  req->done (req, life->dead ? -EIO : 0);
  pump (life);
}

static uint64_t
choose_latency (const struct round *round)
{
  struct world *w = round->world;
  uint64_t ns = round->latency / 2 + world_below (w, round->latency + 1);

  return !round->calm && world_chance (w, 2) ? ns * 20 : ns;
}

static void
send (struct life *life, struct store_req *req)
{
  struct round *round = life->server->round;
  struct job *job = xcalloc (1, sizeof *job);

  check_sent (life, req);
  *job = (struct job) { .life = life, .req = req };
  world_timer_set (round->world, &job->timer,
                   round->world->clock + choose_latency (round), job_due, job);
}

static void
pump (struct life *life)
{
  struct store_req *req;

  if (life->server->until > life->server->round->world->clock)
    return; /* who goes on first sees to it */
  while ((req = store_queue_take (&life->queue)) != NULL)
    send (life, req);
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct life *life = (struct life *) store;
  unsigned i;

  for (i = 0; i < n; i++)
    if (life->dead)
      reqs[i]->done (reqs[i], -EIO);
    else
      store_queue_add (&life->queue, reqs[i]);
  pump (life);
}

static void
resume (struct store *store, int error)
{
  struct life *life = (struct life *) store;
  struct store_list done = { 0 };

  store_queue_resume (&life->queue, error, &done);
  pump (life);
  store_done_call (&done);
}

void
owner_crash (struct life *life)
{
  struct store_req *req;

  life->dead = true;
  atomic_store (&life->store.lease.until, 0);
  resume (&life->store, -EIO);
  while ((req = store_list_take (&life->queue.urgent)) != NULL)
    req->done (req, -EIO);
}

/* --- both --- */

void
owner_env_init (struct env *env)
{
  *env = (struct env) { server_now, server_boottime, server_wait, server_wake,
                        server_log };
}

void
owner_store_init (struct life *life)
{
  static const struct store_ops ops = { .name = "shared",
                                        .submit = submit,
                                        .resume = resume };

  life->store.ops = &ops;
  life->store.env = &life->server->env;
  life->store.geo =
    (struct store_geometry) { .size = BLOCKS * THIN_BLOCK, .can_fua = true };
  store_queue_init (&life->queue, &life->store, DEPTH);
}
