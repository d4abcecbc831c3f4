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

#include "cache/request/mapping.h"
#include "fs/raw/raw-impl.h"
#include "fs/thin/thin.h"
#include "tests/sim/model-oracle.h"
#include "tests/sim/race-thin.h"
#include "tests/sim/shuffle.h"
#include "tests/unit/fake-store.h"

#define THREADS 6
#define DISK (512u << 10)
#define MAX_LEN (64u << 10)

enum format { RAW, SHUFFLE, THIN };

struct round {
  struct world *world;
  pthread_mutex_t lock; /* of what follows */
  struct oracle *oracle;

  struct rng rng;
  unsigned ops; /* of each thread */
  enum format format;
  bool tight; /* thin: the store has no room for all of the disk */
  bool losses, faults, forgetful, hang_ups;
  uint64_t hot, hot_size;
  unsigned zeroes; /* percent of changes */
  struct mapping_config config;
  struct fake_store *fake;
  struct mapping *mapping;
};

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
make_config (struct mapping_config *config, struct rng *rng)
{
  static const enum cache_mode modes[] = { CACHE_WRITEBACK, CACHE_WRITEBACK,
                                           CACHE_WRITEBACK, CACHE_WRITETHROUGH,
                                           CACHE_NONE };

  *config = (struct mapping_config) {
    .mode = modes[rng_below (rng, 5)],
    .folio_max_order = (unsigned) rng_below (rng, 7),
    .dirty_limit = (32u << 10) << rng_below (rng, 5),
    .dirty_background = (8u << 10) << rng_below (rng, 3),
    .dirty_expire = NSEC_PER_MSEC * (1 + rng_below (rng, 50)),
    .writeback_interval = NSEC_PER_MSEC * (1 + rng_below (rng, 50)),
    .readahead = rng_chance (rng, 50) ? 256u << 10 : 0,
    .sequential_cutoff = rng_chance (rng, 30) ? 16u << 10 : 0,
    .io_depth = 1 + (unsigned) rng_below (rng, 32),
    .flush_target = NSEC_PER_MSEC * rng_below (rng, 200),
  };
}

static void
inject_faults (struct round *round)
{
  static const enum store_op ops[] = { STORE_WRITE, STORE_FLUSH, STORE_ZERO,
                                       STORE_TRIM };
  struct fake_rule rule;
  unsigned i;

  fake_store_lossy (round->fake, rng_next (&round->rng) | 1);
  for (i = 0; i < 24; i++) {
    rule = (struct fake_rule) {
      .op = ops[i % 4],
      .error = rng_chance (&round->rng, 80) ? -EIO : -ENOSPC,
      .skip = (unsigned) rng_below (&round->rng, 300),
      .count = 1 + (unsigned) rng_below (&round->rng, 8),
    };
    if (rule.op == STORE_FLUSH)
      rule.error = -EIO;
    else if (rng_chance (&round->rng, 50)) {
      rule.offset = rng_below (&round->rng, DISK) / 512 * 512;
      rule.length = 512u << rng_below (&round->rng, 6);
    }
    fake_store_fail (round->fake, &rule);
  }
}

static void
make_store (struct round *round, struct env *env)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_ZERO,
                                       STORE_TRIM, STORE_FLUSH };
  struct rng *rng = &round->rng;
  struct store_geometry *geo;
  unsigned i;

  round->fake =
    round->format == THIN
      ? race_thin_create (env, rng, DISK, round->tight)
      : fake_store_create (
          env, round->format == SHUFFLE ? shuffle_store_size (DISK) : DISK);
  geo = &round->fake->store.geo;
  geo->min_io = rng_chance (rng, 60) ? 512 : 4096;
  geo->can_fua = rng_chance (rng, 50);
  geo->can_zero = rng_chance (rng, 80);
  geo->can_trim = rng_chance (rng, 80);
  geo->can_extents = rng_chance (rng, 80);
  fake_store_volatile (round->fake);
  for (i = 0; i < 5; i++)
    if (rng_chance (rng, 60))
      fake_store_latency (round->fake, ops[i], rng_below (rng, 300) * 1000,
                          false);
  if (round->format == RAW)
    fake_store_set_status (round->fake, 0, DISK, STORE_HOLE);
}

static void
make_round (struct round *round, struct env *env)
{
  struct rng *rng = &round->rng;
  bool direct;

  if (round->format == RAW && rng_chance (rng, 40))
    round->format = SHUFFLE;
  make_config (&round->config, rng);
  round->tight = round->format == THIN && rng_chance (rng, 10);
  make_store (round, env);
  direct = round->config.mode == CACHE_NONE || round->config.sequential_cutoff;
  round->ops = 100 + (unsigned) rng_below (rng, 200);
  round->losses = rng_chance (rng, 50);
  /* What a flush that fails has lost where data moves, something else is read there,
   * before anybody knows.
   */
  round->faults = rng_chance (rng, 40) && !(round->format != RAW && direct);
  round->hang_ups = rng_chance (rng, 30);
  round->forgetful = direct && (round->losses || round->faults);
  round->hot = rng_below (rng, DISK) / 4096 * 4096;
  round->hot_size = (16u << 10) << rng_below (rng, 4);
  round->zeroes = rng_chance (rng, 50) ? 50 : 15;
  oracle_set_threads (round->oracle);
  oracle_watch (round->oracle, &round->fake->lost);
}

/* So few zeroes may be pending that there is often no room for more. */
static void
shrink_pending (struct fs *fs, struct rng *rng)
{
  struct pending *p = &((struct raw *) fs)->zeroes.pending;
  size_t n;

  p->max = 8 + rng_below (rng, 24);
  TAILQ_INIT (&p->unused);
  for (n = 0; n < p->max + 4; n++)
    TAILQ_INSERT_TAIL (&p->unused, &p->nodes[n], entry);
}

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

static struct fs *
open_fs (struct round *round)
{
  struct store *store = &round->fake->store;
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  struct fs *fs;
  int r;

  switch (round->format) {
  case SHUFFLE:
    r = shuffle_open (store, DISK, rng_next (&round->rng), &fs);
    break;
  case THIN: r = thin_open (store, NULL, &fs, &why); break;
  default: r = raw_open (store, &fs);
  }
  if (r < 0)
    die ("cannot open the disk: %s", text);
  return fs;
}

/* What a disk that is opened on the store holds. */
static void
read_disk (struct round *round, uint8_t *buf)
{
  struct iomap_iter iter;
  struct fs *fs;
  uint64_t n;

  if (round->format == RAW) {
    memcpy (buf, round->fake->content, DISK);
    return;
  }
  fs = open_fs (round);
  iomap_iter_init (&iter, fs, 0, DISK, 0);
  while (iomap_iter_next (&iter) > 0) {
    n = iomap_iter_length (&iter);
    if (iter.iomap.type == IOMAP_MAPPED)
      memcpy (buf + iter.pos,
              round->fake->content + iomap_iter_addr (&iter, iter.pos), n);
    iter.processed = n;
  }
  fs->ops->close (fs);
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
    read_disk (round, buf);
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
  make_round (&round, env);
  fs = open_fs (&round);
  if (round.format == RAW && rng_chance (&round.rng, 30))
    shrink_pending (fs, &round.rng);
  if (cache_create (env, (1u << 20) << rng_below (&round.rng, 2), &cache) < 0 ||
      mapping_create (cache, fs, &round.config, &round.mapping) < 0 ||
      cache_start (cache) < 0 || mapping_start (round.mapping) < 0 ||
      fs_ready (fs) < 0)
    die ("cannot start");
  if (round.faults)
    inject_faults (&round);
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
