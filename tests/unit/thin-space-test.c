/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Free space of a thin image: nothing is handed out twice, and all of it comes back.
 */

#include "test.h"

#include "fs/thin/space.h"
#include "seed.h"
#include "tests/tools/util.h"

#define BLOCKS 512

enum owner { FREE, TAKEN, GIVEN_UP, MAPPED };

struct bench {
  struct fs fs;
  struct range_nodes nodes;
  struct thin_space_map space;
  enum owner owner[BLOCKS];
  bool going[BLOCKS];     /* it was given up before the checkpoint that is on */
  unsigned reader, reads; /* that was told of what is freed */
  struct rng rng;
};

static struct bench *
start (void)
{
  struct bench *b = xcalloc (1, sizeof *b);

  b->fs.moves = true;
  range_nodes_init (&b->nodes);
  space_init (&b->space, &b->nodes, BLOCKS);
  space_found (&b->space, 0, BLOCKS);
  return b;
}

static void
stop (struct bench *b)
{
  space_destroy (&b->space);
  range_nodes_destroy (&b->nodes);
  free (b);
}

static void
take (struct bench *b)
{
  uint64_t start, n, i;

  n = space_take (&b->space, 1 + rng_below (&b->rng, 20), &start);
  for (i = start; i < start + n; i++) {
    assert_int_equal (b->owner[i], FREE);
    b->owner[i] = TAKEN;
  }
}

static void
give_up (struct bench *b)
{
  uint64_t i = rng_below (&b->rng, BLOCKS);

  if (b->owner[i] != TAKEN)
    return;
  space_give_up (&b->space, i, i + 1);
  b->owner[i] = GIVEN_UP;
}

/* All that is TAKEN is MAPPED from then on, and some that was is free. */
static void
checkpoint (struct bench *b)
{
  uint64_t i, free = 0, era;

  for (i = 0; i < BLOCKS; i++)
    b->going[i] = b->owner[i] == GIVEN_UP;
  space_freeze (&b->space);
  give_up (b);
  era = readers_era (&b->fs);
  for (i = 0; i < BLOCKS; i++)
    if (b->owner[i] == TAKEN) {
      space_committed (&b->space, i, i + 1);
      b->owner[i] = MAPPED;
    }
    else if (b->owner[i] == MAPPED && rng_chance (&b->rng, 30)) {
      space_freed (&b->space, i, i + 1, era);
      b->owner[i] = FREE;
    }
  for (i = 0; i < BLOCKS; i++) {
    free += b->owner[i] != MAPPED;
    if (b->going[i])
      b->owner[i] = FREE;
  }
  space_metadata_committed (&b->space);
  space_thaw (&b->space, free, era);
}

static void
check (struct bench *b)
{
  uint64_t i, taken = 0;

  for (i = 0; i < BLOCKS; i++) {
    if (range_map_any (&b->space.pool, i, i + 1))
      assert_int_equal (b->owner[i], FREE);
    taken += b->owner[i] == TAKEN || b->owner[i] == GIVEN_UP;
  }
  assert_true (b->space.taken.blocks >= taken);
  if (b->space.first == NULL)
    assert_int_equal (b->space.taken.blocks, taken);
}

TEST_WITH (nothing_is_handed_out_twice, struct bench *b, start (), stop)
{
  unsigned i;

  b->rng = test_rng ("nothing_is_handed_out_twice");
  for (i = 0; i < share (3000); i++) {
    if (rng_chance (&b->rng, 60))
      take (b);
    else if (rng_chance (&b->rng, 70))
      give_up (b);
    else {
      checkpoint (b);
      space_settle (&b->space, &b->fs);
    }
    check (b);
  }
}

TEST_WITH (what_is_read_waits, struct bench *b, start (), stop)
{
  uint64_t start, era;
  unsigned counted;

  assert_int_equal (space_take (&b->space, BLOCKS, &start), BLOCKS);
  space_committed (&b->space, 0, BLOCKS);
  space_thaw (&b->space, 0, readers_era (&b->fs));
  counted = readers_begin (&b->fs);
  era = readers_era (&b->fs);
  space_freed (&b->space, 7, 9, era);
  space_thaw (&b->space, 2, era);
  assert_false (space_settle (&b->space, &b->fs));
  assert_int_equal (space_take (&b->space, 2, &start), 0);
  assert_int_equal (space_left (&b->space), 0);
  readers_end (&b->fs, counted);
  assert_true (space_settle (&b->space, &b->fs));
  assert_int_equal (space_left (&b->space), 2);
  assert_int_equal (space_take (&b->space, 2, &start), 2);
  assert_int_equal (start, 7);
}

/* As it is when the commit that took it has failed, and the next one does not need it. */
TEST_WITH (what_metadata_gives_back_at_once_is_not_handed_out_twice,
           struct bench *b, start (), stop)
{
  uint64_t start, again, era = readers_era (&b->fs);

  assert_int_equal (space_take (&b->space, 8, &start), 8);
  range_set_add (&b->space.metadata, start, start + 8);
  space_freeze (&b->space);
  space_metadata_committed (&b->space);
  space_freed (&b->space, start, start + 8, era);
  space_thaw (&b->space, BLOCKS, era);
  /* It waits for its readers: the trees have it free, and may be asked. */
  space_found (&b->space, 0, BLOCKS);
  assert_false (range_map_any (&b->space.pool, start, start + 8));
  assert_true (space_settle (&b->space, &b->fs));
  b->space.cursor = start;
  assert_int_equal (space_take (&b->space, 8, &again), 8);
  assert_int_equal (again, start);
  space_found (&b->space, 0, BLOCKS);
  assert_false (range_map_any (&b->space.pool, start, start + 8));
  assert_int_equal (space_left (&b->space), BLOCKS - 8);
}

RUN_TESTS ()
