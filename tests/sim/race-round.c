/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a round of the race is made of: chances, a store, a format on it.
 */

#include <errno.h>
#include <string.h>

#include "fs/raw/raw-impl.h"
#include "fs/thin/thin.h"
#include "tests/sim/race-thin.h"
#include "tests/sim/race.h"
#include "tests/sim/shuffle.h"

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

void
round_inject_faults (struct round *round)
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

void
round_make (struct round *round, struct env *env)
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

void
round_shrink_pending (struct round *round, struct fs *fs)
{
  struct rng *rng = &round->rng;
  struct pending *p = &((struct raw *) fs)->zeroes.pending;
  size_t n;

  p->max = 8 + rng_below (rng, 24);
  TAILQ_INIT (&p->unused);
  for (n = 0; n < p->max + 4; n++)
    TAILQ_INSERT_TAIL (&p->unused, &p->nodes[n], entry);
}

struct fs *
round_open_fs (struct round *round)
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
void
round_read_disk (struct round *round, uint8_t *buf)
{
  struct iomap_iter iter;
  struct fs *fs;
  uint64_t n;

  if (round->format == RAW) {
    memcpy (buf, round->fake->content, DISK);
    return;
  }
  fs = round_open_fs (round);
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
