/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The log of a thin image: what was written is read back, up to where it was cut off.
 */

#include "test.h"

#include <errno.h>
#include <string.h>

#include "fake-store.h"
#include "fs/thin/log.h"
#include "fs/thin/node.h"
#include "fs/thin/super.h"
#include "seed.h"
#include "tests/tools/util.h"

#define RING 24
#define OWN 1u
#define MAX_SEEN 100000

struct bench {
  struct env env;
  struct fake_store *fake;
  struct thin_super super;
  struct thin_log log;
  struct range_nodes nodes;
  uint8_t *buf;
  size_t written[RING]; /* entries of each record since the tail */
  unsigned records;
  size_t seen;
  uint64_t last; /* the logical block of the entry that was seen last */
  struct rng rng;
};

static struct bench *
start (void)
{
  struct bench *b = xcalloc (1, sizeof *b);

  env_init (&b->env);
  b->fake = fake_store_create (&b->env, 4 << 20);
  b->super = (struct thin_super) { .uuid = "thin-log-testing",
                                   .disk_bytes = 1 << 30,
                                   .store_blocks = 1024,
                                   .log_start = THIN_LOG,
                                   .log_blocks = RING,
                                   .log = { .sequence = 7, .chain = 9 } };
  thin_log_init (&b->log, &b->super);
  range_nodes_init (&b->nodes);
  b->buf = xcalloc (THIN_LOG_RECORD, THIN_BLOCK);
  return b;
}

static void
stop (struct bench *b)
{
  b->fake->store.ops->close (&b->fake->store);
  range_nodes_destroy (&b->nodes);
  free (b->buf);
  free (b);
}

/* Write a record of n entries, one for every second block from `first' on. */
static void
put (struct bench *b, size_t n, uint64_t first)
{
  struct range_entry e = { .kind = RANGE_MAPPED, .flags = OWN };
  struct range_map map;
  uint64_t i;

  range_map_init (&map, &b->nodes);
  for (i = 0; i < n; i++) {
    e.start = first + 2 * i;
    e.end = e.start + 1;
    e.physical = 400 + i % 600;
    range_map_set (&map, &e);
  }
  thin_log_encode (&b->log, &map, n, OWN, b->buf);
  memcpy (b->fake->content + (THIN_LOG + b->log.head.block) * THIN_BLOCK,
          b->buf, thin_log_blocks (n) * THIN_BLOCK);
  thin_log_advance (&b->log, b->buf);
  range_map_clear (&map);
}

static int
see (void *opaque, enum thin_log_op op, uint64_t logical, uint64_t length,
     uint64_t physical)
{
  struct bench *b = opaque;

  assert_int_equal (op, THIN_LOG_MAP);
  assert_int_equal (length, 1);
  assert_true (physical >= 400);
  b->seen++;
  b->last = logical;
  return 0;
}

static int
replay (struct bench *b, struct thin_log_position *end)
{
  b->seen = 0;
  return thin_log_replay (&b->fake->store, &b->super, see, b, end);
}

TEST_WITH (all_kinds_come_back, struct bench *b, start (), stop)
{
  static const enum thin_log_op ops[] = { THIN_LOG_HOLE, THIN_LOG_ZERO_KEEP,
                                          THIN_LOG_UNWRITTEN, THIN_LOG_CONVERT,
                                          THIN_LOG_MAP };
  const struct thin_log_entry *e =
    (const struct thin_log_entry *) (b->buf + sizeof (struct thin_log_header));
  struct range_entry x;
  struct range_map map;
  unsigned i;

  range_map_init (&map, &b->nodes);
  for (i = 0; i < 5; i++) {
    x = (struct range_entry) { .start = 10 * i,
                               .end = 10 * i + 3,
                               .physical = 100 * i,
                               .kind = (uint8_t) (i < 4 ? i : 3),
                               .flags = i < 4 ? 0 : OWN };
    range_map_set (&map, &x);
  }
  thin_log_encode (&b->log, &map, 5, OWN, b->buf);
  for (i = 0; i < 5; i++) {
    assert_int_equal (thin_get64 (e[i].length_op) & 0xff, ops[i]);
    assert_int_equal (thin_get64 (e[i].length_op) >> 8, 3);
    assert_int_equal (thin_get64 (e[i].logical), 10 * i);
    assert_int_equal (thin_get64 (e[i].physical), i < 2 ? 0 : 100 * i);
  }
  range_map_clear (&map);
}

/* Round after round, with the tail behind. */
TEST_WITH (it_goes_round, struct bench *b, start (), stop)
{
  struct thin_log_position end;
  uint64_t first = 0, room;
  unsigned i;
  size_t n;

  b->rng = test_rng ("it_goes_round");
  for (i = 0; i < share (500); i++) {
    room = thin_log_free (&b->log);
    if (room == 0 || rng_chance (&b->rng, 20)) {
      b->super.log = b->log.head;
      b->log.tail = b->log.head.block;
      continue;
    }
    assert_true (b->log.head.block + room <= RING);
    n = 1 + (size_t) rng_below (&b->rng, thin_log_room (room));
    assert_true (thin_log_blocks (n) <= room);
    put (b, n, first++);
    assert_int_equal (replay (b, &end), 0);
    assert_int_equal (b->last, first - 1 + 2 * (n - 1));
    assert_memory_equal (&end, &b->log.head, sizeof end);
  }
}

/* Any sector of the last record that is not there, or is another, ends the log before. */
TEST_WITH (a_torn_record_is_none, struct bench *b, start (), stop)
{
  struct thin_log_position end, before;
  uint8_t *at, kept[512];
  unsigned sector;

  put (b, 3, 0);
  before = b->log.head;
  put (b, 400, 0);
  for (sector = 0; sector < 400 * 24 / 512; sector++) {
    at =
      b->fake->content + (THIN_LOG + before.block) * THIN_BLOCK + sector * 512;
    memcpy (kept, at, 512);
    memset (at, 0, 512);
    assert_int_equal (replay (b, &end), 0);
    assert_int_equal (b->seen, 3);
    assert_memory_equal (&end, &before, sizeof end);
    memcpy (at, kept, 512);
  }
  assert_int_equal (replay (b, &end), 0);
  assert_int_equal (b->seen, 403);
}

/* One that others follow was there. */
TEST_WITH (a_gap_is_an_error, struct bench *b, start (), stop)
{
  struct thin_log_position end;

  put (b, 3, 0);
  put (b, 3, 10);
  put (b, 3, 20);
  b->fake->content[(THIN_LOG + 1) * THIN_BLOCK + 100] ^= 4;
  assert_int_equal (replay (b, &end), -EIO);
}

/* What was written long ago, in the same place, is no part of it. */
TEST_WITH (old_records_are_not_taken, struct bench *b, start (), stop)
{
  struct thin_log_position end;
  unsigned i;

  for (i = 0; i < RING; i++) {
    put (b, 1, i);
    b->log.tail = b->log.head.block;
  }
  b->super.log = b->log.head; /* where the first of them is */
  assert_int_equal (replay (b, &end), 0);
  assert_int_equal (b->seen, 0);
}

TEST_WITH (nonsense_is_an_error, struct bench *b, start (), stop)
{
  struct thin_log_position end;

  put (b, 3, b->super.disk_bytes / THIN_BLOCK - 2);
  assert_int_equal (replay (b, &end), -EIO);
  b->super.log.block = RING;
  assert_int_equal (replay (b, &end), -EIO);
}

/* --- numbers that nobody has written in good faith */

static int
decode (struct bench *b, struct thin_super super)
{
  struct thin_super found;

  thin_super_encode (&super, THIN_SUPER_A, b->buf);
  return thin_super_decode (b->buf, THIN_SUPER_A, &found);
}

/* All of the ring is read when an image is opened, and these numbers only go up. */
TEST_WITH (a_superblock_is_within_bounds, struct bench *b, start (), stop)
{
  struct thin_super super = b->super;

  super.block_shift = THIN_BLOCK_SHIFT;
  super.store_blocks = THIN_MAX_BLOCKS;
  super.log_blocks = THIN_MAX_LOG;
  super.generation = super.log.sequence = THIN_MAX_COUNT;
  assert_int_equal (decode (b, super), 0);
  super.log_blocks++;
  assert_int_equal (decode (b, super), -EIO);
  super.log_blocks = RING;
  super.generation++;
  assert_int_equal (decode (b, super), -EIO);
  super.generation = 1;
  super.log.sequence++;
  assert_int_equal (decode (b, super), -EIO);
}

TEST_WITH (no_larger_log_is_made, struct bench *b, start (), stop)
{
  char text[100];
  const struct store_message why = { text, sizeof text };
  struct thin_create what = { .disk_bytes = 1 << 20,
                              .log_blocks = THIN_MAX_LOG + 1 };

  b->fake->store.geo.size = UINT64_C (1) << 40;
  assert_int_equal (thin_create (&b->fake->store, &what, &why), -EINVAL);
  b->fake->store.geo.size = 4 << 20;
}

/* To look through a ring of records that overlap would take for ever. */
TEST_WITH (no_record_is_longer_than_others_are, struct bench *b, start (), stop)
{
  const size_t blocks = THIN_LOG_RECORD + 1;
  struct thin_log_header *h = xcalloc (blocks, THIN_BLOCK);
  struct thin_log_position end;
  int i;

  b->super.log_blocks = b->log.blocks = THIN_LOG_RECORD + 2;
  for (i = 0; i < 2; i++) {
    h->blocks = thin_put32 (blocks - i);
    h->chain = thin_put64 (b->super.log.chain);
    thin_seal (&h->h, THIN_MAGIC_LOG, b->super.uuid, THIN_LOG,
               b->super.log.sequence, (blocks - i) * THIN_BLOCK);
    memcpy (b->fake->content + THIN_LOG * THIN_BLOCK, h, blocks * THIN_BLOCK);
    assert_int_equal (replay (b, &end), 0);
    assert_int_equal (end.sequence, b->super.log.sequence + i);
  }
  free (h);
}

/* Whose end is where nothing is, or who are too many. */
TEST_WITH (a_node_is_within_bounds, struct bench *b, start (), stop)
{
  static const struct {
    enum thin_tree tree;
    uint64_t start, length, value;
    bool good;
  } nodes[] = {
    { THIN_FREE, 500, 24, 0, true },
    { THIN_FREE, 500, 525, 0, false },
    { THIN_FREE, UINT64_MAX - 9, 20, 0, false },
    { THIN_REFS, 500, 24, THIN_MAX_REFS, true },
    { THIN_REFS, 500, 24, THIN_MAX_REFS + 1, false },
    { THIN_REFS, UINT64_MAX - 9, 20, 2, false },
  };
  struct thin_node *node = (struct thin_node *) b->buf;
  size_t i;

  for (i = 0; i < sizeof nodes / sizeof *nodes; i++) {
    const struct thin_root root = { 300, 5, 0 };
    const struct thin_ref ref = thin_root_ref (nodes[i].tree, &root);

    node->h.kind = nodes[i].tree;
    node->h.count = thin_put16 (1);
    node->entries[0].key = thin_put64 (nodes[i].start);
    node->entries[0].length = thin_put64 (nodes[i].length);
    node->entries[0].value = thin_put64 (nodes[i].value);
    thin_seal (&node->h, THIN_MAGIC_NODE, b->super.uuid, 300, 5, THIN_BLOCK);
    assert_int_equal (thin_node_valid (node, &ref, b->super.uuid, 1024),
                      nodes[i].good);
  }
}

RUN_TESTS ()
