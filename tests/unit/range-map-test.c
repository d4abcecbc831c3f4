/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Maps of ranges, against a plain array of blocks.
 */

#include "test.h"

#include <string.h>

#include "fs/thin/range-map.h"
#include "seed.h"
#include "tests/tools/util.h"

#define BLOCKS 96
#define NONE 0xff

struct block {
  uint64_t physical;
  uint32_t since;
  uint8_t kind, flags;
};

struct bench {
  struct range_nodes nodes;
  struct range_map map;
  struct block model[BLOCKS];
  struct rng rng;
};

static struct bench *
start (void)
{
  struct bench *b = xcalloc (1, sizeof *b);

  range_nodes_init (&b->nodes);
  range_map_init (&b->map, &b->nodes);
  memset (b->model, NONE, sizeof b->model);
  return b;
}

static void
stop (struct bench *b)
{
  range_map_clear (&b->map);
  range_nodes_destroy (&b->nodes);
  free (b);
}

static bool
same (const struct block *a, const struct range_entry *e, uint64_t pos)
{
  return a->kind == e->kind && a->flags == e->flags && a->since == e->since &&
         a->physical == range_physical (e, pos);
}

/* Two that are neighbours and say the same are one. */
static void
check_apart (const struct range_entry *a, const struct range_entry *b)
{
  assert_true (b->start >= a->end);
  assert_false (b->start == a->end && a->kind == b->kind &&
                a->flags == b->flags && a->since == b->since &&
                range_physical (a, a->end) == b->physical);
}

static void
check (struct bench *b)
{
  struct range_entry *e = range_map_find (&b->map, 0), *next;
  uint64_t pos = 0, blocks = 0;
  size_t n = 0;

  for (; e; e = next, n++) {
    for (; pos < e->start; pos++)
      assert_int_equal (b->model[pos].kind, NONE);
    for (; pos < e->end; pos++, blocks++)
      assert_true (same (&b->model[pos], e, pos));
    next = range_map_next (e);
    if (next)
      check_apart (e, next);
  }
  for (; pos < BLOCKS; pos++)
    assert_int_equal (b->model[pos].kind, NONE);
  assert_int_equal (n, b->map.count);
  assert_int_equal (blocks, b->map.blocks);
  assert_false (b->nodes.starved);
}

static void
set (struct bench *b, uint64_t start, uint64_t end)
{
  struct range_entry e = { .start = start,
                           .end = end,
                           .physical = 1000 + start + rng_below (&b->rng, 2),
                           .since = (uint32_t) rng_below (&b->rng, 2),
                           .kind = (uint8_t) rng_below (&b->rng, 4),
                           .flags = (uint8_t) rng_below (&b->rng, 2) };
  uint64_t pos;

  range_map_set (&b->map, &e);
  for (pos = start; pos < end; pos++)
    b->model[pos] =
      (struct block) { range_physical (&e, pos), e.since, e.kind, e.flags };
}

/* What is removed is told, in order. */
static void
forget (void *opaque, const struct range_entry *e)
{
  struct bench *b = opaque;
  uint64_t pos;

  for (pos = e->start; pos < e->end; pos++) {
    assert_true (same (&b->model[pos], e, pos));
    b->model[pos].kind = NONE;
  }
}

static void
count_up (void *opaque, const struct range_entry *e)
{
  *(uint64_t *) opaque += e->end - e->start;
}

static void
ask (struct bench *b, uint64_t start, uint64_t end)
{
  uint64_t pos, n = 0, walked = 0;

  for (pos = start; pos < end; pos++)
    n += b->model[pos].kind != NONE;
  range_map_walk (&b->map, start, end, count_up, &walked);
  assert_int_equal (walked, n);
  assert_int_equal (range_set_count (&b->map, start, end), n);
  assert_int_equal (range_map_any (&b->map, start, end), n > 0);
  assert_int_equal (range_map_all (&b->map, start, end), n == end - start);
}

TEST_WITH (agrees_with_an_array, struct bench *b, start (), stop)
{
  unsigned i;
  uint64_t start, end;

  b->rng = test_rng ("agrees_with_an_array");
  for (i = 0; i < share (20000); i++) {
    start = rng_below (&b->rng, BLOCKS);
    end = start + 1 + rng_below (&b->rng, BLOCKS - start);
    if (rng_chance (&b->rng, 60))
      set (b, start, end);
    else if (rng_chance (&b->rng, 50))
      range_map_remove (&b->map, start, end, forget, b);
    check (b);
    ask (b, start, end);
  }
}

TEST_WITH (gives_what_it_has_in_order, struct bench *b, start (), stop)
{
  struct range_entry e;
  uint64_t pos = 0;

  range_set_add (&b->map, 8, 10);
  range_set_add (&b->map, 2, 4);
  range_set_add (&b->map, 4, 5);
  assert_true (range_map_take (&b->map, &e));
  assert_int_equal (e.start, 2);
  assert_int_equal (e.end, 5);
  assert_true (range_map_take (&b->map, &e));
  pos = e.start;
  assert_int_equal (pos, 8);
  assert_false (range_map_take (&b->map, &e));
}

TEST_WITH (keeps_what_it_has_promised, struct bench *b, start (), stop)
{
  size_t before;

  assert_true (range_nodes_promise (&b->nodes, 500));
  before = b->nodes.nr_free;
  assert_true (before >= 500);
  range_set_add (&b->map, 2, 4);
  assert_int_equal (b->nodes.nr_free, before - 1);
  range_nodes_redeem (&b->nodes, 500);
  range_map_clear (&b->map);
}

TEST_WITH (an_empty_range_is_in_nobody_s_way, struct bench *b, start (), stop)
{
  range_set_add (&b->map, 7, 7);
  assert_int_equal (b->map.count, 0);
  range_set_add (&b->map, 4, 7);
  assert_true (range_map_all (&b->map, 4, 7));
  assert_int_equal (b->map.count, 1);
  assert_int_equal (b->map.blocks, 3);
}

RUN_TESTS ()
