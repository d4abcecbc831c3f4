/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What commits take is no more than was said before: metadata gets just that, in the
 * smallest pieces that chunks usually have, and all of them succeed, however the ranges are shared out
 * among them, and though some fail.
 */

#include <errno.h>
#include <stdio.h>

#include "fs/thin/chunks.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"
#include "tests/unit/thin-world.h"

/* Blocks of metadata that may be taken. */
struct purse {
  struct thin_meta *m;
  uint64_t blocks;
  bool scattered; /* a few at a time */
  bool snapshots;
};

static int
take (void *opaque, uint64_t want, struct thin_range *range)
{
  struct purse *purse = opaque;
  int r;

  if (purse->blocks == 0)
    return -ENOSPC;
  if (purse->scattered)
    want = 8;
  r = thin_meta_take (purse->m, want < purse->blocks ? want : purse->blocks,
                      range);
  if (r == 0)
    purse->blocks -= range->length;
  return r;
}

static void
open_purse (struct world *w, struct purse *purse, uint64_t blocks)
{
  const struct thin_space space = { take, purse };

  purse->m = w->m;
  purse->blocks = blocks;
  thin_meta_set_space (w->m, &space);
}

static void
close_purse (struct world *w)
{
  const struct thin_space space = { thin_meta_take_any, w->m };

  thin_meta_set_space (w->m, &space);
}

/* Some commits, of so many ranges in all, for what that may cost. */
static void
spend (struct world *w, struct purse *purse, unsigned ops)
{
  uint64_t cost = thin_meta_cost (w->m, ops);
  unsigned n;
  int r;

  open_purse (w, purse, cost);
  while (ops > 0) {
    n = 1 + (unsigned) rng_below (&w->rng, ops);
    if (rng_chance (&w->rng, 15))
      w->strike = 1 + (unsigned) rng_below (&w->rng, 30);
    r = world_ranges (w, n);
    w->strike = 0;
    assert_true (r == 0 || r == -EIO);
    if (r < 0)
      continue;
    ops -= n;
    /* With snapshots what is said anew may be more, though no more is needed. */
    if (!purse->snapshots)
      assert_in_range (thin_meta_cost (w->m, ops), 0, purse->blocks);
  }
  close_purse (w);
}

/* Trees that are full, or half full since each node was cut in two. */
static void
choose_pattern (struct world *w, struct rng *rng)
{
  w->pattern = (unsigned) rng_below (rng, 5);
  w->step = rng_chance (rng, 50) ? 2 : 1 + rng_below (rng, 2 * w->fan);
}

static void
life (uint64_t seed, bool snapshots)
{
  struct purse purse = { .snapshots = snapshots };
  struct rng rng = { seed };
  struct world w;
  int i;

  purse.scattered = rng_chance (&rng, 60);
  world_start (&w, seed, 32768, 256 + rng_below (&rng, 3000),
               rng_chance (&rng, 20) ? 40 : 4 + rng_below (&rng, 12));
  for (i = 0; i < 12; i++) {
    if (rng_chance (&rng, 50))
      choose_pattern (&w, &rng);
    spend (&w, &purse, 1 + (unsigned) rng_below (&rng, i % 2 ? 1000 : 30));
    if (snapshots && rng_chance (&rng, 30))
      assert_int_equal (world_snapshot (&w), 0);
    if (rng_chance (&rng, 20))
      assert_int_equal (world_reopen (&w), 0);
  }
  world_verify (&w);
  world_check (&w);
  world_stop (&w);
}

static void
lives (const char *test, bool snapshots)
{
  struct rng rng = test_rng (test);
  const char *one = getenv ("ONE"), *text = getenv ("ROUNDS");
  unsigned i, n = one ? 1 : text ? (unsigned) strtoul (text, NULL, 0) : 15;

  for (i = 0; i < n; i++) {
    uint64_t seed = one ? strtoull (one, NULL, 0) : rng_next (&rng);

    printf ("ONE=%" PRIu64 "\n", seed);
    fflush (stdout);
    life (seed, snapshots);
  }
}

TEST (commits_cost_no_more_than_was_said)
{
  lives (__func__, false);
}

TEST (nor_with_snapshots)
{
  lives (__func__, true);
}

RUN_TESTS ()
