/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The run of one seed: power on, look at what has survived, let clients at it,
 * cut the power; again.
 */

#include <stdlib.h>
#include <string.h>

#include "fs/raw/raw-impl.h"
#include "fs/thin/thin-impl.h"
#include "fs/thin/thin.h"
#include "powercut.h"
#include "shuffle.h"

/* --- power on and off --- */

void
run_must (struct run *run, int r, const char *what)
{
  if (r < 0)
    world_fail (run->world, WORLD_ALL, "%s: %s", what, strerror (-r));
}

static void
open_mapping (struct run *run)
{
  unsigned i;

  run_must (
    run,
    mapping_create (run->cache, run->fs, &run->config.mapping, &run->mapping),
    "mapping_create");
  run_must (run, mapping_start (run->mapping), "mapping_start");
  if (run->fs->ops->ready)
    run_must (run, run->fs->ops->ready (run->fs), "the format's ready");
  for (i = 0; i < run->config.conns; i++)
    run_must (run, conn_create (run->mapping, &run->conns[i]), "conn_create");
}

static void
close_mapping (struct run *run)
{
  unsigned i;

  for (i = 0; i < run->config.conns; i++)
    conn_destroy (run->conns[i]);
  mapping_destroy (run->mapping);
}

/* So few zeroes may be pending that there is often no room for more. */
static void
shrink_pending (struct run *run)
{
  struct pending *p = &((struct raw *) run->fs)->zeroes.pending;
  size_t n = run->config.zeroes + 2 + world_below (run->world, 6);
  struct pending_zero *x;

  p->max = run->config.zeroes;
  TAILQ_INIT (&p->unused);
  for (x = p->nodes; n > 0; n--, x++)
    TAILQ_INSERT_TAIL (&p->unused, x, entry);
}

static int
open_format (struct run *run)
{
  struct store *store = &run->store->store;
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  int r;

  if (run->format == RUN_SHUFFLE)
    return shuffle_open (store, run->config.disk_size,
                         rng_next (&run->world->rng), &run->fs);
  if (run->format == RUN_THIN) {
    r = thin_open (store, NULL, &run->fs, &why);
    if (r == 0)
      ((struct thin *) run->fs)->fan = run->fan;
    return r;
  }
  r = raw_open (store, &run->fs);
  if (r == 0 && run->config.zeroes > 0)
    shrink_pending (run);
  return r;
}

static void
open_fs (struct run *run)
{
  run_must (run, open_format (run), "the format's open");
  open_mapping (run);
}

static void
close_fs (struct run *run)
{
  close_mapping (run);
  run->fs->ops->close (run->fs);
}

static void
power_on (struct run *run)
{
  struct world *w = run->world;

  memset (run->told, 0, sizeof run->told);
  run->store = model_store_create (w, run->medium, &run->config.store);
  if (run->format == RUN_THIN)
    thin_verify (run);
  run_must (run, cache_create (&w->env, run->config.cache_size, &run->cache),
            "cache_create");
  open_fs (run);
  run->cut = run->ending = false;
}

static void
power_off (struct run *run)
{
  oracle_watch (run->oracle, NULL);
  close_fs (run);
  cache_destroy (run->cache);
  run->store->store.ops->close (&run->store->store);
}

/* --- what clients find and leave --- */

/* What was verified may stay in the cache, or not. */
static void
verify (struct run *run)
{
  client_verify (run);
  oracle_restart (run->oracle);
  oracle_watch (run->oracle, &run->store->lost);
  world_note (run->world, "VERIFIED", 0, 0, 0);
  if (world_chance (run->world, 70)) {
    close_fs (run);
    if (run->format == RUN_THIN)
      thin_take_snapshot (run);
    open_fs (run);
  }
}

static void
choose_cut (struct run *run)
{
  struct world *w = run->world;

  run->cut_turn = w->turns + 100 + rng_log (&w->rng, 16000);
  run->cut_sync =
    world_chance (w, 50) ? 1 + (unsigned) rng_log (&w->rng, 40) : 0;
  run->hot = world_below (w, run->config.disk_size);
}

static void
cut_power (struct run *run)
{
  run->cut = run->ending = true;
  world_timer_cancel (run->world, &run->mishap);
  model_store_cut (run->store);
  mapping_shutdown (run->mapping);
}

/* The orderly way first: no more writes, all is saved, and then it is safe to
 * cut power.
 */
static void
shut_down (struct run *run)
{
  struct oracle_flush flush = { .client = MAX_CONNS };
  unsigned tries = 0;
  int r;

  mishaps_end (run);
  run->ending = true;
  while (run->store->down || run->clients > 0)
    world_turn (run->world);
  mapping_shutdown (run->mapping);
  for (;;) {
    flush.begun = oracle_moment (run->oracle);
    r = mapping_sync (run->mapping, NULL, NULL);
    if (r == 0)
      break;
    if (++tries > 3)
      world_fail (run->world, WORLD_ALL, "cannot be saved: %s", strerror (-r));
    /* As the plugin does; zeroes are done again on the redoer's own clock. */
    world_sleep (run->world, NSEC_PER_SEC);
  }
  /* Of what was lost the log has told. */
  oracle_told (run->oracle, &flush.own);
  flush.others = flush.own;
  oracle_flushed (run->oracle, &flush);
}

static void
live (struct run *run)
{
  choose_cut (run);
  mishaps_start (run);
  clients_start (run);
  while (run->world->turns < run->cut_turn) {
    world_turn (run->world);
    if (run->format == RUN_THIN)
      thin_watch (run);
    if (run->format == RUN_THIN && run->world->turns % 64 == 0)
      thin_check_reserved (run);
  }
  if (world_chance (run->world, 10))
    shut_down (run);
  cut_power (run);
  while (run->clients > 0)
    world_turn (run->world);
}

/* --- the disk's first content --- */

static void
prefill (struct run *run)
{
  struct world *w = run->world;
  uint8_t *buf = xcalloc (1, MAX_REQUEST);
  struct iovec iov = { .iov_base = buf };
  struct store_req req = { .op = STORE_WRITE, .iov = &iov, .niov = 1 };
  unsigned i, n = (unsigned) world_below (w, 8);
  struct oracle_write *write;

  for (i = 0; i < n; i++) {
    req.offset = world_below (w, run->config.disk_size) / 4096 * 4096;
    req.length = rng_log (&w->rng, MAX_REQUEST);
    if (req.length > run->config.disk_size - req.offset)
      req.length = run->config.disk_size - req.offset;
    iov.iov_len = req.length;
    write = oracle_begin (run->oracle, req.offset, req.length, false, true);
    oracle_fill (write, buf);
    medium_apply (run->medium, &req, 100);
    medium_flush (run->medium, UINT64_MAX, 0, UINT64_MAX);
    oracle_end (run->oracle, write, 0);
  }
  free (buf);
}

/* A write of its map that fails is a flush that does.  And while it has not been told of a
 * loss, what is read of what was lost may be another block's.
 */
static void
fit_to_shuffle (struct run_config *c)
{
  c->disk_size -= c->disk_size % SHUFFLE_BLOCK;
  if (c->mapping.mode == CACHE_NONE || c->mapping.sequential_cutoff)
    c->faults &= FAULT_READS | FAULT_WRITES;
  c->store.losing |= 1u << STORE_WRITE;
}

/* The medium, the first content, and what is known of it. */
static void
begin (struct run *run)
{
  uint64_t size;

  run_config_choose (&run->config, &run->world->rng);
  if (run->format == RUN_SHUFFLE)
    fit_to_shuffle (&run->config);
  if (run->format == RUN_THIN)
    thin_fit (run);
  size = run->config.disk_size;
  run->medium = medium_create (
    run->world, run->format == RUN_SHUFFLE ? shuffle_store_size (size)
                : run->format == RUN_THIN  ? thin_choose_store (run)
                                           : size);
  run->oracle = oracle_create (run->world, size);
  if (run->format == RUN_RAW)
    prefill (run);
  if (run->format == RUN_THIN)
    thin_make (run);
}

uint64_t
run_seed (uint64_t seed, unsigned cuts, bool trace, enum run_format format)
{
  struct run run = { .world = world_create (seed, trace), .format = format };
  uint64_t hash;

  begin (&run);
  power_on (&run);
  while (cuts-- > 0) {
    verify (&run);
    world_forget (run.world);
    live (&run);
    power_off (&run);
    power_on (&run);
  }
  verify (&run);
  power_off (&run);
  hash = run.world->hash;
  thin_forget (&run);
  oracle_destroy (run.oracle);
  medium_destroy (run.medium);
  world_destroy (run.world);
  return hash;
}
