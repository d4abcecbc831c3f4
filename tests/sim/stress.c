/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads on one mapping, over a store in memory that is slow, fails now
 * and then, and loses what was not flushed: when a flush fails, without saying
 * so but for a count, and when its power is cut.
 *
 * The disk is cut into pieces of odd lengths, dealt out to the threads, so that
 * neighbours share sectors and folios; each thread knows exactly what its own
 * pieces hold.  At the end of a round all is flushed, the power is cut, and the
 * store must hold every byte.
 *
 * Of what was written past the cache there is no copy: if a store may lose that,
 * a thread that sees old data must be told by its next flush.
 *
 *   stress [SEED [ROUNDS]]
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/request/mapping.h"
#include "fs/raw/raw.h"
#include "tests/sim/shuffle.h"
#include "tests/unit/fake-store.h"

#define DISK_MAX (6u << 20)
#define THREADS 6
#define MAX_PIECES 4096
#define MAX_LEN (384u << 10)

struct piece {
  uint32_t start, length;
};

struct round {
  uint64_t seed;
  uint32_t disk;
  unsigned ops;   /* of each thread */
  bool faults;    /* requests fail */
  bool losses;    /* the store loses what it has not flushed */
  bool shuffle;   /* the format, not raw */
  bool forgetful; /* and that may have no copy in the cache */
  struct mapping_config config;
  struct fake_store *fake;
  struct mapping *mapping;
  struct piece pieces[MAX_PIECES];
  unsigned nr_pieces;
  uint8_t shadow[DISK_MAX];
};

struct worker {
  struct round *round;
  unsigned number;
  uint64_t random;
  struct conn *conn;
  bool owed; /* a loss was seen that no flush has told of yet */
  uint8_t *buf;
  pthread_t thread;
};

/* Vigna's splitmix64. */
static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = *state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static uint32_t
below (uint64_t *state, uint32_t n)
{
  return (uint32_t) (next_random (state) % n);
}

static void __attribute__ ((noreturn))
fail (const struct round *round, const char *what, uint64_t offset, int error)
{
  printf ("FAIL: seed %llu: %s at byte %llu: %s\n",
          (unsigned long long) round->seed, what, (unsigned long long) offset,
          strerror (error));
  exit (1);
}

/* --- one thread --- */

/* A range in one of the worker's pieces, often small, often aligned. */
static void
choose_range (struct worker *w, uint32_t *offset, uint32_t *count)
{
  struct round *round = w->round;
  struct piece *piece;
  uint32_t mine = (round->nr_pieces - w->number + THREADS - 1) / THREADS;

  piece = &round->pieces[below (&w->random, mine) * THREADS + w->number];
  *offset = below (&w->random, piece->length);
  *count = below (&w->random, piece->length - *offset) + 1;
  if (below (&w->random, 3) && *count > 6000)
    *count = below (&w->random, 6000) + 1;
  *offset += piece->start;
}

static void
do_read (struct worker *w)
{
  uint32_t offset, count, i;
  int r;

  choose_range (w, &offset, &count);
  r = cache_read (w->conn, w->buf, count, offset);
  if (r < 0)
    fail (w->round, "read", offset, -r);
  for (i = 0; i < count; i++)
    if (w->buf[i] != w->round->shadow[offset + i]) {
      if (!w->round->forgetful)
        fail (w->round, "wrong data read", offset + i, 0);
      w->owed = true;
      w->round->shadow[offset + i] = w->buf[i];
    }
}

/* Only faults excuse an error. */
static void
check_error (struct worker *w, const char *what, uint64_t offset, int r)
{
  if (r < 0 && !(w->round->faults && r == -ENOSPC) &&
      !((w->round->faults || w->round->forgetful) && r == -EIO))
    fail (w->round, what, offset, -r);
}

/* A change has failed: because it is not durable, or before all of it was made.
 * What is there now has to stay.
 */
static void
accept (struct worker *w, uint32_t offset, uint32_t count)
{
  int r = cache_read (w->conn, &w->round->shadow[offset], count, offset);

  if (r < 0)
    fail (w->round, "read", offset, -r);
}

static unsigned
maybe_fua (struct worker *w)
{
  return below (&w->random, 8) ? 0 : CACHE_FUA;
}

static void
do_write (struct worker *w)
{
  uint32_t offset, count, i;
  int r;

  choose_range (w, &offset, &count);
  for (i = 0; i < count; i++)
    w->buf[i] = (uint8_t) next_random (&w->random);
  r = cache_write (w->conn, w->buf, count, offset, maybe_fua (w));
  check_error (w, "write", offset, r);
  if (r < 0)
    accept (w, offset, count);
  else
    memcpy (&w->round->shadow[offset], w->buf, count);
}

static void
do_zero (struct worker *w)
{
  uint32_t offset, count;
  int r;

  choose_range (w, &offset, &count);
  if (below (&w->random, 2))
    r =
      cache_zero (w->conn, count, offset,
                  maybe_fua (w) | (below (&w->random, 2) ? CACHE_MAY_TRIM : 0));
  else
    r = cache_trim (w->conn, count, offset, maybe_fua (w));
  check_error (w, "zero or trim", offset, r);
  if (r < 0)
    accept (w, offset, count);
  else
    memset (&w->round->shadow[offset], 0, count);
}

/* What was lost is the truth now. */
static void
accept_all (struct worker *w)
{
  struct round *round = w->round;
  unsigned i;

  for (i = w->number; i < round->nr_pieces; i += THREADS)
    accept (w, round->pieces[i].start, round->pieces[i].length);
}

static void
do_flush (struct worker *w)
{
  int r = cache_flush (w->conn);

  check_error (w, "flush", 0, r);
  if (!w->round->forgetful)
    return;
  if (r == 0 && w->owed)
    fail (w->round, "nobody told of a loss", 0, 0);
  if (r < 0) {
    accept_all (w);
    w->owed = false;
  }
}

static bool
see_extent (void *opaque, uint64_t offset, uint64_t length, bool hole,
            bool zero)
{
  struct worker *w = opaque;
  uint64_t i;

  (void) hole;
  for (i = offset; zero && i < offset + length; i++)
    if (w->round->shadow[i] != 0 && !w->round->forgetful)
      fail (w->round, "data reported as zero", i, 0);
  return true;
}

static void
do_extents (struct worker *w)
{
  uint32_t offset, count;
  int r;

  choose_range (w, &offset, &count);
  r = cache_extents (w->conn, count, offset, see_extent, w);
  if (r < 0)
    fail (w->round, "extents", offset, -r);
}

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  unsigned i;

  for (i = 0; i < w->round->ops; i++) {
    if (w->round->losses && below (&w->random, 100) == 0)
      fake_store_lose (w->round->fake, next_random (&w->random));
    switch (below (&w->random, 32)) {
    case 0: do_flush (w); break;
    case 1:
    case 2: do_zero (w); break;
    case 3: do_extents (w); break;
    case 4:
      cache_prefetch (w->conn, w->round->disk / 4, w->round->disk / 3);
      break;
    case 5 ... 18: do_write (w); break;
    default: do_read (w);
    }
  }
  return NULL;
}

/* --- one round --- */

static void
cut_pieces (struct round *round, uint64_t *random)
{
  uint32_t pos = 0, length;

  round->nr_pieces = 0;
  while (pos < round->disk && round->nr_pieces < MAX_PIECES - 1) {
    length = below (random, below (random, 8) ? 3000 : MAX_LEN) + 1;
    if (length > round->disk - pos)
      length = round->disk - pos;
    round->pieces[round->nr_pieces++] = (struct piece) { pos, length };
    pos += length;
  }
}

static void
inject_faults (struct round *round, uint64_t *random)
{
  static const enum store_op ops[] = { STORE_WRITE, STORE_FLUSH, STORE_ZERO,
                                       STORE_TRIM };
  struct fake_rule rule = { .error = -EIO };
  unsigned i;

  if (below (random, 2))
    fake_store_lossy (round->fake, next_random (random) | 1);
  for (i = 0; i < 16; i++) {
    rule.op = ops[i % 4];
    rule.skip = below (random, 200);
    rule.count = below (random, 5) + 1;
    fake_store_fail (round->fake, &rule);
  }
  /* Places that stay bad for a while, sectors and larger. */
  rule = (struct fake_rule) { .op = STORE_WRITE };
  for (i = 0; i < 6; i++) {
    rule.error = below (random, 2) ? -EIO : -ENOSPC;
    rule.offset = below (random, round->disk) / 512 * 512;
    rule.length = i % 2 ? 512 : 512 << below (random, 11);
    rule.count = 4 + below (random, 8);
    fake_store_fail (round->fake, &rule);
  }
}

static void
make_config (struct mapping_config *config, uint64_t *random)
{
  static const enum cache_mode modes[] = { CACHE_WRITEBACK, CACHE_WRITEBACK,
                                           CACHE_WRITEBACK, CACHE_WRITETHROUGH,
                                           CACHE_NONE };
  bool tiny = below (random, 4) == 0;

  *config = (struct mapping_config) {
    .mode = modes[below (random, 5)],
    .folio_max_order = below (random, 10),
    .dirty_limit = tiny ? 16u << 10 : (256u << 10) << below (random, 3),
    .dirty_background = tiny ? 8u << 10 : (64u << 10) << below (random, 3),
    .dirty_expire = NSEC_PER_MSEC * (1 + below (random, 50)),
    .writeback_interval = NSEC_PER_MSEC * (1 + below (random, 50)),
    .readahead = below (random, 2) ? 256u << 10 : 0,
    .sequential_cutoff = below (random, 4) ? 0 : 64u << 10,
    .io_depth = below (random, 4) ? 1 + below (random, 32) : 1,
    .flush_target = NSEC_PER_MSEC * below (random, 200),
  };
}

static void
make_round (struct round *round, uint64_t *random)
{
  struct mapping_config *config = &round->config;
  bool direct;

  round->disk = (DISK_MAX / 2) + below (random, DISK_MAX / 2);
  round->shuffle = below (random, 2);
  round->disk -= round->shuffle ? round->disk % SHUFFLE_BLOCK : 0;
  round->ops = 200 + below (random, 300);
  memset (round->shadow, 0, sizeof round->shadow);
  cut_pieces (round, random);
  make_config (config, random);
  direct = config->mode == CACHE_NONE || config->sequential_cutoff;
  /* A direct write that fails leaves nobody knows what. */
  round->faults = !direct && below (random, 2);
  round->losses = below (random, 2);
  round->forgetful = round->losses && direct;
}

static void
make_slow (struct round *round, uint64_t *random)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_ZERO,
                                       STORE_TRIM, STORE_FLUSH };
  unsigned i;

  for (i = 0; i < 5; i++)
    if (below (random, 2))
      fake_store_latency (round->fake, ops[i],
                          below (random, 300) * UINT64_C (1000), false);
}

static struct fs *
open_format (const struct round *round)
{
  struct store *store = &round->fake->store;
  struct fs *fs;

  if ((round->shuffle ? shuffle_open (store, round->disk, round->seed, &fs)
                      : raw_open (store, &fs)) < 0)
    fail (round, "cannot open the format", 0, EIO);
  return fs;
}

static void
check_store (const struct round *round)
{
  struct fs *fs = open_format (round);
  struct iomap iomap = { 0 };
  uint32_t i;

  for (i = 0; i < round->disk; i++) {
    if (i % 512 == 0)
      fs->ops->begin (fs, i, 512, 0, &iomap);
    if ((iomap.type == IOMAP_MAPPED
           ? round->fake->content[iomap.addr + (i - iomap.offset)]
           : 0) != round->shadow[i])
      fail (round, "the store lost data", i, 0);
  }
  fs->ops->close (fs);
}

static void
run_workers (struct round *round, uint64_t *random)
{
  static struct worker workers[THREADS];
  unsigned i;

  for (i = 0; i < THREADS; i++) {
    struct worker *w = &workers[i];

    *w = (struct worker) { .round = round,
                           .number = i,
                           .random = next_random (random),
                           .buf = malloc (MAX_LEN) };
    if (w->buf == NULL || conn_create (round->mapping, &w->conn) < 0 ||
        pthread_create (&w->thread, NULL, work, w) != 0)
      fail (round, "no memory", 0, ENOMEM);
  }
  for (i = 0; i < THREADS; i++)
    pthread_join (workers[i].thread, NULL);
  for (i = 0; i < THREADS; i++) {
    if (round->forgetful)
      do_flush (&workers[i]);
    conn_destroy (workers[i].conn);
    free (workers[i].buf);
  }
}

static void
run_round (struct round *round, struct env *env, uint64_t *random)
{
  struct cache *cache;
  struct fs *fs;

  make_round (round, random);
  round->fake = fake_store_create (
    env, round->shuffle ? shuffle_store_size (round->disk) : round->disk);
  round->fake->store.geo.min_io = below (random, 3) ? 512 : 4096;
  round->fake->store.geo.best_io = 4096u << below (random, 9);
  fake_store_volatile (round->fake);
  make_slow (round, random);
  fake_store_set_status (round->fake, 0, round->disk,
                         below (random, 2) ? STORE_HOLE : STORE_UNWRITTEN);

  fs = open_format (round);
  if (round->faults)
    inject_faults (round, random);
  if (cache_create (env, (1u << 20) << below (random, 3), &cache) < 0)
    fail (round, "cannot make a cache", 0, ENOMEM);
  if (below (random, 3) == 0)
    cache->max_nodes = 8 + below (random, 16); /* of 25 */
  if (mapping_create (cache, fs, &round->config, &round->mapping) < 0 ||
      cache_start (cache) < 0 || mapping_start (round->mapping) < 0)
    fail (round, "cannot start", 0, ENOMEM);

  run_workers (round, random);
  fake_store_heal (round->fake);
  /* The first may report what failed before. */
  while (mapping_sync (round->mapping, NULL, NULL) < 0)
    ;
  fake_store_crash (round->fake, next_random (random));
  check_store (round);

  mapping_destroy (round->mapping);
  cache_destroy (cache);
  fs->ops->close (fs);
  round->fake->store.ops->close (&round->fake->store);
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
  static struct round round;
  unsigned long rounds = 10, i;
  uint64_t seed, random;
  struct env env;

  seed = (uint64_t) time (NULL);
  if (argc > 1)
    seed = strtoull (argv[1], NULL, 0);
  if (argc > 2)
    rounds = strtoul (argv[2], NULL, 0);
  env_init (&env);
  env.log = quiet;
  for (i = 0; i < rounds; i++) {
    round.seed = random = seed + i;
    printf ("seed %llu\n", (unsigned long long) round.seed);
    fflush (stdout);
    run_round (&round, &env, &random);
  }
  printf ("%lu rounds, all well\n", rounds);
  return 0;
}
