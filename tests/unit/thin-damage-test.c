/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thin image with each single bit of its metadata flipped in turn, and each block of
 * it zeroed, or put in another's place: what is looked up is right or an error, and
 * check finds each of these unless there is a second copy.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/thin/format.h"
#include "fs/thin/meta.h"
#include "fs/thin/repair.h"
#include "fs/thin/super.h"
#include "tests/unit/test.h"
#include "tools/memory-store.h"
#include "tools/util.h"

#define BLOCKS 320u /* of the store */
#define DISK 64u    /* blocks, of the disk */
#define SNAPSHOTS 2
#define PROCESSES 3u /* that flip bits */

struct disk {
  uint64_t at[DISK]; /* 0: reads as zero */
};

static struct {
  uint8_t *pristine, *content; /* BLOCKS blocks */
  struct disk head, snapshots[SNAPSHOTS];
  bool used[BLOCKS]; /* by metadata of the image */
} image;

static const char *const names[SNAPSHOTS] = { "one", "two" };

/* --- making it --- */

static void
map (struct thin_meta *m, uint64_t first, uint64_t n)
{
  struct thin_range range;
  struct thin_txn *t;
  uint64_t i;

  assert_int_equal (thin_txn_begin (m, &t), 0);
  for (i = 0; i < n; i++) {
    assert_int_equal (thin_meta_take (m, 1, &range), 0);
    assert_int_equal (
      thin_txn_map (t, first + 2 * i, 1, range.start, i % 4 == 3), 0);
  }
  assert_int_equal (thin_txn_commit (t, NULL, NULL, NULL), 0);
}

static void
learn (struct thin_meta *m, const struct thin_root *root, struct disk *disk)
{
  struct thin_extent e;
  uint64_t pos, i;

  for (pos = 0; pos < DISK; pos += e.length) {
    assert_int_equal (thin_meta_lookup (m, root, pos, DISK - pos, false, &e),
                      0);
    for (i = 0; i < e.length; i++)
      disk->at[pos + i] = e.type == IOMAP_MAPPED ? e.physical + i : 0;
  }
}

static int
make_image (void **state)
{
  const struct thin_create what = { .disk_bytes = DISK * THIN_BLOCK };
  struct thin_snapshot s;
  struct memory_store store;
  struct thin_meta *m;
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  int i;

  (void) state;
  image.content = calloc (BLOCKS, THIN_BLOCK);
  image.pristine = calloc (BLOCKS, THIN_BLOCK);
  memory_store_init (&store, image.content, BLOCKS * THIN_BLOCK);
  if (thin_create (&store.store, &what, &why) < 0)
    fail_msg ("%s", text);
  assert_int_equal (
    thin_meta_open (&store.store, &(struct thin_open) { 0 }, &m, &why), 0);
  map (m, 0, 8);
  for (i = 0; i < SNAPSHOTS; i++) {
    assert_int_equal (thin_snapshot_create (m, names[i], 7), 0);
    map (m, 4 * (uint64_t) i + 1, 3);
    assert_int_equal (thin_snapshot_find (m, names[i], &s), 0);
    learn (m, &s.root, &image.snapshots[i]);
  }
  learn (m, NULL, &image.head);
  thin_meta_close (m);
  memcpy (image.pristine, image.content, BLOCKS * THIN_BLOCK);
  return 0;
}

static int
free_image (void **state)
{
  (void) state;
  free (image.content);
  free (image.pristine);
  return 0;
}

/* --- looking at it --- */

/* What comes of damage, from good to bad. */
enum outcome { FOUND, MISSED, WRONG };

/* Is it what it should be?  An error is left in *found. */
static bool
is_right (struct thin_meta *m, const struct thin_root *root,
          const struct disk *disk, bool *found)
{
  struct thin_extent e;
  uint64_t pos, i;

  for (pos = 0; pos < DISK; pos += e.length) {
    if (thin_meta_lookup (m, root, pos, DISK - pos, false, &e) < 0) {
      *found = true;
      e.length = DISK / 4; /* it is the same node, most likely */
      continue;
    }
    for (i = 0; i < e.length; i++)
      if (disk->at[pos + i] != (e.type == IOMAP_MAPPED ? e.physical + i : 0))
        return false;
  }
  return true;
}

/* The same of the snapshots: all of them are there. */
static bool
are_right (struct thin_meta *m, bool *found)
{
  struct thin_snapshot *list;
  bool right;
  size_t i, n;

  if (thin_snapshot_list (m, &list, &n) < 0) {
    *found = true;
    return true;
  }
  right = n == SNAPSHOTS;
  for (i = 0; i < n && right; i++)
    right = strcmp (list[i].name, names[i]) == 0 &&
            is_right (m, &list[i].root, &image.snapshots[i], found);
  free (list);
  return right;
}

static void
ignore_problem (void *opaque, const char *message)
{
  (void) opaque;
  (void) message;
}

/* Is one of the superblocks not what it was? */
static bool
supers_differ (void)
{
  struct thin_super super;

  return thin_super_decode (image.content, THIN_SUPER_A, &super) < 0 ||
         thin_super_decode (image.content + THIN_SUPER_B * THIN_BLOCK,
                            THIN_SUPER_B, &super) < 0;
}

/* all: check it, too, if it is found anyway. */
static enum outcome
look_at_image (bool all)
{
  struct thin_check check = { .problem = ignore_problem };
  struct memory_store store;
  char text[200];
  const struct store_message why = { text, sizeof text };
  const struct thin_open how = { .readonly = true, .cache_nodes = 32 };
  struct thin_meta *m;
  bool found = supers_differ (), right;

  memory_store_init (&store, image.content, BLOCKS * THIN_BLOCK);
  if (thin_meta_open (&store.store, &how, &m, &why) < 0)
    return FOUND;
  right = is_right (m, NULL, &image.head, &found) && are_right (m, &found);
  if ((all || !found) && (thin_check (m, &check) < 0 || check.problems > 0))
    found = true;
  thin_meta_close (m);
  return !right ? WRONG : found ? FOUND : MISSED;
}

/* --- damage --- */

static bool
is_metadata (const uint8_t *block)
{
  return memcmp (block, "Fth", 3) == 0;
}

static uint8_t *
block_at (uint64_t at)
{
  return image.content + at * THIN_BLOCK;
}

static void
restore (uint64_t at)
{
  memcpy (block_at (at), image.pristine + at * THIN_BLOCK, THIN_BLOCK);
}

/* As many as there must be: two superblocks, and a leaf or table of each kind. */
#define LEAST_USED 8

TEST_BETWEEN (each_block_zeroed_is_found, make_image, free_image)
{
  enum outcome outcome;
  unsigned n = 0;
  uint64_t at;

  assert_int_equal (look_at_image (true), MISSED);
  for (at = 0; at < BLOCKS; at++) {
    if (!is_metadata (block_at (at)))
      continue;
    memset (block_at (at), 0, THIN_BLOCK);
    outcome = look_at_image (true);
    assert_int_not_equal (outcome, WRONG);
    image.used[at] = outcome == FOUND;
    n += image.used[at];
    restore (at);
  }
  assert_int_equal (look_at_image (true), MISSED);
  printf ("# %u blocks of metadata in use\n", n);
  assert_true (n >= LEAST_USED);
}

/* --- repair --- */

/* Is all of it right, and nothing found? */
static bool
is_whole (struct thin_meta *m)
{
  struct thin_check check = { .problem = ignore_problem };
  bool found = false;

  return is_right (m, NULL, &image.head, &found) && are_right (m, &found) &&
         !found && thin_check (m, &check) == 0 && check.problems == 0;
}

/* Returns as thin_repair; if that is 0 all of it is as before, now and once more, with
 * another transaction meanwhile.
 */
static int
repair_image (void)
{
  struct thin_check check = { .problem = ignore_problem };
  struct memory_store store;
  struct range_nodes nodes;
  struct range_map log;
  struct thin_range range;
  struct thin_meta *m;
  struct thin_txn *t;
  char text[200];
  const struct store_message why = { text, sizeof text };
  int r;

  memory_store_init (&store, image.content, BLOCKS * THIN_BLOCK);
  assert_int_equal (
    thin_meta_open (&store.store, &(struct thin_open) { 0 }, &m, &why), 0);
  range_nodes_init (&nodes);
  range_map_init (&log, &nodes);
  r = thin_repair (m, &log, &check);
  if (r == 0) {
    assert_true (is_whole (m));
    assert_int_equal (thin_txn_begin (m, &t), 0);
    assert_int_equal (thin_meta_take (m, 1, &range), 0);
    assert_int_equal (thin_txn_map (t, 0, 1, range.start, false), 0);
    assert_int_equal (thin_txn_commit (t, NULL, NULL, NULL), 0);
    check.problems = 0;
    assert_int_equal (thin_check (m, &check), 0);
    assert_int_equal (check.problems, 0);
  }
  range_map_clear (&log);
  range_nodes_destroy (&nodes);
  thin_meta_close (m);
  return r;
}

/* What only says what is free, or how often something is used, can be made anew: the
 * roots of both trees at least.  Nothing else is touched.
 */
TEST_BETWEEN (each_block_zeroed_is_repaired_or_left, make_image, free_image)
{
  unsigned repaired = 0, left = 0;
  struct thin_super super;
  uint64_t at;
  int r;

  assert_int_equal (thin_super_decode (image.pristine, THIN_SUPER_A, &super),
                    0);
  for (at = THIN_OWNER + 1; at < BLOCKS; at++) {
    if (at == THIN_SUPER_B || !is_metadata (image.pristine + at * THIN_BLOCK))
      continue;
    memset (block_at (at), 0, THIN_BLOCK);
    r = repair_image ();
    if (at == super.free.address || at == super.refs.address)
      assert_int_equal (r, 0);
    if (at == super.extents.address || at == super.chunks.address ||
        at == super.snapshots.address)
      assert_true (r == -EUCLEAN);
    repaired += r == 0;
    left += r < 0;
    memcpy (image.content, image.pristine, BLOCKS * THIN_BLOCK);
  }
  printf ("# %u repaired, or not in use; %u left\n", repaired, left);
}

/* Counters that say something else, and two trees that are lost at once. */
TEST_BETWEEN (what_an_image_says_of_itself_is_counted_anew, make_image,
              free_image)
{
  struct thin_super super;

  assert_int_equal (thin_super_decode (image.content, THIN_SUPER_A, &super), 0);
  memset (block_at (super.free.address), 0, THIN_BLOCK);
  memset (block_at (super.refs.address), 0, THIN_BLOCK);
  super.mapped += 3;
  super.unwritten += 5;
  super.free_blocks -= 7;
  thin_super_encode (&super, THIN_SUPER_A, block_at (THIN_SUPER_A));
  thin_super_encode (&super, THIN_SUPER_B, block_at (THIN_SUPER_B));
  assert_int_equal (repair_image (), 0);
}

/* A block that stands in two places of the disk: which of them is right? */
TEST_BETWEEN (what_is_two_things_is_left, make_image, free_image)
{
  struct thin_super super;
  struct thin_node *leaf;

  assert_int_equal (thin_super_decode (image.content, THIN_SUPER_A, &super), 0);
  assert_int_equal (super.extents.level, 0);
  leaf = (struct thin_node *) block_at (super.extents.address);
  leaf->entries[1].value = leaf->entries[0].value;
  thin_seal (&leaf->h, THIN_MAGIC_NODE, super.uuid, super.extents.address,
             super.extents.generation, THIN_BLOCK);
  memcpy (image.pristine, image.content, BLOCKS * THIN_BLOCK);
  assert_int_equal (repair_image (), -EUCLEAN);
  assert_memory_equal (image.content, image.pristine, BLOCKS * THIN_BLOCK);
}

/* Each step'th bit of the block.  Returns how many were missed, or worse. */
static unsigned
flip_bits (uint64_t at, unsigned step)
{
  unsigned bit, bad = 0;

  for (bit = 0; bit < THIN_BLOCK * 8; bit += step) {
    block_at (at)[bit / 8] ^= (uint8_t) (1u << bit % 8);
    if (look_at_image (bit % 8 == 0) != FOUND) {
      printf ("# bit %u of block %u\n", bit, (unsigned) at);
      bad++;
    }
    block_at (at)[bit / 8] ^= (uint8_t) (1u << bit % 8);
  }
  return bad;
}

/* The blocks that are this process's. */
static void
flip_share (unsigned process, unsigned step)
{
  unsigned n = 0, bad = 0;
  uint64_t at;

  for (at = 0; at < BLOCKS; at++)
    if (image.used[at] && n++ % PROCESSES == process)
      bad += flip_bits (at, step);
  fflush (stdout);
  _exit (bad > 0);
}

TEST_BETWEEN (each_bit_flipped_is_found, make_image, free_image)
{
  unsigned step = 1, i;
  int status;

  if (share (100) < 100) /* odd: it comes to all places of a byte */
    step = 31;
  fflush (stdout);
  for (i = 0; i < PROCESSES; i++)
    if (fork () == 0)
      flip_share (i, step);
  for (i = 0; i < PROCESSES; i++) {
    assert_true (wait (&status) > 0);
    assert_int_equal (status, 0);
  }
}

/* Each block in the place of each other, and of a stale one of its own. */
TEST_BETWEEN (each_block_in_the_place_of_another_is_found, make_image,
              free_image)
{
  uint64_t at, other;

  for (at = 0; at < BLOCKS; at++)
    for (other = 0; image.used[at] && other < BLOCKS; other++) {
      if (other == at || !is_metadata (image.pristine + other * THIN_BLOCK))
        continue;
      memcpy (block_at (at), image.pristine + other * THIN_BLOCK, THIN_BLOCK);
      assert_int_equal (look_at_image (true), FOUND);
      restore (at);
    }
}

RUN_TESTS ()
