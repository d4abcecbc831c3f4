/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bad ranges, on a disk that is an array of blocks, some of them bad, and is
 * written as the passes of write-back do it.
 */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/writeback/bad-ranges.h"
#include "seed.h"
#include "tests/unit/test.h"

#define BLOCK 512u
#define NR_BLOCKS 16384u
#define CLUSTER 2048u /* blocks: most at once */
#define SECOND UINT64_C (1000000000)

struct disk {
  struct bad_ranges list;
  bool dirty[NR_BLOCKS], bad[NR_BLOCKS];
  uint64_t now; /* ns */
  unsigned writes;
  bool full; /* a range could not be remembered */
};

static struct disk *
new_disk (void)
{
  struct disk *disk = xcalloc (1, sizeof *disk);

  disk->now = SECOND;
  memset (disk->dirty, true, sizeof disk->dirty);
  return disk;
}

static void
check (const struct disk *disk)
{
  const struct bad_range *r = disk->list.at;
  bool ok = disk->list.n <= MAX_BAD_RANGES;
  unsigned i;

  for (i = 0; ok && i < disk->list.n; i++)
    ok = r[i].start < r[i].end && r[i].start % BLOCK == 0 &&
         r[i].end % BLOCK == 0 && (i == 0 || r[i - 1].end <= r[i].start) &&
         r[i].backoff <= BACKOFF_MAX;
  assert_true (ok);
}

/* One store write of blocks [first, last). */
static void
write_run (struct disk *disk, unsigned first, unsigned last)
{
  uint64_t start = (uint64_t) first * BLOCK, end = (uint64_t) last * BLOCK;
  bool fails = false;
  unsigned i;

  disk->writes++;
  for (i = first; i < last; i++)
    fails |= disk->bad[i];
  if (!fails) {
    memset (&disk->dirty[first], false, last - first);
    bad_ranges_written (&disk->list, start, end);
  }
  else if (!bad_ranges_failed (&disk->list, start, end, -5, BLOCK, disk->now))
    disk->full = true;
  check (disk);
}

static unsigned
min (unsigned a, unsigned b)
{
  return a < b ? a : b;
}

/* Write what is dirty of blocks [first, last), cut at ends of ranges; inside
 * of them only if it is a retry.  Returns whether there was any.
 */
static bool
write_pass (struct disk *disk, unsigned first, unsigned last, bool retry)
{
  const struct bad_range *r;
  unsigned end;
  bool any = false;

  while (first < last) {
    const bool *dirty = memchr (&disk->dirty[first], true, last - first);

    if (dirty == NULL)
      break;
    first = (unsigned) (dirty - disk->dirty);
    r = bad_ranges_find (&disk->list, (uint64_t) first * BLOCK);
    end = min (last, first + CLUSTER);
    if (r && r->start <= (uint64_t) first * BLOCK) {
      end = min (end, (unsigned) (r->end / BLOCK));
      if (!retry) {
        first = end;
        continue;
      }
    }
    else if (r)
      end = min (end, (unsigned) (r->start / BLOCK));
    while (end > first && memchr (&disk->dirty[first], false, end - first))
      end =
        (bool *) memchr (&disk->dirty[first], false, end - first) - disk->dirty;
    any = true;
    write_run (disk, first, end);
    first = end;
  }
  return any;
}

/* Try what is due, until nothing is. */
static void
retry (struct disk *disk)
{
  const struct bad_range *due;
  unsigned first, last;

  while ((due = bad_ranges_due (&disk->list, disk->now)) != NULL) {
    first = (unsigned) (due->start / BLOCK);
    last = (unsigned) (due->end / BLOCK);
    bad_ranges_tried (&disk->list, due->start, due->end, disk->now);
    if (!write_pass (disk, first, last, true))
      bad_ranges_forget (&disk->list, (uint64_t) first * BLOCK,
                         (uint64_t) last * BLOCK);
  }
}

/* Write all that is dirty once, and then what is due. */
static void
write_back (struct disk *disk)
{
  write_pass (disk, 0, NR_BLOCKS, false);
  retry (disk);
}

/* Go to when something is due again, and try it; false if nothing ever is. */
static bool
wait_and_retry (struct disk *disk)
{
  uint64_t deadline = bad_ranges_deadline (&disk->list, disk->now);

  if (deadline == UINT64_MAX)
    return false;
  assert_true (deadline > disk->now && deadline <= disk->now + BACKOFF_MAX);
  disk->now = deadline;
  retry (disk);
  return true;
}

/* All that is good is written, what is bad is not. */
static void
expect_separated (const struct disk *disk)
{
  assert_memory_equal (disk->dirty, disk->bad, sizeof disk->bad);
}

/* The same, and the ranges are exactly what is bad. */
static void
expect_exact (const struct disk *disk)
{
  const struct bad_range *r;
  uint64_t pos;
  unsigned i;

  expect_separated (disk);
  for (i = 0; i < NR_BLOCKS; i++) {
    pos = (uint64_t) i * BLOCK;
    r = bad_ranges_find (&disk->list, pos);
    assert_int_equal (r && r->start <= pos, disk->bad[i]);
  }
}

/* Nothing is bad any more: all is written, in not much more than the longest
 * backoff.
 */
static void
heal (struct disk *disk)
{
  uint64_t since = disk->now;

  memset (disk->bad, false, sizeof disk->bad);
  while (wait_and_retry (disk))
    ;
  write_back (disk);
  expect_exact (disk);
  assert_int_equal (disk->list.n, 0);
  assert_true (disk->now - since <= 2 * BACKOFF_MAX);
  free (disk);
}

TEST (one)
{
  static const unsigned places[] = { 0, 1, 1000, 2047, 2048, NR_BLOCKS - 1 };
  struct disk *disk;
  unsigned i;

  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    disk = new_disk ();
    disk->bad[places[i]] = true;
    write_back (disk);
    expect_exact (disk);
    assert_int_equal (disk->list.n, 1);
    assert_true (disk->writes <= NR_BLOCKS / CLUSTER + 2 * 11);
    heal (disk);
  }
}

/* The waits for one that stays bad double. */
TEST (backoff)
{
  struct disk *disk = new_disk ();
  uint64_t before, wait = BACKOFF_MIN;
  unsigned i, writes;

  disk->bad[77] = true;
  write_back (disk);
  for (i = 0; i < 12; i++) {
    before = disk->now;
    writes = disk->writes;
    assert_true (wait_and_retry (disk));
    assert_int_equal (disk->writes, writes + 1);
    assert_int_equal (disk->now - before, wait);
    wait = wait * 2 < BACKOFF_MAX ? wait * 2 : BACKOFF_MAX;
  }
  heal (disk);
}

TEST (hope)
{
  struct disk *disk = new_disk ();
  uint64_t before;

  disk->bad[77] = disk->bad[9000] = true;
  write_back (disk);
  while (disk->now < 100 * SECOND)
    wait_and_retry (disk);
  before = disk->now;
  memset (disk->bad, false, sizeof disk->bad);
  retry (disk);
  assert_int_equal (disk->list.n, 2);
  bad_ranges_hope (&disk->list);
  retry (disk);
  assert_int_equal (disk->now, before);
  expect_exact (disk);
  heal (disk);
}

/* What is no longer dirty, since it was trimmed, is forgotten. */
TEST (trimmed)
{
  struct disk *disk = new_disk ();

  disk->bad[77] = true;
  write_back (disk);
  disk->dirty[77] = false;
  wait_and_retry (disk);
  assert_int_equal (disk->list.n, 0);
  free (disk);
}

/* A large bad place is one range, and is not tried block by block for ever. */
TEST (hopeless)
{
  struct disk *disk = new_disk ();
  unsigned i, writes;

  for (i = 3000; i < 6000; i++)
    disk->bad[i] = true;
  write_back (disk);
  assert_true (disk->writes < 2 * BAD_RANGES_PATIENCE);
  while (disk->now < 3600 * SECOND)
    wait_and_retry (disk);
  expect_exact (disk);
  writes = disk->writes;
  while (disk->now < 4600 * SECOND)
    wait_and_retry (disk);
  assert_true (disk->writes - writes <= 1010 / 10 * BAD_RANGES_PATIENCE);
  heal (disk);
}

/* More than can be remembered one by one. */
TEST (many)
{
  struct disk *disk = new_disk ();
  unsigned i;

  for (i = 0; i < NR_BLOCKS; i += 2)
    disk->bad[i] = true;
  write_back (disk);
  while (disk->now < share (3600) * SECOND)
    wait_and_retry (disk);
  expect_separated (disk);
  assert_false (disk->full);
  heal (disk);
}

static bool
good_dirty (const struct disk *disk)
{
  unsigned i;

  for (i = 0; i < NR_BLOCKS; i++)
    if (disk->dirty[i] && !disk->bad[i])
      return true;
  return false;
}

/* Any blocks go bad and become good again, and dirty or clean meanwhile. */
TEST (random)
{
  struct rng rng = test_rng ("random");
  struct disk *disk = new_disk ();
  unsigned round, i, n, first, length;

  for (round = 0; round < share (100); round++) {
    n = (unsigned) rng_below (&rng, 20);
    for (i = 0; i < n; i++) {
      length = (unsigned) rng_log (&rng, 500);
      first = (unsigned) rng_below (&rng, NR_BLOCKS - length);
      memset (&disk->bad[first], rng_chance (&rng, 50), length);
      first = (unsigned) rng_below (&rng, NR_BLOCKS - length);
      memset (&disk->dirty[first], rng_chance (&rng, 70), length);
    }
    disk->now += rng_below (&rng, 30 * SECOND);
    write_back (disk);
    wait_and_retry (disk);
  }
  for (i = 0; i < 3000 && good_dirty (disk); i++) {
    wait_and_retry (disk);
    write_back (disk);
  }
  assert_false (good_dirty (disk));
  heal (disk);
}

RUN_TESTS ()
