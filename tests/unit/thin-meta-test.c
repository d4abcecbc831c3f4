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

RUN_TESTS ()
