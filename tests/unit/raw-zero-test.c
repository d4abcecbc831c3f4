/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: zeroes and trims, from when they are acknowledged until they are durable.
 */

#include <errno.h>
#include <string.h>

#include "map-run.h"
#include "raw-bench.h"
#include "tests/unit/test.h"

#define LAST (8 * MIB)

static struct bench *
start (void)
{
  struct bench *b = bench_open (LAST);

  fake_store_set_status (b->fake, 0, LAST, STORE_DATA);
  bench_start (b);
  memset (b->fake->content, 0xaa, LAST);
  return b;
}

/* The store's requests since the last look, all of them zeroes or trims. */
static unsigned
sent (struct bench *b)
{
  unsigned n = fake_store_count (b->fake, STORE_ZERO) +
               fake_store_count (b->fake, STORE_TRIM);

  fake_store_clear (b->fake);
  return n;
}

BENCH_TEST (nothing_is_sent_before_it_is_wanted, start ())
{
  struct fake_record record;
  struct iomap data, elsewhere;

  data = mapped (b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, LAST);
  elsewhere = mapped (b, 6 * MIB, 512, 0, IOMAP_MAPPED, LAST - 6 * MIB);
  elsewhere.length = MIB;
  zero (b, MIB, MIB, false);
  zero (b, 3 * MIB, MIB, true);
  zero (b, 2 * MIB, MIB, true);
  assert_false (valid (b, &data));
  assert_true (valid (b, &elsewhere)); /* whatever is zeroed elsewhere */
  step (b);
  assert_int_equal (sent (b), 0);
  mapped (b, 0, MIB, IOMAP_REPORT, IOMAP_MAPPED, MIB);
  mapped (b, MIB, MIB, IOMAP_REPORT, IOMAP_UNWRITTEN, MIB);
  mapped (b, 2 * MIB, 2 * MIB, IOMAP_REPORT, IOMAP_HOLE, 2 * MIB);
  mapped (b, 2 * MIB, 2 * MIB, IOMAP_WRITE, IOMAP_UNWRITTEN, 2 * MIB);
  assert_int_equal (b->fake->content[MIB], 0xaa);
  assert_int_equal (atomic_load (&b->fs->unsaved), 2);

  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_true (fake_store_record (b->fake, 0, &record));
  assert_int_equal (record.op, STORE_ZERO);
  assert_int_equal (record.flags, 0);
  assert_true (fake_store_record (b->fake, 1, &record));
  assert_int_equal (record.op, STORE_TRIM);
  assert_int_equal (record.length, 2 * MIB);
  assert_int_equal (sent (b), 2);
  assert_int_equal (b->fake->content[MIB - 1], 0xaa);
  assert_int_equal (b->fake->content[MIB], 0);
  assert_int_equal (b->fake->content[4 * MIB - 1], 0);
  assert_int_equal (atomic_load (&b->fs->unstable), 2);
  assert_int_equal (flush (b), 0);
  assert_int_equal (atomic_load (&b->fs->unsaved), 0);
  mapped (b, MIB, 512, IOMAP_REPORT, IOMAP_UNWRITTEN, MIB);
  mapped (b, 2 * MIB, 512, IOMAP_REPORT, IOMAP_HOLE, 2 * MIB);
}

/* Only what is asked for, by blocks; and what is old enough. */
BENCH_TEST (wanted_and_expired, start ())
{
  uint64_t now;

  b->fs->ops->attach (b->fs, NSEC_PER_SEC);
  zero (b, 0, 4 * MIB, true);
  now = b->env.now (&b->env);
  assert_int_equal (settle_zeroes (b, MIB + 1, MIB + 2), 0);
  assert_int_equal (fake_store_bytes (b->fake, STORE_TRIM), 512);
  fake_store_clear (b->fake);
  assert_true (b->fs->ops->deadline (b->fs) > now);
  assert_true (b->fs->ops->deadline (b->fs) <= now + NSEC_PER_SEC);
  b->fs->ops->step (b->fs, now);
  assert_int_equal (sent (b), 0);
  b->fs->ops->step (b->fs, now + NSEC_PER_SEC);
  assert_int_equal (fake_store_bytes (b->fake, STORE_TRIM), 4 * MIB - 512);
  step (b);
  assert_true (b->fs->ops->idle (b->fs));
}

BENCH_TEST (a_zero_that_fails_is_kept_and_tried_again, start ())
{
  uint64_t now;

  zero (b, 0, MIB, false);
  zero (b, 2 * MIB, MIB, true);
  fake_store_fail_next (b->fake, STORE_ZERO, 2, -EIO);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), -EIO);
  assert_int_equal (b->fake->content[2 * MIB], 0); /* others are done */
  mapped (b, 0, MIB, 0, IOMAP_UNWRITTEN, MIB);
  sent (b);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), -EIO);
  assert_int_equal (sent (b), 1);

  /* By itself, after a while. */
  now = b->env.now (&b->env);
  assert_true (b->fs->ops->deadline (b->fs) > now - NSEC_PER_SEC);
  assert_true (b->fs->ops->deadline (b->fs) < now + 10 * NSEC_PER_SEC);
  b->fs->ops->step (b->fs, now + 10 * NSEC_PER_SEC);
  step (b);
  assert_int_equal (sent (b), 1);
  assert_int_equal (b->fake->content[0], 0);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_int_equal (sent (b), 0);
}

/* One that is to keep its space, where there is none, is punched. */
BENCH_TEST (no_space_to_keep, start ())
{
  struct fake_record record;

  zero (b, 0, MIB, false);
  fake_store_fail_next (b->fake, STORE_ZERO, 1, -ENOSPC);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_true (fake_store_record (b->fake, 1, &record));
  assert_int_equal (record.op, STORE_TRIM);
  assert_int_equal (b->fake->content[0], 0);
}

/* When all fail, or the store is out of reach, not all are tried. */
BENCH_TEST (all_fail, start ())
{
  unsigned i;

  for (i = 0; i < 100; i++)
    zero (b, i * 8192, 4096, true);
  fake_store_fail_next (b->fake, STORE_TRIM, 1000, -EIO);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), -EIO);
  assert_true (sent (b) < 30);
  fake_store_heal (b->fake);
  fake_store_fail_next (b->fake, STORE_TRIM, 1000, -EHOSTDOWN);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), -EHOSTDOWN);
  assert_true (sent (b) <= 8);
  fake_store_heal (b->fake);
  b->fs->ops->retry (b->fs);
  step (b);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_int_equal (sent (b), 100);
}

/* A loss, or a flush that fails: again, what was done and what was under way. */
BENCH_TEST (lost, start ())
{
  zero (b, 0, MIB, true);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  zero (b, 2 * MIB, MIB, true);
  fake_store_hold (b->fake, STORE_TRIM);
  b->fs->ops->settle (b->fs, 0, UINT64_MAX);
  step (b);
  b->fs->ops->lost (b->fs, LOST_ALL);
  fake_store_unhold (b->fake, STORE_TRIM);
  fake_store_clear (b->fake);
  step (b);
  assert_int_equal (fake_store_bytes (b->fake, STORE_TRIM), 2 * MIB);
  mapped (b, 0, MIB, 0, IOMAP_HOLE, MIB);

  sent (b);
  fake_store_fail_next (b->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (flush (b), -EIO);
  step (b);
  assert_int_equal (fake_store_bytes (b->fake, STORE_TRIM), 2 * MIB);
  assert_int_equal (flush (b), 0);
  b->fs->ops->lost (b->fs, LOST_ALL);
  sent (b);
  step (b);
  assert_int_equal (sent (b), 0);
}

/* Data that was taken before the zero is not mapped; nor while what was there may
 * still be in memory.
 */
BENCH_TEST (data_taken_before, start ())
{
  struct iomap_range range = { .start = MIB, .end = 2 * MIB };

  b->fs->ops->take (b->fs);
  assert_int_equal (b->fs->ops->zero (b->fs, &range, true), 0);
  assert_int_equal (try_map (b, MIB, 4096), -EAGAIN);
  writeback (b, 4 * MIB, 4096);
  b->fs->ops->take (b->fs);
  assert_int_equal (try_map (b, MIB, 4096), -EAGAIN);
  b->fs->ops->zero_end (b->fs, &range);
  assert_int_equal (try_map (b, MIB, 4096), -EAGAIN);
  b->fs->ops->take (b->fs);
  writeback (b, MIB, 4096);
  mapped (b, MIB + 4096, MIB, 0, IOMAP_UNWRITTEN, MIB - 4096);
}

/* Data that goes there in a zero's place: the zero is not sent, unless that fails
 * or is zeroed again; and nobody who waits for the zero has less than the data.
 */
BENCH_TEST (data_in_its_place, start ())
{
  zero (b, 0, MIB, false);
  writeback (b, 0, MIB);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_int_equal (sent (b), 0);
  assert_int_equal (flush (b), 0);
  mapped (b, 0, MIB, 0, IOMAP_MAPPED, MIB);

  zero (b, 0, MIB, false);
  writeback_begin (b, 0, MIB);
  b->fs->ops->settle (b->fs, 0, UINT64_MAX);
  step (b);
  assert_int_equal (b->fs->ops->settled (b->fs, 0, UINT64_MAX, UINT64_MAX),
                    -EAGAIN);
  run_done (b->fs, b->fs->ops, 0, MIB, -EIO);
  step (b);
  assert_int_equal (sent (b), 1);
  assert_int_equal (flush (b), 0);

  writeback_begin (b, 0, MIB);
  zero (b, 0, MIB / 2, false);
  b->fs->ops->settle (b->fs, 0, UINT64_MAX);
  step (b);
  assert_int_equal (sent (b), 0); /* only after it */
  run_done (b->fs, b->fs->ops, 0, MIB, 0);
  step (b);
  assert_int_equal (fake_store_bytes (b->fake, STORE_ZERO), MIB / 2);
}

/* A direct write has what is pending beneath it done first. */
BENCH_TEST (direct_write, start ())
{
  struct iomap iomap;

  zero (b, 0, MIB, false);
  assert_int_equal (
    b->fs->ops->begin (b->fs, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, &iomap),
    -EAGAIN);
  assert_int_equal (settle_zeroes (b, 4096, 8192), 0);
  assert_int_equal (fake_store_bytes (b->fake, STORE_ZERO), 4096);
  iomap =
    mapped (b, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, IOMAP_MAPPED, 4096);
  b->fs->ops->end (b->fs, 4096, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, &iomap);
  mapped (b, 4096, 4096, 0, IOMAP_MAPPED, 4096);
  b->fs->ops->lost (b->fs, LOST_ALL);
  mapped (b, 4096, 4096, 0, IOMAP_MAPPED, 4096);
}

static int
end_direct (struct bench *b, const struct iomap *iomap)
{
  return b->fs->ops->end (b->fs, iomap->offset, iomap->length, iomap->length,
                          IOMAP_WRITE | IOMAP_DIRECT, iomap);
}

/* Memory has no copy of it.  So if the zero that it goes in the place of may be
 * undone with it, that is done again, and then the write: after a flush that failed
 * meanwhile, and after a loss of which nobody has told yet.
 */
BENCH_TEST (direct_write_in_doubt, start ())
{
  struct iomap iomap;
  unsigned i;

  for (i = 0; i < 2; i++) {
    zero (b, 0, MIB, false);
    assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
    iomap =
      mapped (b, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, IOMAP_MAPPED, 4096);
    if (i == 0) {
      fake_store_fail_next (b->fake, STORE_FLUSH, 1, -EIO);
      assert_int_equal (flush (b), -EIO);
    }
    else
      fake_store_lose (b->fake, 0);
    assert_int_equal (end_direct (b, &iomap), -ESTALE);
    b->fs->ops->lost (b->fs, LOST_ALL);
    sent (b);
    assert_int_equal (settle_zeroes (b, 4096, 8192), 0);
    assert_int_equal (fake_store_bytes (b->fake, STORE_ZERO), MIB);
    iomap =
      mapped (b, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, IOMAP_MAPPED, 4096);
    assert_int_equal (end_direct (b, &iomap), 0);
    assert_int_equal (flush (b), 0);
    sent (b);
  }

  /* With no zero beneath it, it is the cache that knows. */
  iomap =
    mapped (b, 4096, 4096, IOMAP_WRITE | IOMAP_DIRECT, IOMAP_MAPPED, 4096);
  fake_store_lose (b->fake, 0);
  assert_int_equal (end_direct (b, &iomap), 0);
}

static void
count_ring (void *opaque)
{
  ++*(unsigned *) opaque;
}

/* The loop thread is woken for the first that will be old one day: whatever else it
 * is at.
 */
BENCH_TEST (rings_for_the_first, start ())
{
  unsigned rings = 0;
  struct bell bell = { .ring = count_ring, .opaque = &rings };

  b->fs->bell = &bell;
  b->fs->ops->attach (b->fs, NSEC_PER_SEC);
  zero (b, 0, 4096, true);
  assert_int_equal (rings, 1);
  zero (b, MIB, 4096, true);
  assert_int_equal (rings, 1);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  rings = 0;
  zero (b, 2 * MIB, 4096, true); /* beside those that are done */
  assert_int_equal (rings, 1);
  step (b);
  zero (b, 3 * MIB, 4096, true);
  assert_int_equal (rings, 1);
  b->fs->bell = NULL;
}

static void
count (void *opaque, uint64_t offset, uint64_t length)
{
  unsigned *n = opaque;

  (void) offset;
  (void) length;
  ++*n;
}

/* There is an end to what can be remembered; nothing is forgotten for it. */
BENCH_TEST (no_room, bench_open (UINT64_C (1) << 40))
{
  struct iomap_range range;
  uint64_t i, n;
  unsigned unsaved = 0;

  bench_start (b);
  for (n = 0;; n++) {
    range = (struct iomap_range) { .start = n * 8192, .end = n * 8192 + 512 };
    if (b->fs->ops->zero (b->fs, &range, true) < 0)
      break;
    b->fs->ops->zero_end (b->fs, &range);
  }
  assert_true (n > 10000 && n < 100000);
  assert_int_equal (b->fs->ops->zero (b->fs, &range, false), -EAGAIN);
  for (i = 0; i < n; i += n / 100)
    mapped (b, i * 8192, 512, 0, IOMAP_UNWRITTEN, 512);
  b->fs->ops->unsaved (b->fs, count, &unsaved);
  assert_int_equal (unsaved, n);
  assert_int_equal (settle_zeroes (b, 0, UINT64_MAX), 0);
  assert_int_equal (flush (b), 0);
  assert_int_equal (b->fs->ops->zero (b->fs, &range, false), 0);
  b->fs->ops->zero_end (b->fs, &range);
}

RUN_TESTS ()
