/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The overlay of a thin disk: whose a place is, when what is in layers changes and moves,
 * against plain arrays of blocks.
 */

#include "test.h"

#include <string.h>

#include "fs/thin/layers.h"
#include "seed.h"
#include "tests/tools/util.h"

#define BLOCKS 64

struct cell {
  bool set, own;
  enum range_kind kind;
  uint64_t physical;
};

struct bench {
  struct range_nodes nodes;
  struct layers layers;
  struct cell model[LAYERS][BLOCKS];
  struct range_map given_up; /* by place on the store */
  uint64_t expected;         /* blocks that are to be in there */
  uint64_t next;             /* place that was never used */
  struct rng rng;
};

static struct bench *
start (void)
{
  struct bench *b = xcalloc (1, sizeof *b);

  range_nodes_init (&b->nodes);
  layers_init (&b->layers, &b->nodes);
  range_map_init (&b->given_up, &b->nodes);
  b->next = 1000;
  return b;
}

static void
stop (struct bench *b)
{
  layers_clear (&b->layers);
  range_map_clear (&b->given_up);
  range_nodes_destroy (&b->nodes);
  free (b);
}

/* A place is given up once. */
static void
give_up (void *opaque, const struct range_entry *e)
{
  struct bench *b = opaque;
  uint64_t end = e->physical + (e->end - e->start);

  assert_true (e->flags & LAYER_OWN);
  assert_false (range_map_any (&b->given_up, e->physical, end));
  range_set_add (&b->given_up, e->physical, end);
}

/* What becomes of a block of a layer. */
static void
model_set (struct bench *b, struct cell *old, struct cell new)
{
  if (new.kind == RANGE_ZERO_KEEP && old->set && old->own)
    new = (struct cell) { true, true, RANGE_UNWRITTEN, old->physical };
  else if (new.kind == RANGE_ZERO_KEEP && old->set && old->kind == RANGE_HOLE)
    new.kind = RANGE_HOLE;
  else if (old->set && old->own && new.physical == old->physical)
    new.own = true;
  else
    b->expected += old->set && old->own;
  *old = new;
}

static void
set (struct bench *b, const struct range_entry *e)
{
  uint64_t pos;

  layer_set (&b->layers.map[LAYER_FRESH], e, give_up, b);
  for (pos = e->start; pos < e->end; pos++)
    model_set (b, &b->model[LAYER_FRESH][pos],
               (struct cell) { true, e->flags & LAYER_OWN, e->kind,
                               range_physical (e, pos) });
}

/* Write to a new place, or zero. */
static void
change (struct bench *b)
{
  struct range_entry e = { .start = rng_below (&b->rng, BLOCKS) };

  e.end = e.start + 1 + rng_below (&b->rng, BLOCKS - e.start);
  e.kind = (uint8_t) rng_below (&b->rng, 3);
  if (e.kind == RANGE_UNWRITTEN) {
    e.kind = RANGE_MAPPED;
    e.flags = LAYER_OWN;
    e.physical = b->next;
    b->next += e.end - e.start;
  }
  set (b, &e);
}

/* Write where something is UNWRITTEN, as write-back does. */
static void
convert (struct bench *b)
{
  uint64_t pos = rng_below (&b->rng, BLOCKS);
  struct range_entry e;

  if (!layers_find_place (&b->layers, pos, BLOCKS, &e) ||
      e.kind != RANGE_UNWRITTEN)
    return;
  e.kind = RANGE_MAPPED;
  e.flags = 0;
  set (b, &e);
}

/* What is FRESH goes down a layer, and on, as after flushes and checkpoints. */
static void
move (struct bench *b)
{
  struct range_map *map = b->layers.map;
  struct range_entry e;
  uint64_t pos;

  while (range_map_take (&map[LAYER_FRESH], &e))
    layer_set (&map[LAYER_LOGGED], &e, give_up, b);
  for (pos = 0; pos < BLOCKS; pos++)
    if (b->model[LAYER_FRESH][pos].set)
      model_set (b, &b->model[LAYER_LOGGED][pos], b->model[LAYER_FRESH][pos]);
  memset (b->model[LAYER_FRESH], 0, sizeof b->model[0]);
  if (rng_chance (&b->rng, 70))
    return;
  range_map_clear (&map[LAYER_FROZEN]);
  while (range_map_take (&map[LAYER_LOGGED], &e))
    range_map_set (&map[LAYER_FROZEN], &e);
  memcpy (b->model[LAYER_FROZEN], b->model[LAYER_LOGGED], sizeof b->model[0]);
  memset (b->model[LAYER_LOGGED], 0, sizeof b->model[0]);
}

static void
check (struct bench *b)
{
  struct range_entry e;
  uint64_t pos;
  unsigned i;
  bool found;

  for (pos = 0; pos < BLOCKS; pos++) {
    found = layers_find (&b->layers, pos, BLOCKS, &e);
    for (i = 0; i < LAYERS && !b->model[i][pos].set; i++)
      ;
    assert_int_equal (found, i < LAYERS);
    assert_true (e.start == pos && e.end > pos && e.end <= BLOCKS);
    if (i == LAYERS)
      continue;
    assert_int_equal (e.kind, b->model[i][pos].kind);
    assert_int_equal (e.physical, b->model[i][pos].physical);
    assert_int_equal (!!(e.flags & LAYER_OWN), b->model[i][pos].own);
  }
  assert_int_equal (b->given_up.blocks, b->expected);
}

TEST_WITH (places_are_given_up_once, struct bench *b, start (), stop)
{
  unsigned i;

  b->rng = test_rng ("places_are_given_up_once");
  for (i = 0; i < share (20000); i++) {
    if (rng_chance (&b->rng, 50))
      change (b);
    else if (rng_chance (&b->rng, 60))
      convert (b);
    else
      move (b);
    check (b);
  }
}

/* Zeroes over what is in a layer below take its place, not that of a hole between. */
TEST_WITH (zeroes_find_their_place_below, struct bench *b, start (), stop)
{
  struct range_entry data = { .start = 0,
                              .end = 10,
                              .physical = 500,
                              .kind = RANGE_MAPPED,
                              .flags = LAYER_OWN };
  struct range_entry hole = { .start = 4, .end = 6 }, e;
  struct range_entry zero = { .start = 0, .end = 10, .kind = RANGE_ZERO_KEEP };

  range_map_set (&b->layers.map[LAYER_FROZEN], &data);
  range_map_set (&b->layers.map[LAYER_LOGGED], &hole);
  range_map_set (&b->layers.map[LAYER_FRESH], &zero);
  assert_true (layers_find_place (&b->layers, 1, 10, &e));
  assert_int_equal (e.kind, RANGE_UNWRITTEN);
  assert_int_equal (e.physical, 501);
  assert_int_equal (e.end, 4);
  assert_true (layers_find_place (&b->layers, 4, 10, &e));
  assert_int_equal (e.kind, RANGE_HOLE);
  assert_int_equal (e.end, 6);
}

RUN_TESTS ()
