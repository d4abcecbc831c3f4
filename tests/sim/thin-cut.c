/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts of a thin image's metadata alone: random transactions and snapshots on a
 * model store (model-world.h) that fails and forgets; power is cut at any moment;
 * then the image opens, nothing of it is wrong, and it says what the last commit made,
 * or one that was under way or had failed since.
 *
 *   thin-cut [--trace] [SEED [CUTS]]
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "powercut.h"
#include "thin-cut.h"

#define CUTS_A_SEED 5u
#define MAY_BE 16 /* states at a time */

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_CUTS 300u
#else
#define DEFAULT_CUTS 2000u
#endif

struct life {
  struct world *world;
  struct run_config config; /* of powercut: of it, the store */
  struct medium *medium;
  struct model_store *store;
  struct thin_meta *meta;
  struct cut_state now; /* as this program sees it */
  struct cut_state
    states[MAY_BE]; /* what may be on the store: now, and others */
  unsigned nr_states;
  uint64_t cut_turn;
  bool cut, over;
};

static void
must (struct life *life, int r, const char *what)
{
  if (r < 0)
    world_fail (life->world, WORLD_ALL, "%s: %s", what, strerror (-r));
}

/* --- what happens to it --- */

/* A commit comes to its end. */
static void
note_commit (struct life *life, const struct cut_state *made, int r)
{
  if (life->cut)
    return;
  world_note (life->world, "committed", 0, 0, r);
  if (r == 0) {
    life->now = *made;
    life->states[0] = *made;
    life->nr_states = 1;
  }
  else if (life->config.faults == 0 && r != -ENOSPC)
    must (life, r, "a commit");
}

/* One more that may be on the store; no room: none that is not sure to be. */
static bool
may_become (struct life *life, const struct cut_state *made)
{
  if (life->nr_states == MAY_BE)
    return false;
  life->states[life->nr_states++] = *made;
  return true;
}

static void
transact (struct life *life)
{
  static struct cut_state made;
  struct thin_txn *t;
  int r = thin_txn_begin (life->meta, &t);

  if (r < 0)
    return;
  made = life->now;
  r = cut_change (life->world, life->meta, t, &made);
  if (r < 0 && r != -ENOSPC && !life->cut && life->config.faults == 0)
    must (life, r, "a change");
  if (r < 0 || world_chance (life->world, 5) || life->cut ||
      !may_become (life, &made)) {
    thin_txn_abort (t);
    return;
  }
  world_note (life->world, "commit", 0, 0, life->nr_states);
  note_commit (life, &made, thin_txn_commit (t, NULL, NULL, NULL));
}

/* The state that it makes is known before it is on the store. */
static void
change_snapshots (struct life *life)
{
  static struct cut_state made;
  struct cut_state *state;
  int r;

  if (life->nr_states == MAY_BE)
    return;
  state = &life->states[life->nr_states++];
  *state = life->now;
  world_note (life->world, "snapshot", 0, 0, life->nr_states);
  r = cut_snapshot (life->world, life->meta, state);
  made = *state;
  note_commit (life, &made, r);
}

static void
live (void *opaque)
{
  struct life *life = opaque;

  while (!life->cut && life->nr_states < MAY_BE) {
    if (world_chance (life->world, 20))
      change_snapshots (life);
    else
      transact (life);
    if (!life->cut && world_chance (life->world, 5) &&
        cut_state_holds (life->world, life->meta, &life->now) == 0)
      world_fail (life->world, WORLD_ALL, "it says something else");
    world_yield (life->world);
  }
  life->over = true;
}

/* --- what is left --- */

static void
print_problem (void *opaque, const char *message)
{
  (void) opaque;
  printf ("  %s\n", message);
}

static void
open_image (struct life *life)
{
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  const struct thin_open how = { .cache_nodes =
                                   (unsigned) world_below (life->world, 200) };
  int r;

  life->store =
    model_store_create (life->world, life->medium, &life->config.store);
  r = thin_meta_open (&life->store->store, &how, &life->meta, &why);
  if (r < 0)
    world_fail (life->world, WORLD_ALL, "it does not open: %s", text);
}

static void
close_image (struct life *life)
{
  thin_meta_close (life->meta);
  life->store->store.ops->close (&life->store->store);
}

static void
verify (struct life *life)
{
  struct thin_check check = { .problem = print_problem };
  int holds = 0;
  unsigned i;

  must (life, thin_check (life->meta, &check), "thin_check");
  if (check.problems)
    world_fail (life->world, WORLD_ALL, "%" PRIu64 " problems", check.problems);
  for (i = life->nr_states; i > 0 && holds == 0; i -= holds == 0)
    holds = cut_state_holds (life->world, life->meta, &life->states[i - 1]);
  must (life, holds, "looking it up");
  if (i == 0)
    world_fail (life->world, WORLD_ALL, "it is none of %u states",
                life->nr_states);
  life->now = life->states[i - 1];
  life->states[0] = life->now;
  life->nr_states = 1;
  world_note (life->world, "VERIFIED", 0, 0, i);
}

/* Requests fail now and then, or the store forgets. */
static void
go_wrong (struct life *life)
{
  struct world *w = life->world;
  struct model_rule rule = {
    .ops = life->config.faults & FAULT_FLUSHES && world_chance (w, 40)
             ? 1u << STORE_FLUSH
             : 1u << STORE_WRITE,
    .error = -EIO,
    .skip = (uint32_t) world_below (w, 20),
    .count = 1 + (uint32_t) world_below (w, 3),
    .percent = 100,
  };

  if (life->config.faults & (FAULT_WRITES | FAULT_FLUSHES))
    faults_add (&life->store->faults, &rule);
  if (life->config.faults & FAULT_RESTARTS)
    model_store_restart (life->store, 1 + world_below (w, NSEC_PER_MSEC),
                         ENV_FOREVER);
}

static void
live_until_cut (struct life *life)
{
  struct world *w = life->world;

  life->cut = life->over = false;
  life->cut_turn = w->turns + 20 + rng_log (&w->rng, 4000);
  fiber_start (w, "writer", live, life);
  while (w->turns < life->cut_turn && !life->over) {
    if (life->config.faults && world_below (w, 200) == 0)
      go_wrong (life);
    world_turn (w);
  }
  life->cut = true;
  model_store_cut (life->store);
  while (!life->over)
    world_turn (w);
}

/* --- a seed --- */

static void
create (struct life *life)
{
  struct world *w = life->world;
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  struct thin_create what = { .disk_bytes =
                                (1 + world_below (w, CUT_DISK)) * THIN_BLOCK };
  int r;

  life->now.head.blocks = what.disk_bytes / THIN_BLOCK;
  life->states[0] = life->now;
  life->nr_states = 1;
  life->store = model_store_create (w, life->medium, &life->config.store);
  r = thin_create (&life->store->store, &what, &why);
  if (r < 0)
    world_fail (w, WORLD_ALL, "it cannot be made: %s", text);
  model_store_cut (life->store);
  life->store->store.ops->close (&life->store->store);
}

static uint64_t
run_seed_of (uint64_t seed, unsigned cuts, bool trace)
{
  static struct life life;
  uint64_t hash;

  memset (&life, 0, sizeof life);
  life.world = world_create (seed, trace);
  run_config_choose (&life.config, &life.world->rng);
  life.config.faults &= FAULT_WRITES | FAULT_FLUSHES | FAULT_RESTARTS;
  life.medium = medium_create (
    life.world, (6 + world_below (life.world, 20)) * (UINT64_C (1) << 20));
  create (&life);
  open_image (&life);
  for (; cuts > 0; cuts--) {
    world_forget (life.world);
    live_until_cut (&life);
    close_image (&life);
    open_image (&life);
    verify (&life);
  }
  close_image (&life);
  hash = life.world->hash;
  medium_destroy (life.medium);
  world_destroy (life.world);
  return hash;
}

int
main (int argc, char **argv)
{
  uint64_t seed = 1, cuts, i, hash = 0;
  bool trace = argc > 1 && strcmp (argv[1], "--trace") == 0;

  argc -= trace;
  argv += trace;
  if (argc > 1)
    seed = strtoull (argv[1], NULL, 0);
  cuts = argc > 2   ? strtoull (argv[2], NULL, 0)
         : argc > 1 ? CUTS_A_SEED
                    : DEFAULT_CUTS;
  printf ("thin-cut: from seed %" PRIu64 ", %u power cuts each\n", seed,
          CUTS_A_SEED);
  fflush (stdout);
  for (i = 0; i < (cuts + CUTS_A_SEED - 1) / CUTS_A_SEED; i++)
    hash += run_seed_of (seed + i, CUTS_A_SEED, trace);
  fiber_free_stacks ();
  printf ("%" PRIu64 " power cuts, nothing wrong; hash %016" PRIx64 "\n",
          i * CUTS_A_SEED, hash);
  return 0;
}
