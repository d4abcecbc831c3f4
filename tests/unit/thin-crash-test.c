/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Unit tests of the thin format's commits on a store that loses any sectors that are not
 * flushed, at any point of them: what is there afterwards is what was before, or all of
 * what came.
 */

#include <errno.h>
#include <stdio.h>

#include "fs/thin/format.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"
#include "tests/unit/thin-world.h"

static unsigned
rounds (unsigned usual)
{
  const char *text = getenv ("ROUNDS");

  return text ? strtoul (text, NULL, 0) : usual;
}

static int
change (struct world *w)
{
  return rng_chance (&w->rng, 25) ? world_snapshot (w)
                                  : world_transaction (w, 60);
}

/* Commits, one of which is cut. */
static void
cut_life (uint64_t seed)
{
  struct rng rng = { seed };
  struct world w;
  int i, r;

  world_start_random (&w, seed);
  for (i = 0; i < 8; i++) {
    w.cut = rng_chance (&rng, 70);
    w.strike = rng_chance (&rng, 60) ? 1 + rng_below (&rng, 60) : 0;
    w.quiet = true;
    r = change (&w);
    w.strike = 0;
    w.quiet = false;
    if (!w.dead)
      assert_int_equal (r, 0);
    if (w.dead || rng_chance (&rng, 30)) {
      world_crash (&w);
      assert_int_equal (world_reopen (&w), 0);
      w.quiet = true;
      if (r < 0 && !world_is (&w, &w.now))
        world_take_next (&w);
      w.quiet = false;
    }
    world_verify (&w);
  }
  world_stop (&w);
}

/* Commits that fail, and the store works again: no change, and then another. */
static void
failing_life (uint64_t seed)
{
  struct rng rng = { seed };
  struct world w;
  int i;

  world_start_random (&w, seed);
  for (i = 0; i < 12; i++) {
    w.cut = true;
    w.strike = rng_chance (&rng, 60) ? 1 + rng_below (&rng, 60) : 0;
    w.quiet = true;
    (void) change (&w);
    w.strike = 0;
    w.quiet = w.dead = false;
    world_verify (&w);
    if (rng_chance (&rng, 20)) {
      world_settle (&w);
      world_crash (&w);
      assert_int_equal (world_reopen (&w), 0);
      world_verify (&w);
    }
  }
  world_stop (&w);
}

static void
lives (const char *test, void (*life) (uint64_t seed))
{
  struct rng rng = test_rng (test);
  const char *one = getenv ("ONE");
  unsigned i, n = one ? 1 : rounds (60);

  for (i = 0; i < n; i++) {
    uint64_t seed = one ? strtoull (one, NULL, 0) : rng_next (&rng);

    printf ("ONE=%" PRIu64 "\n", seed);
    fflush (stdout);
    life (seed);
  }
}

TEST (a_cut_commit_is_there_or_not)
{
  lives (__func__, cut_life);
}

TEST (a_failed_commit_changes_nothing)
{
  lives (__func__, failing_life);
}

RUN_TESTS ()
