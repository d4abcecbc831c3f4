/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: what it asks of a store with very many runs, and what it keeps of the
 * answers.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "fs/raw/raw-impl.h"
#include "fs/raw/raw.h"
#include "tests/unit/seed.h"
#include "tests/unit/map-run.h"
#include "tests/unit/test.h"

#define KIB (UINT64_C (1) << 10)
#define MIB (UINT64_C (1) << 20)
#define GIB (UINT64_C (1) << 30)
#define TIB (UINT64_C (1) << 40)

/* A store of which nothing is there but the answers: `data' bytes of data at each
 * multiple of `step', twice as many once they are written to.
 */
struct made {
  struct store store;
  uint64_t step, data;
  unsigned most;     /* runs of an answer */
  uint8_t *written;  /* of each step; NULL: nothing is written */
  unsigned asked;    /* questions */
  uint64_t runs;     /* found, in all, also what was cut off */
  uint64_t first;    /* bytes, of the first question */
  uint64_t last_pos; /* of the last question */
  struct fs *fs;
};

static uint64_t
data_at (const struct made *made, uint64_t step)
{
  return made->written && made->written[step] ? 2 * made->data : made->data;
}

/* The end of the run with pos in it. */
static uint64_t
run_end (const struct made *made, uint64_t pos, enum store_extent *type)
{
  uint64_t step = pos / made->step, start = step * made->step;
  uint64_t data = data_at (made, step);

  *type = pos - start < data ? STORE_DATA : STORE_HOLE;
  return *type == STORE_DATA ? start + data : start + made->step;
}

static int
made_status (struct store *store, uint64_t offset, uint64_t length,
             store_extent_fn *fn, void *opaque)
{
  struct made *made = (struct made *) store;
  uint64_t end = offset + length, to;
  enum store_extent type;
  unsigned n;

  made->first = made->asked++ == 0 ? length : made->first;
  made->last_pos = offset;
  for (n = 0; offset < end; n++, offset = to) {
    to = run_end (made, offset, &type);
    to = to < end ? to : end;
    if (n < made->most)
      fn (opaque, offset, to - offset, type);
  }
  made->runs += n;
  return 0;
}

static void
open_made (struct made *made, uint64_t size, uint64_t step, uint64_t data)
{
  static const struct store_ops ops = { .block_status = made_status };

  *made = (struct made) {
    .store = { .ops = &ops,
               .geo = { .size = size, .min_io = 512, .can_extents = true } },
    .step = step,
    .data = data,
    .most = UINT32_MAX,
  };
  assert_int_equal (raw_open (&made->store, &made->fs), 0);
}

static void
close_made (struct made *made)
{
  made->fs->ops->close (made->fs);
  free (made->written);
}

static struct iomap
begin (struct made *made, uint64_t pos, uint64_t length, unsigned flags)
{
  struct iomap iomap;

  assert_int_equal (made->fs->ops->begin (made->fs, pos, length, flags, &iomap),
                    0);
  assert_true (iomap.offset <= pos && pos < iomap.offset + iomap.length);
  return iomap;
}

/* Have the range reported, which is as the store has it.  Returns how many
 * ranges it is of.
 */
static uint64_t
report (struct made *made, uint64_t pos, uint64_t end)
{
  enum store_extent type;
  struct iomap iomap;
  uint64_t to, n;

  for (n = 0; pos < end; n++) {
    iomap = begin (made, pos, end - pos, IOMAP_REPORT);
    to = iomap.offset + iomap.length;
    assert_true (run_end (made, pos, &type) >= (to < end ? to : end));
    assert_int_equal (iomap.type,
                      type == STORE_DATA ? IOMAP_MAPPED : IOMAP_HOLE);
    pos = to;
  }
  return n;
}

static size_t
remembered (const struct made *made)
{
  return extents_count (((struct raw *) made->fs)->extents);
}

TEST (a_question_begins_where_the_report_does)
{
  struct made made;

  open_made (&made, TIB, TIB, 4096);
  begin (&made, 5 * GIB + 1000, 1, IOMAP_REPORT);
  assert_int_equal (made.asked, 1);
  assert_int_equal (made.last_pos, 5 * GIB + 512);
  assert_int_equal (made.first, RAW_FIRST_WINDOW);
  close_made (&made);
}

/* Much of a disk without much on it is asked for at once. */
TEST (few_runs_take_few_questions)
{
  struct made made;

  open_made (&made, TIB, TIB, 4096);
  report (&made, 0, TIB);
  assert_in_range (made.asked, 256, 256 + 8);
  report (&made, 0, TIB);
  assert_in_range (made.asked, 256, 256 + 8);
  close_made (&made);
}

/* Each run is found about once, and in answers that are neither huge nor tiny. */
TEST (many_runs_are_asked_for_once)
{
  struct made made;
  uint64_t runs = GIB / (8 * KIB) * 2;

  open_made (&made, TIB, 8 * KIB, 4 * KIB);
  assert_in_range (report (&made, 0, GIB), runs, runs + made.asked);
  assert_in_range (made.runs, runs, runs + runs / 50);
  assert_in_range (made.asked, runs / 4096, runs / 1024);
  close_made (&made);
}

/* The window follows from an empty part of the disk into one of many runs: what is
 * found in vain there is found once.
 */
TEST (the_window_shrinks_where_there_are_more)
{
  struct made made;

  open_made (&made, TIB, TIB, 4096);
  report (&made, 0, 100 * GIB);
  made.step = 64 * KIB;
  made.asked = 0;
  made.runs = 0;
  begin (&made, 200 * GIB, 1, IOMAP_REPORT);
  assert_int_equal (made.asked, 1);
  made.runs = 0;
  begin (&made, 300 * GIB, 1, IOMAP_REPORT);
  assert_in_range (made.runs, 256, 4096);
  close_made (&made);
}

/* A server that says less than it was asked, and may have looked at all. */
TEST (cut_answers_are_not_asked_for_much_more)
{
  uint64_t runs = 64 * GIB / MIB * 2;
  struct made made;

  open_made (&made, TIB, MIB, 4 * KIB);
  made.most = 100;
  report (&made, 0, 64 * GIB);
  assert_in_range (made.runs, runs, 2 * runs);
  close_made (&made);

  open_made (&made, TIB, MIB, 4 * KIB);
  made.most = 1;
  assert_in_range (report (&made, 0, GIB), 2048, 2048 * 2);
  assert_in_range (made.asked, 2048, 2048 * 2);
  close_made (&made);
}

/* 10 million runs: memory is bounded, and what was forgotten, written or not, is
 * reported as it is.
 */
TEST (a_huge_disk_is_not_remembered_whole)
{
  struct rng rng = test_rng ("a_huge_disk_is_not_remembered_whole");
  const uint64_t steps = 5000000, step = 64 * TIB / steps / 4096 * 4096;
  struct made made;
  uint64_t pos, i, at;

  open_made (&made, 64 * TIB, step, 4096);
  made.written = calloc (steps + 8, 1);
  assert_non_null (made.written);
  for (i = 0; i < 300; i++) {
    at = rng_below (&rng, steps - 300);
    pos = at * step;
    report (&made, pos, pos + 200 * step);
    at += rng_below (&rng, 200);
    pos = at * step + 4096;
    map_run (made.fs, made.fs->ops, pos, 4096);
    made.written[at] = 1;
    run_done (made.fs, made.fs->ops, pos, 4096, 0);
    assert_int_equal (begin (&made, pos, 4096, 0).type, IOMAP_MAPPED);
    assert_true (remembered (&made) <= 65536);
  }
  assert_true (remembered (&made) > 32768);
  for (at = 0; at < steps; at++)
    if (made.written[at]) {
      pos = at * step;
      assert_int_equal (begin (&made, pos + 4096, 4096, 0).type, IOMAP_MAPPED);
      report (&made, pos, pos + 3 * step);
    }
  assert_true (remembered (&made) <= 65536);
  close_made (&made);
}

RUN_TESTS ()
