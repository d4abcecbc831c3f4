/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads that read, write, zero, trim and flush the same few sectors at the same
 * time, cached, past the cache and with FUA, over a store in memory that fails, and
 * loses what was not flushed; some hang up meanwhile.  The oracle of the power cuts
 * (model-oracle.h) says what each may read, and what must be on the store when power is
 * cut at the end of a round.  Where stress.c knows exactly what there is, since nobody
 * has a byte in common with another, this is about those who have.
 *
 *   race [--thin] [SEED [ROUNDS]]
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/race-thin.h"
#include "tests/sim/race.h"

#define THREADS 6

struct worker {
  struct round *round;
  struct rng rng;
  struct conn *conn;
  _Atomic bool gone; /* its client */
  struct oracle_told told;
  uint64_t offset, length, begun;
  uint8_t *buf;
  pthread_t thread;
};

static struct worker workers[THREADS];

static uint64_t
moment (struct round *round)
{
  uint64_t now;

  pthread_mutex_lock (&round->lock);
  now = oracle_moment (round->oracle);
  pthread_mutex_unlock (&round->lock);
  return now;
}

/* Only faults, and losses of what there is no copy of, excuse an error. */
static void
check_error (struct worker *w, const char *what, int r)
{
  struct round *round = w->round;
  bool ok = r == 0 || (r == -ECONNABORTED && round->hang_ups) ||
            (r == -EIO && (round->faults || round->forgetful)) ||
            (r == -ENOSPC && (round->faults || round->tight));

  if (ok)
    return;
  pthread_mutex_lock (&round->lock);
  world_fail (round->world, WORLD_ALL, "%s: %s", what, strerror (-r));
}

static void
choose_range (struct worker *w)
{
  static const uint64_t aligns[] = { 1, 512, 4096, 4096 };
  uint64_t align = aligns[rng_below (&w->rng, 4)];

  w->offset = rng_chance (&w->rng, 85)
                ? w->round->hot + rng_below (&w->rng, w->round->hot_size)
                : rng_below (&w->rng, DISK);
  w->offset = w->offset % DISK / align * align;
  w->length = rng_log (&w->rng, MAX_LEN);
  w->length = w->length > align ? w->length / align * align : align;
  if (w->length > DISK - w->offset)
    w->length = DISK - w->offset;
}

static void
do_read (struct worker *w)
{
  struct round *round = w->round;
  int r;

  choose_range (w);
  w->begun = moment (round);
  r = cache_read (w->conn, w->buf, (uint32_t) w->length, w->offset);
  check_error (w, "a read fails", r);
  if (r < 0)
    return;
  pthread_mutex_lock (&round->lock);
  oracle_read (round->oracle, w->buf, w->offset, w->length, w->begun);
  pthread_mutex_unlock (&round->lock);
}

/* Will a write of the range go past the cache? */
static bool
goes_past (const struct worker *w)
{
  const struct mapping_config *config = &w->round->config;
  struct streams streams = w->conn->streams; /* a copy to be asked */

  return config->mode == CACHE_NONE ||
         (config->sequential_cutoff &&
          streams_note (&streams, w->offset, w->length) >=
            config->sequential_cutoff);
}

static void
do_change (struct worker *w)
{
  struct round *round = w->round;
  bool zero = rng_chance (&w->rng, round->zeroes);
  unsigned fua = rng_chance (&w->rng, 15) ? CACHE_FUA : 0;
  struct oracle_write *write;
  int r;

  choose_range (w);
  pthread_mutex_lock (&round->lock);
  write = oracle_begin (round->oracle, w->offset, w->length, zero, fua != 0);
  oracle_fill (write, w->buf);
  if (!zero && goes_past (w))
    oracle_past (round->oracle, write, round->mapping->fs->block_size);
  pthread_mutex_unlock (&round->lock);
  if (!zero)
    r = cache_write (w->conn, w->buf, (uint32_t) w->length, w->offset, fua);
  else if (rng_chance (&w->rng, 50))
    r = cache_trim (w->conn, w->length, w->offset, fua);
  else
    r = cache_zero (w->conn, w->length, w->offset,
                    fua | (rng_chance (&w->rng, 50) ? CACHE_MAY_TRIM : 0));
  check_error (w, zero ? "a zero fails" : "a write fails", r);
  pthread_mutex_lock (&round->lock);
  oracle_end (round->oracle, write, r);
  pthread_mutex_unlock (&round->lock);
}

static void
do_flush (struct worker *w)
{
  struct round *round = w->round;
  struct oracle_flush flush = { .begun = moment (round),
                                .own = w->told,
                                .others = w->told };
  int r = cache_flush (w->conn);

  check_error (w, "a flush fails", r);
  pthread_mutex_lock (&round->lock);
  world_note (round->world, r < 0 ? "flush has failed" : "flushed", 0, 0,
              (int64_t) flush.begun);
  if (r == 0)
    oracle_flushed (round->oracle, &flush);
  else
    oracle_told (round->oracle, &w->told);
  pthread_mutex_unlock (&round->lock);
}

/* Whatever reads as zero must be allowed to be. */
static bool
see_extent (void *opaque, uint64_t offset, uint64_t length, bool hole,
            bool zero)
{
  static const uint8_t zeroes[DISK];
  struct worker *w = opaque;

  (void) hole;
  if (zero)
    oracle_read (w->round->oracle, zeroes, offset, length, w->begun);
  return true;
}

static bool
is_gone (void *opaque)
{
  struct worker *w = opaque;

  return atomic_load (&w->gone);
}

static void
connect_client (struct worker *w)
{
  if (conn_create (w->round->mapping, &w->conn) < 0)
    die ("out of memory");
  atomic_store (&w->gone, false);
  conn_set_gone (w->conn, is_gone, w);
}

/* Another client comes in the place of one that has hung up.  Others may have been told
 * in its place of what was lost before.
 */
static void
see_hang_up (struct worker *w)
{
  struct round *round = w->round;

  if (!atomic_load (&w->gone))
    return;
  conn_destroy (w->conn);
  connect_client (w);
  pthread_mutex_lock (&round->lock);
  oracle_told (round->oracle, &w->told);
  pthread_mutex_unlock (&round->lock);
}

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  struct round *round = w->round;
  unsigned i;

  for (i = 0; i < round->ops; i++) {
    if (round->losses && rng_chance (&w->rng, 2))
      fake_store_lose (round->fake, rng_next (&w->rng));
    if (round->hang_ups && rng_chance (&w->rng, 2))
      atomic_store (&workers[rng_below (&w->rng, THREADS)].gone, true);
    switch (rng_below (&w->rng, 16)) {
    case 0: do_flush (w); break;
    case 1: cache_prefetch (w->conn, DISK / 4, DISK / 3); break;
    case 2 ... 9: do_change (w); break;
    default: do_read (w);
    }
    see_hang_up (w);
  }
  return NULL;
}

/* --- one round --- */

static void
run_workers (struct round *round)
{
  unsigned i;

  for (i = 0; i < THREADS; i++) {
    struct worker *w = &workers[i];

    *w = (struct worker) { .round = round,
                           .rng = { rng_next (&round->rng) },
                           .buf = xcalloc (1, MAX_LEN) };
    connect_client (w);
  }
  for (i = 0; i < THREADS; i++)
    if (pthread_create (&workers[i].thread, NULL, work, &workers[i]) != 0)
      die ("pthread_create failed");
  for (i = 0; i < THREADS; i++)
    pthread_join (workers[i].thread, NULL);
}

static void
ask_extents (struct round *round, struct worker *w)
{
  pthread_mutex_lock (&round->lock);
  w->begun = oracle_moment (round->oracle);
  cache_extents (w->conn, DISK, 0, see_extent, w);
  pthread_mutex_unlock (&round->lock);
}

static void
end_workers (struct round *round)
{
  unsigned i;

  fake_store_heal (round->fake);
  for (i = 0; i < THREADS; i++) {
    struct worker *w = &workers[i];

    do_flush (w);
    do_flush (w);
    if (i == 0)
      ask_extents (round, w);
    conn_destroy (w->conn);
    free (w->buf);
  }
}

/* What the store has when power is cut; of what was lost all have been told. */
static void
check_store (struct round *round)
{
  uint8_t *buf = xcalloc (1, DISK);
  struct oracle_flush flush = { .begun = oracle_moment (round->oracle) };

  while (mapping_sync (round->mapping, NULL, NULL) < 0)
    ;
  oracle_told (round->oracle, &flush.own);
  flush.others = flush.own;
  oracle_flushed (round->oracle, &flush);
  if (round->format == THIN)
    race_thin_crash (round->world, round->fake, rng_next (&round->rng), DISK,
                     buf);
  else {
    fake_store_crash (round->fake, rng_next (&round->rng));
    round_read_disk (round, buf);
  }
  oracle_survived (round->oracle, buf, 0, DISK);
  free (buf);
}

static void
run_round (uint64_t seed, struct env *env, bool thin)
{
  struct round round = { .rng = { mix64 (seed) }, .format = thin ? THIN : RAW };
  struct cache *cache;
  struct fs *fs;

  round.world = world_create (seed, false);
  round.oracle = oracle_create (round.world, DISK);
  pthread_mutex_init (&round.lock, NULL);
  round_make (&round, env);
  fs = round_open_fs (&round);
  if (round.format == RAW && rng_chance (&round.rng, 30))
    round_shrink_pending (&round, fs);
  if (cache_create (env, (1u << 20) << rng_below (&round.rng, 2), &cache) < 0 ||
      mapping_create (cache, fs, &round.config, &round.mapping) < 0 ||
      cache_start (cache) < 0 || mapping_start (round.mapping) < 0 ||
      fs_ready (fs) < 0)
    die ("cannot start");
  if (round.faults)
    round_inject_faults (&round);
  run_workers (&round);
  end_workers (&round);
  check_store (&round);
  mapping_destroy (round.mapping);
  cache_destroy (cache);
  fs->ops->close (fs);
  round.fake->store.ops->close (&round.fake->store);
  oracle_destroy (round.oracle);
  world_destroy (round.world);
  pthread_mutex_destroy (&round.lock);
}

static void
quiet (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  (void) level;
  (void) message;
}

int
main (int argc, char **argv)
{
  bool thin = argc > 1 && strcmp (argv[1], "--thin") == 0;
  uint64_t seed, rounds, i;
  struct env env;

  argc -= thin;
  argv += thin;
  seed = argc > 1 ? strtoull (argv[1], NULL, 0) : (uint64_t) time (NULL);
  rounds = argc > 2 ? strtoull (argv[2], NULL, 0) : 20;
  env_init (&env);
  env.log = quiet;
  for (i = 0; i < rounds; i++) {
    printf ("seed %llu\n", (unsigned long long) (seed + i));
    fflush (stdout);
    run_round (seed + i, &env, thin);
  }
  printf ("%llu rounds, all well\n", (unsigned long long) rounds);
  return 0;
}
