/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in a model world.
 */

#include <errno.h>
#include <stdlib.h>

#include "model-store-impl.h"

#define MAX_RUNS 32 /* reported by one block_status */

static struct model_store *
model_store_of (struct store *store)
{
  return (struct model_store *) store; /* its first member */
}

static const char *
op_name (enum store_op op)
{
  static const char *const names[] = {
    [STORE_READ] = "  store reads",    [STORE_WRITE] = "  store writes",
    [STORE_ZERO] = "  store zeroes",   [STORE_TRIM] = "  store trims",
    [STORE_FLUSH] = "  store flushes",
  };

  return names[op];
}

/* --- queue --- */

static void
append (struct model_job **list, struct model_job *job)
{
  while (*list)
    list = &(*list)->next;
  job->next = NULL;
  *list = job;
}

static void
take_out (struct model_job **list, struct model_job *job)
{
  while (*list != job)
    list = &(*list)->next;
  *list = job->next;
}

static void start_jobs (struct model_store *s);

static void
complete (struct model_job *job, int error)
{
  struct store_req *req = job->req;
  struct env *env = &job->store->world->env;

  if (job->awaited) {
    job->error = error;
    atomic_store (&job->over, 1);
    env->wake (env, &job->over);
    return;
  }
  world_note (job->store->world, op_name (req->op), req->offset, req->length,
              error);
  free (job);
  req->done (req, error);
}

static void
job_due (void *opaque)
{
  struct model_job *job = opaque;
  struct model_store *s = job->store;
  int error = model_carry_out (s, job);

  take_out (&s->running, job);
  s->nr_running--;
  start_jobs (s);
  complete (job, error);
}

/* How long a request is with the store, apart from the transfer. */
static uint64_t
choose_latency (struct model_store *s, enum store_op op)
{
  uint64_t base = s->config.latency[op];
  uint64_t ns = base / 2 + world_below (s->world, base + base / 2 + 1);

  return world_chance (s->world, 2) ? ns * 20 : ns;
}

static void
start_job (struct model_store *s, struct model_job *job)
{
  struct world *w = s->world;
  uint64_t begin = s->pipe_free > w->clock ? s->pipe_free : w->clock;

  if (job->req->op == STORE_READ || job->req->op == STORE_WRITE)
    begin += job->req->length * NSEC_PER_SEC / s->config.bandwidth;
  if (begin > w->clock)
    s->pipe_free = begin;
  if (s->medium == NULL || s->given_up)
    begin = w->clock;
  append (&s->running, job);
  s->nr_running++;
  world_timer_set (w, &job->timer, begin + choose_latency (s, job->req->op),
                   job_due, job);
}

/* Start what there is room for. */
static void
start_jobs (struct model_store *s)
{
  struct model_job *job;

  while (s->queue && s->nr_running < s->config.depth &&
         (!s->down || s->given_up || s->medium == NULL)) {
    job = s->queue;
    s->queue = job->next;
    start_job (s, job);
  }
}

static struct model_job *
new_job (struct model_store *s, struct store_req *req)
{
  struct model_job *job = xcalloc (1, sizeof *job);

  job->store = s;
  job->req = req;
  if (s->medium)
    job->seq = s->medium->seq;
  return job;
}

/* The fiber that submits it waits for it. */
static void
accept_awaited (struct model_store *s, struct store_req *req)
{
  struct model_job *job = new_job (s, req);
  struct env *env = &s->world->env;

  job->awaited = true;
  append (&s->queue, job);
  start_jobs (s);
  while (atomic_load (&job->over) == 0)
    env->wait (env, &job->over, 0, ENV_FOREVER);
  job->awaited = false;
  complete (job, job->error);
}

static void
accept (struct model_store *s, struct store_req *req)
{
  struct model_job *job = new_job (s, req);
  struct world *w = s->world;

  if (!s->down && s->queue == NULL && s->nr_running < s->config.depth &&
      world_chance (w, s->config.instant)) {
    complete (job, model_carry_out (s, job));
    return;
  }
  append (&s->queue, job);
  start_jobs (s);
}

/* --- the store's operations --- */

static int
attach (struct store *store, struct ev_loop *loop)
{
  (void) store;
  (void) loop;
  return 0;
}

static void
detach (struct store *store)
{
  struct model_store *s = model_store_of (store);

  if (s->queue || s->running)
    world_fail (s->world, WORLD_ALL, "detached with requests under way");
}

/* Is it one that fs/store.h allows? */
static void
check_request (const struct model_store *s, const struct store_req *req)
{
  const struct store_geometry *geo = &s->store.geo;
  uint64_t end = req->offset + req->length;

  if (req->op == STORE_FLUSH)
    return;
  if (req->length == 0 || req->offset % geo->min_io ||
      (req->length % geo->min_io && end != geo->size))
    world_fail (s->world, req->offset / MEDIUM_SECTOR,
                "%s: %llu bytes at %llu, though min_io is %u",
                op_name (req->op), (unsigned long long) req->length,
                (unsigned long long) req->offset, geo->min_io);
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct model_store *s = model_store_of (store);
  struct world *w = s->world;
  unsigned i;

  for (i = 0; i < n; i++) {
    check_request (s, reqs[i]);
    if ((reqs[i]->flags & STORE_AWAITED) && world_chance (w, 50))
      accept_awaited (s, reqs[i]);
    else
      accept (s, reqs[i]);
  }
  if (world_chance (w, 20))
    world_yield (w);
}

/* What is known at one moment, told some time later. */
static int
block_status (struct store *store, uint64_t offset, uint64_t length,
              store_extent_fn *fn, void *opaque)
{
  struct model_store *s = model_store_of (store);
  enum store_extent types[MAX_RUNS];
  uint64_t lengths[MAX_RUNS], pos = offset;
  unsigned i, n = 0;

  world_sleep (s->world, choose_latency (s, STORE_READ) / 2 + 1);
  while (s->down && !s->given_up && s->medium)
    world_sleep (s->world, 10 * NSEC_PER_MSEC);
  if (s->medium == NULL || s->given_up)
    return -EHOSTDOWN;
  while (pos < offset + length && pos < store->geo.size && n < MAX_RUNS) {
    types[n] = medium_extent (s->medium, pos, &lengths[n]);
    pos += lengths[n++];
  }
  world_sleep (s->world, choose_latency (s, STORE_READ) / 2 + 1);
  for (i = 0, pos = offset; i < n; i++) {
    fn (opaque, pos, lengths[i], types[i]);
    pos += lengths[i];
  }
  return 0;
}

static void
close_store (struct store *store)
{
  struct model_store *s = model_store_of (store);

  world_timer_cancel (s->world, &s->back);
  world_timer_cancel (s->world, &s->give_up);
  free (s);
}

static const struct store_ops model_ops = {
  .name = "model",
  .attach = attach,
  .detach = detach,
  .submit = submit,
  .block_status = block_status,
  .close = close_store,
};

struct model_store *
model_store_create (struct world *world, struct medium *medium,
                    const struct model_store_config *config)
{
  struct model_store *s = xcalloc (1, sizeof *s);

  s->store.ops = &model_ops;
  s->store.geo = config->geo;
  s->store.geo.size = medium->size;
  s->store.env = &world->env;
  s->world = world;
  s->medium = medium;
  s->config = *config;
  return s;
}

/* --- disasters --- */

static void
interrupt_jobs (struct model_store *s)
{
  struct model_job *job;

  for (job = s->running; job; job = job->next)
    if (world_chance (s->world, 80))
      model_take_some_effect (s, job->req);
  medium_cut (s->medium);
}

void
model_store_cut (struct model_store *s)
{
  world_note (s->world, "POWER IS CUT", 0, 0, 0);
  if (!s->down)
    interrupt_jobs (s);
  s->medium = NULL;
  start_jobs (s);
}

static void
tell_changed (struct model_store *s)
{
  if (s->store.changed)
    s->store.changed (s->store.opaque);
}

static void
back (void *opaque)
{
  struct model_store *s = opaque;
  bool gave_up = s->given_up;

  world_note (s->world, "  the store is back", 0, 0, 0);
  s->down = s->given_up = false;
  start_jobs (s);
  if (gave_up)
    tell_changed (s);
}

static void
give_up (void *opaque)
{
  struct model_store *s = opaque;

  world_note (s->world, "  the store is given up", 0, 0, 0);
  s->given_up = true;
  start_jobs (s);
}

/* Those under way wait again, before the others; a flush has failed. */
static void
return_jobs (struct model_store *s)
{
  struct model_job *job, *again = NULL, *flushes = NULL;

  while ((job = s->running) != NULL) {
    world_timer_cancel (s->world, &job->timer);
    job->spent = false;
    take_out (&s->running, job);
    append (job->req->op == STORE_FLUSH ? &flushes : &again, job);
  }
  s->nr_running = 0;
  while ((job = s->queue) != NULL) {
    take_out (&s->queue, job);
    append (&again, job);
  }
  s->queue = again;
  while ((job = flushes) != NULL) {
    take_out (&flushes, job);
    complete (job, -ECONNRESET);
  }
}

void
model_store_restart (struct model_store *s, uint64_t ns, uint64_t patience)
{
  struct world *w = s->world;

  if (s->down || s->medium == NULL)
    return;
  world_note (w, "THE STORE RESTARTS", 0, 0, (int64_t) ns);
  interrupt_jobs (s);
  s->down = true;
  s->pipe_free = 0;
  s->lost++;
  atomic_fetch_add (&s->store.losses, 1);
  world_timer_set (w, &s->back, w->clock + ns, back, s);
  if (patience < ns)
    world_timer_set (w, &s->give_up, w->clock + patience, give_up, s);
  return_jobs (s);
  tell_changed (s);
}
