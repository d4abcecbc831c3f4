/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: what is asked of the store and when, and what is remembered.
 */

#include <errno.h>

#include "raw-bench.h"
#include "tests/unit/map-run.h"
#include "tests/unit/test.h"

BENCH_TEST (what_was_answered_is_not_asked_again, bench_open (3 * GIB + 512))
{
  unsigned asked;
  uint64_t i;

  fake_store_set_status (b->fake, MIB, MIB, STORE_DATA);
  fake_store_set_status (b->fake, 4 * MIB, MIB, STORE_UNWRITTEN);
  bench_start (b);
  assert_int_equal (b->fs->size, 3 * GIB + 512);
  assert_int_equal (b->fs->block_size, 512);
  bench_learn (b);
  asked = fake_store_status_count (b->fake);
  mapped (b, 5000, 10, 0, IOMAP_HOLE, MIB - 5000);
  for (i = 0; i < 100; i++)
    mapped (b, i * 8192, 1, IOMAP_REPORT, IOMAP_HOLE, MIB - i * 8192);
  mapped (b, MIB, 512, 0, IOMAP_MAPPED, MIB);
  mapped (b, 2 * MIB, 512, 0, IOMAP_HOLE, 2 * MIB);
  mapped (b, 4 * MIB, 512, IOMAP_REPORT, IOMAP_UNWRITTEN, MIB);
  mapped (b, 5 * MIB, 512, IOMAP_REPORT, IOMAP_HOLE, 3 * GIB + 512 - 5 * MIB);
  mapped (b, 3 * GIB + 511, 1, 0, IOMAP_HOLE, 1);
  assert_int_equal (fake_store_status_count (b->fake), asked);
}

BENCH_TEST (only_a_report_asks, bench_open (MIB))
{
  bench_start (b);
  mapped (b, 4096, 512, 0, IOMAP_MAPPED, 512);
  mapped (b, 4096, 512, IOMAP_DIRECT, IOMAP_MAPPED, 512);
  mapped (b, 4096, 512, IOMAP_NOWAIT, IOMAP_MAPPED, 512);
  mapped (b, 4096, 512, IOMAP_WRITE, IOMAP_MAPPED, 512);
  assert_int_equal (fake_store_status_count (b->fake), 0);
  fake_store_fail_status (b->fake, -EIO);
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_MAPPED, 512);
  fake_store_fail_status (b->fake, 0);
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_HOLE, MIB - 4096);
  mapped (b, 4096, 512, 0, IOMAP_HOLE, MIB - 4096);
  mapped (b, 4096, 512, IOMAP_NOWAIT, IOMAP_HOLE, MIB - 4096);
}

BENCH_TEST (a_store_without_extents_is_not_asked, bench_open (GIB))
{
  b->fake->store.geo.can_extents = false;
  bench_start (b);
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_MAPPED, 512);
  assert_int_equal (fake_store_status_count (b->fake), 0);
  zero (b, 0, 8192, true);
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_UNWRITTEN, 512);
}

/* A request to the store for each of many small runs would cost more than it
 * saves: small holes are read along with the data around them, also where the
 * request ends, as who reads in order goes on there; and not where they are all
 * that is asked for.
 */
BENCH_TEST (small_holes_do_not_cut_reads, bench_open (MIB))
{
  uint64_t i;

  for (i = 0; i < MIB / 2; i += 8192)
    fake_store_set_status (b->fake, i, 4096, STORE_DATA);
  fake_store_set_status (b->fake, MIB - 4096, 4096, STORE_DATA);
  bench_start (b);
  bench_learn (b);
  mapped (b, 0, 65536, 0, IOMAP_MAPPED, 65536);
  mapped (b, 4096, 65536, 0, IOMAP_MAPPED, 65536);
  mapped (b, 65536 - 4096, 4096, 0, IOMAP_HOLE, 4096);
  mapped (b, 8192, 512, 0, IOMAP_MAPPED, 4096);
  mapped (b, 8192, 512, IOMAP_REPORT, IOMAP_MAPPED, 4096);
  mapped (b, 12288, 512, IOMAP_REPORT, IOMAP_HOLE, 4096);
  mapped (b, MIB / 2 - 8192, MIB / 2, 0, IOMAP_MAPPED, 4096);
  mapped (b, MIB / 2 - 4096, MIB / 2, 0, IOMAP_HOLE, MIB / 2);
  mapped (b, MIB - 8192, 8192, 0, IOMAP_MAPPED, 8192);
}

/* Nor do many ranges make one mapping take long. */
BENCH_TEST (a_read_looks_at_so_many_ranges, bench_open (8 * MIB))
{
  struct iomap iomap;
  uint64_t i;

  for (i = 0; i < 8 * MIB; i += 8192)
    fake_store_set_status (b->fake, i, 4096, STORE_DATA);
  bench_start (b);
  bench_learn (b);
  assert_int_equal (b->fs->ops->begin (b->fs, 0, 8 * MIB, 0, &iomap), 0);
  assert_int_equal (iomap.type, IOMAP_MAPPED);
  assert_true (iomap.length >= MIB && iomap.length < 4 * MIB);
}

BENCH_TEST (ranges_outside_are_refused, bench_open (MIB))
{
  struct iomap_range range = { .start = MIB, .end = MIB + 512 };
  struct iomap iomap;

  bench_start (b);
  assert_int_equal (b->fs->ops->begin (b->fs, MIB, 1, 0, &iomap), -EINVAL);
  assert_int_equal (b->fs->ops->begin (b->fs, 0, 0, 0, &iomap), -EINVAL);
  assert_int_equal (map_run (b->fs, b->fs->ops, MIB, 1), -EINVAL);
  assert_int_equal (b->fs->ops->zero (b->fs, &range, false), -EINVAL);
  mapped (b, MIB - 512, UINT64_MAX, IOMAP_WRITE, IOMAP_MAPPED, 512);
}

BENCH_TEST (a_hole_is_written_and_written_back, bench_open (8 * MIB))
{
  struct iomap hole, reserved;

  bench_start (b);
  bench_learn (b);
  hole = mapped (b, 0, 512, 0, IOMAP_HOLE, 8 * MIB);
  reserved = mapped (b, 8192, 4096, IOMAP_WRITE, IOMAP_DELALLOC, 4096);
  assert_true (valid (b, &hole)); /* nothing has reached the store */
  assert_true (valid (b, &reserved));
  mapped (b, 0, 512, IOMAP_REPORT, IOMAP_HOLE, 8192);
  mapped (b, 8192, 512, IOMAP_REPORT, IOMAP_DELALLOC, 4096);
  mapped (b, 8192, 512, IOMAP_WRITE, IOMAP_DELALLOC, 512);
  mapped (b, 12288, 512, IOMAP_REPORT, IOMAP_HOLE, 8 * MIB - 12288);

  writeback (b, 8704, 512);
  assert_false (valid (b, &hole));
  assert_false (valid (b, &reserved));
  mapped (b, 8192, 512, 0, IOMAP_DELALLOC, 512);
  mapped (b, 8704, 512, 0, IOMAP_MAPPED, 512); /* exactly the range */
  mapped (b, 9216, 512, 0, IOMAP_DELALLOC, 3072);
  assert_int_equal (fake_store_status_count (b->fake), 1);
}

/* Whatever is known, and from where: a write is not cut in the middle of a block,
 * unless it begins or ends there itself.
 */
BENCH_TEST (a_write_is_not_cut_inside_a_block, bench_open (MIB))
{
  bench_start (b);
  bench_learn (b);
  mapped (b, 0, 512, 0, IOMAP_HOLE, MIB);
  mapped (b, 5000, 100, IOMAP_WRITE, IOMAP_DELALLOC, 100);
  mapped (b, 0, 65536, IOMAP_WRITE, IOMAP_DELALLOC, 4608);
  mapped (b, 4608, 65536, IOMAP_WRITE, IOMAP_MAPPED, 512);
  mapped (b, 4700, 65536, IOMAP_WRITE, IOMAP_DELALLOC, 420);
  mapped (b, 5120, 65536, IOMAP_WRITE, IOMAP_DELALLOC, 65536);
}

/* The store's runs begin and end in the middle of blocks, which count as data
 * then; but for the disk's end.
 */
BENCH_TEST (a_block_of_two_kinds_is_data, bench_open (MIB + 3 * 512))
{
  const uint64_t size = MIB + 3 * 512;
  static const struct {
    uint64_t end;
    enum iomap_type type;
  } runs[] = {
    { 8192, IOMAP_MAPPED },  { 16384, IOMAP_HOLE },
    { 24576, IOMAP_MAPPED }, { 32768, IOMAP_UNWRITTEN },
    { 40960, IOMAP_MAPPED }, { MIB + 3 * 512, IOMAP_HOLE },
  };
  uint64_t pos = 0;
  unsigned i;

  b->fake->store.geo.min_io = 8192;
  fake_store_set_status (b->fake, 0, 4096, STORE_DATA);
  fake_store_set_status (b->fake, 20480, 16384, STORE_UNWRITTEN);
  bench_start (b);
  for (i = 0; i < sizeof runs / sizeof runs[0]; pos = runs[i++].end)
    mapped (b, pos, size - pos, IOMAP_REPORT, runs[i].type, runs[i].end - pos);
}

BENCH_TEST (unwritten_stays_so_until_write_back, bench_open (8 * MIB))
{
  fake_store_set_status (b->fake, 0, MIB, STORE_UNWRITTEN);
  bench_start (b);
  bench_learn (b);
  mapped (b, 0, 512, 0, IOMAP_UNWRITTEN, MIB);
  mapped (b, 0, 512, IOMAP_WRITE, IOMAP_UNWRITTEN, 512);
  writeback (b, 0, 512);
  mapped (b, 0, 512, 0, IOMAP_MAPPED, 512);
}

BENCH_TEST (direct_writes_make_data_before_and_after, bench_open (8 * MIB))
{
  const unsigned flags = IOMAP_WRITE | IOMAP_DIRECT;
  struct iomap hole, iomap;

  bench_start (b);
  bench_learn (b);
  hole = mapped (b, 0, 512, 0, IOMAP_HOLE, 8 * MIB);
  iomap = mapped (b, 4096, 4096, flags, IOMAP_MAPPED, 4096);
  assert_false (valid (b, &hole));
  assert_true (valid (b, &iomap));
  /* forgotten, and asked for too early */
  forget (b, 0, MIB);
  hole = mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_HOLE, 8 * MIB - 4096);
  b->fs->ops->end (b->fs, 4096, 4096, 0, flags, &iomap);
  assert_false (valid (b, &hole));
  mapped (b, 4096, 512, 0, IOMAP_MAPPED, 4096);
}

/* The range of a write in flight is forgotten and asked for before the bytes
 * are there: the store truthfully says hole.  That must not outlive the write.
 */
BENCH_TEST (a_hole_learned_too_early_is_corrected, bench_open (8 * MIB))
{
  struct iomap iomap;

  bench_start (b);
  writeback_begin (b, 4096, 4096);
  forget (b, 0, MIB);
  iomap = mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_HOLE, 8 * MIB - 4096);
  run_done (b->fs, b->fs->ops, 4096, 4096, 0);
  assert_false (valid (b, &iomap));
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_MAPPED, 4096);
}

static unsigned begun;

/* At each question. */
static void
write_behind_the_back (struct fake_store *fake, void *opaque)
{
  struct bench *b = opaque;

  (void) fake;
  writeback_begin (b, 4096, 4096);
  begun++;
}

static void
end_writes (struct bench *b)
{
  for (; begun > 0; begun--)
    run_done (b->fs, b->fs->ops, 4096, 4096, 0);
}

static void
write_and_forget_behind_the_back (struct fake_store *fake, void *opaque)
{
  struct bench *b = opaque;

  write_behind_the_back (fake, opaque);
  end_writes (b);
  forget (b, 0, MIB);
}

BENCH_TEST (an_answer_that_was_overtaken_is_not_believed, bench_open (8 * MIB))
{
  bench_start (b);
  b->fake->status_opaque = b;
  b->fake->status_hook = write_behind_the_back;
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_MAPPED, 4096);
  mapped (b, 0, 512, IOMAP_REPORT, IOMAP_HOLE, 4096);
  end_writes (b);
}

BENCH_TEST (nor_one_that_was_overtaken_and_forgotten, bench_open (8 * MIB))
{
  bench_start (b);
  b->fake->status_opaque = b;
  b->fake->status_hook = write_and_forget_behind_the_back;
  mapped (b, 4096, 512, IOMAP_REPORT, IOMAP_MAPPED, 512);
}

static void
count_done (struct store_req *req, int error)
{
  *(int *) req->iov += error == 0 ? 1 : 100;
}

BENCH_TEST (a_flush_is_the_stores, bench_open (MIB))
{
  int done = 0;
  struct store_req req = {
    .op = STORE_READ,
    .iov = (struct iovec *) &done,
    .done = count_done,
  };

  bench_start (b);
  b->fs->ops->flush (b->fs, &req);
  assert_int_equal (done, 1);
  assert_int_equal (fake_store_count (b->fake, STORE_FLUSH), 1);
  fake_store_fail_next (b->fake, STORE_FLUSH, 1, -EIO);
  b->fs->ops->flush (b->fs, &req);
  assert_int_equal (done, 101);
}

/* A store with very many runs may stop before the place that was asked for. */
static int
stingy_status (struct store *store, uint64_t offset, uint64_t length,
               store_extent_fn *fn, void *opaque)
{
  (void) store;
  fn (opaque, offset, length < 4096 ? length : 4096,
      offset / 4096 % 2 ? STORE_DATA : STORE_HOLE);
  return 0;
}

BENCH_TEST (a_store_may_stop_short, bench_open (8 * MIB))
{
  struct store_ops ops;
  const struct store_ops *real;

  real = b->fake->store.ops;
  ops = *real;
  ops.block_status = stingy_status;
  b->fake->store.ops = &ops;
  bench_start (b);
  mapped (b, 40960, 8192, IOMAP_REPORT, IOMAP_HOLE, 4096);
  /* From the block of that place on. */
  mapped (b, 40960 + 5096, 8192, IOMAP_REPORT, IOMAP_MAPPED, 4096 - 5096 % 512);
  b->fake->store.ops = real;
}

RUN_TESTS ()
