/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Servers that want one thin image, on a store that nothing locks: each of them is stopped
 * or suspended at any moment, for any time, crashes, or lets go of it.  When one has it,
 * no other sends anything that would change the store, but to say that he wants it; and
 * who is never stopped keeps it, unless he lets go.
 *
 * owner [--trace] [SEED [ROUNDS]]
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"

#define DEFAULT_ROUNDS 500
#define ROUND (200 * NSEC_PER_SEC)

static const uint8_t uuid[16] = { 1, 2, 3 };

/* --- a server --- */

/* Also the first thing that happens when it has taken the image. */
static void
ring (void *opaque)
{
  struct life *life = opaque;
  struct server *s = life->server;

  if (atomic_load (&life->owner.taken) && !life->has) {
    world_note (s->round->world, "taken by", 0, 0,
                (int64_t) (s - s->round->servers));
    life->has = true;
  }
  atomic_fetch_add (&life->bell, 1);
  s->env.wake (&s->env, &life->bell);
}

static void
note_lost (struct life *life)
{
  struct server *s = life->server;

  if (s->round->calm)
    world_fail (s->round->world, WORLD_ALL, "it was taken from the living");
  life->lost = true;
  s->lost++;
}

/* Does the loop of this life go on? */
static bool
goes_on (const struct life *life)
{
  return !life->over || !thin_owner_idle (&life->owner) ||
         life->queue.held.head;
}

static uint64_t
step (struct life *life)
{
  struct env *env = life->store.env;

  if (!atomic_load (&life->owner.taken))
    return ENV_FOREVER;
  if (thin_owner_step (&life->owner, env->now (env)) < 0 && !life->lost)
    note_lost (life);
  return thin_owner_deadline (&life->owner);
}

static void
loop (void *opaque)
{
  struct life *life = opaque;
  struct env *env = life->store.env;
  uint64_t deadline;
  uint32_t bell;

  while (goes_on (life)) {
    bell = atomic_load (&life->bell);
    deadline = step (life);
    if (goes_on (life))
      env->wait (env, &life->bell, bell, deadline);
  }
  life->loop_running = false;
  ring (life);
}

static int
change (struct life *life)
{
  struct world *w = life->server->round->world;
  static uint8_t data[THIN_BLOCK];
  struct iovec iov = { data, sizeof data };
  struct store_req req = {
    .op = world_chance (w, 10) ? STORE_FLUSH : STORE_WRITE,
    .offset = (300 + world_below (w, 200)) * THIN_BLOCK,
    .length = sizeof data,
    .iov = &iov,
    .niov = 1,
  };

  return store_submit_wait (&life->store, &req);
}

/* It has the image: until it has not, or does not want it any more. */
static void
use (struct life *life)
{
  struct world *w = life->server->round->world;
  struct env *env = life->store.env;
  uint64_t end = w->clock + owner_time (w);

  while (w->clock < end && !life->lost && change (life) == 0)
    if (world_chance (w, 20))
      env_sleep (env, env->now (env) + rng_log (&w->rng, 5 * NSEC_PER_SEC));
  if (!life->server->round->calm && world_chance (w, 30))
    owner_crash (life);
  else
    (void) thin_owner_release (&life->owner);
}

static void
begin (struct server *s)
{
  struct life *life = &s->life;

  *life = (struct life) { .server = s, .loop_running = true };
  owner_store_init (life);
  life->owner.ring = ring;
  life->owner.opaque = life;
  fiber_start (s->round->world, "loop", loop, life);
}

static void
end (struct life *life)
{
  struct env *real = &life->server->round->world->env;
  uint32_t bell;

  life->over = true;
  ring (life);
  while (bell = atomic_load (&life->bell),
         life->loop_running || life->queue.in_flight > 0)
    real->wait (
      real, &life->bell, bell,
      life->loop_running ? ENV_FOREVER : real->now (real) + NSEC_PER_SEC);
  thin_owner_destroy (&life->owner);
}

static void
serve (void *opaque)
{
  struct server *s = opaque;
  struct world *w = s->round->world;
  char text[200];
  const struct store_message why = { text, sizeof text };
  int r;

  while (w->clock < ROUND) {
    world_sleep (w, owner_time (w) / 4);
    begin (s);
    r = thin_owner_take (&s->life.owner, &s->life.store, uuid, &why);
    if (r == 0)
      use (&s->life);
    s->taken += r == 0;
    s->refused += r == -EBUSY;
    if (r < 0 && r != -EBUSY)
      world_fail (w, WORLD_ALL, "%s", text);
    end (&s->life);
  }
  s->round->running--;
}

/* --- a round --- */

static void
add_up (const struct round *round, unsigned *sum)
{
  unsigned i, taken = 0;

  for (i = 0; i < SERVERS; i++) {
    taken += round->servers[i].taken;
    sum[1] += round->servers[i].refused;
    sum[2] += round->servers[i].lost;
  }
  if (taken == 0)
    world_fail (round->world, WORLD_ALL, "nobody ever had it");
  sum[0] += taken;
}

static uint64_t
run (uint64_t seed, bool trace, unsigned *sum)
{
  struct round *round = xcalloc (1, sizeof *round);
  struct world *w = world_create (seed, trace);
  uint64_t hash;
  unsigned i;

  round->world = w;
  round->calm = world_chance (w, 20);
  round->latency =
    rng_log (&w->rng, round->calm || world_chance (w, 50) ? 50 * NSEC_PER_MSEC
                                                          : NSEC_PER_SEC);
  round->running = SERVERS;
  for (i = 0; i < SERVERS; i++) {
    struct server *s = &round->servers[i];

    owner_env_init (&s->env);
    s->round = round;
    fiber_start (w, "server", serve, s);
  }
  while (round->running > 0 || fiber_count (w) > 0)
    world_turn (w);
  add_up (round, sum);
  hash = w->hash;
  world_destroy (w);
  free (round);
  return hash;
}

int
main (int argc, char **argv)
{
  uint64_t seed = 1, rounds = DEFAULT_ROUNDS, i, hash = 0;
  bool trace = argc > 1 && strcmp (argv[1], "--trace") == 0;
  unsigned sum[3] = { 0 };

  argc -= trace;
  argv += trace;
  if (argc > 1)
    seed = strtoull (argv[1], NULL, 0);
  if (argc > 2)
    rounds = strtoull (argv[2], NULL, 0);
  else if (argc > 1)
    rounds = 1;
  printf ("owner: from seed %" PRIu64 "\n", seed);
  fflush (stdout);
  for (i = 0; i < rounds; i++)
    hash += run (seed + i, trace, sum);
  fiber_free_stacks ();
  printf ("%" PRIu64 " rounds: taken %u times, refused %u, overtaken %u; hash "
          "%016" PRIx64 "\n",
          rounds, sum[0], sum[1], sum[2], hash);
  return 0;
}
