/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Unit tests of the thin format's metadata: random transactions against an array.
 */

#include <stdio.h>

#include "tests/unit/seed.h"
#include "tests/unit/test.h"
#include "tests/unit/thin-world.h"

static unsigned
rounds (unsigned usual)
{
  const char *text = getenv ("ROUNDS");

  return text ? strtoul (text, NULL, 0) : usual;
}

/* Small nodes make deep trees. */
static void
random_life (uint64_t seed, bool snapshots)
{
  struct rng rng = { seed };
  struct world w;
  int i;

  world_start (
    &w, seed, 2048 + rng_below (&rng, 2048), 256 + rng_below (&rng, 1024),
    rng_chance (&rng, 20) ? THIN_MAX_ENTRIES : 4 + rng_below (&rng, 12));
  for (i = 0; i < 12; i++) {
    assert_int_equal (world_transaction (&w, 60), 0);
    world_verify (&w);
    if (snapshots && rng_chance (&rng, 50)) {
      assert_int_equal (world_snapshot (&w), 0);
      world_verify (&w);
    }
    if (rng_chance (&rng, 30)) {
      assert_int_equal (world_reopen (&w), 0);
      world_verify (&w);
    }
  }
  world_stop (&w);
}

static void
random_lives (const char *test, bool snapshots)
{
  struct rng rng = test_rng (test);
  const char *one = getenv ("ONE");
  unsigned i, n = one ? 1 : rounds (30);

  for (i = 0; i < n; i++) {
    uint64_t seed = one ? strtoull (one, NULL, 0) : rng_next (&rng);

    printf ("ONE=%" PRIu64 "\n", seed);
    fflush (stdout);
    random_life (seed, snapshots);
  }
}

TEST (random_transactions_are_what_an_array_says)
{
  random_lives (__func__, false);
}

TEST (random_snapshots_are_what_arrays_say)
{
  random_lives (__func__, true);
}

/* Extents that can't be one, each with a gap behind it. */
static void
map_apart (struct world *w, uint64_t extents)
{
  struct thin_range range;
  struct thin_txn *t;
  uint64_t i;

  assert_int_equal (thin_txn_begin (w->m, &t), 0);
  for (i = 0; i < extents; i++) {
    assert_int_equal (thin_meta_take (w->m, 1, &range), 0);
    assert_int_equal (thin_txn_map (t, 2 * i, 1, range.start, false), 0);
  }
  assert_int_equal (thin_txn_commit (t, NULL, NULL, NULL), 0);
}

/* How many reads it takes to look all of them up, with nothing in memory. */
static unsigned
reads_of_all (struct world *w, uint64_t extents, bool rotational)
{
  struct thin_extent e;
  unsigned before;
  uint64_t i;

  w->fake->store.geo.rotational = rotational;
  assert_int_equal (world_reopen (w), 0);
  before = fake_store_count (w->fake, STORE_READ);
  for (i = 0; i < extents; i++) {
    assert_int_equal (thin_meta_lookup (w->m, NULL, 2 * i, 1, false, &e), 0);
    assert_int_equal (e.type, IOMAP_MAPPED);
  }
  return fake_store_count (w->fake, STORE_READ) - before;
}

TEST (where_reads_are_seeks_neighbours_come_together)
{
  enum { FAN = 16, EXTENTS = 1024 };
  struct world w;
  unsigned apart, together;

  world_start (&w, 1, 4096, 2 * EXTENTS, FAN);
  w.nodes = 1024;
  map_apart (&w, EXTENTS);
  apart = reads_of_all (&w, EXTENTS, false);
  assert_true (apart >= EXTENTS / FAN);
  together = reads_of_all (&w, EXTENTS, true);
  assert_true (together <= apart / 4);
  world_stop (&w);
}

RUN_TESTS ()
