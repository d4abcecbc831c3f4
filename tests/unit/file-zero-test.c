/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: zero, trim and holes; on the file system of /tmp, on tmpfs and
 * on block devices, where there are any.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

/* ------------------------------------------------------------------- zero */

/* Zero with only the means that are left; the neighbours must live. */
static void
check_zero (struct rig *rig, enum store_op op)
{
  uint64_t size = 6 * MIB, from = 4096, n = 5 * MIB;
  uint8_t *buf = aligned_memory (size, 0xaa), *zero = aligned_memory (n, 0);

  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 0, buf, size), 0);
  assert_int_equal (store_io (rig->store, op, 0, from, NULL, n), 0);
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 0, buf, size), 0);
  assert_memory_equal (buf + from, zero, n);
  assert_int_equal (buf[from - 1], 0xaa);
  assert_int_equal (buf[from + n], 0xaa);
  free (buf);
  free (zero);
}

PLACE_TEST (zero_by_all_means, true)
{
  struct file_store_options o = options_for (place);
  struct file_store *file;
  struct rig rig;
  int lacking;

  for (lacking = 0; lacking < 8; lacking++) {
    rig_open (&rig, &o);
    file = file_store_of (rig.store);
    file->no_punch = file->no_punch || (lacking & 1);
    file->no_zero_range = lacking & 2;
    file->no_allocate = lacking & 4;
    rig_start (&rig);
    check_zero (&rig, STORE_ZERO);
    check_zero (&rig, STORE_TRIM);
    rig_close (&rig);
  }
}

/* ---------------------------------------------------------------- extents */

struct runs {
  struct {
    uint64_t offset, length;
    enum store_extent type;
  } run[64];
  int n;
};

static void
collect (void *opaque, uint64_t offset, uint64_t length, enum store_extent type)
{
  struct runs *runs = opaque;
  int n = runs->n;

  assert_true (length > 0);
  if (n > 0)
    assert_int_equal (runs->run[n - 1].offset + runs->run[n - 1].length,
                      offset);
  if (n > 0 && runs->run[n - 1].type == type) {
    runs->run[n - 1].length += length;
    return;
  }
  assert_true (n < 64);
  runs->run[n].offset = offset;
  runs->run[n].length = length;
  runs->run[n].type = type;
  runs->n++;
}

static void
expect_run (const struct runs *runs, int i, uint64_t length,
            enum store_extent type)
{
  assert_true (i < runs->n);
  assert_int_equal (runs->run[i].type, type);
  assert_int_equal (runs->run[i].length, length);
}

static void
ask (struct rig *rig, uint64_t offset, uint64_t length, struct runs *runs)
{
  runs->n = 0;
  assert_int_equal (
    rig->store->ops->block_status (rig->store, offset, length, collect, runs),
    0);
  assert_true (runs->n > 0);
  assert_int_equal (runs->run[0].offset, offset);
}

PLACE_TEST (holes_and_unwritten_are_told_from_data, false)
{
  struct file_store_options o = options_for (place);
  enum store_extent unwritten = place->tmpfs ? STORE_HOLE : STORE_UNWRITTEN;
  uint8_t *buf = aligned_memory (MIB, 0xaa);
  struct runs runs;
  struct rig rig;

  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct += 2) {
    unlink (place->file);
    rig_open (&rig, &o);
    rig_start (&rig);
    assert_true (rig.store->geo.can_extents);
    ask (&rig, 0, 16 * MIB, &runs);
    expect_run (&runs, 0, 16 * MIB, STORE_HOLE);

    assert_int_equal (store_io (rig.store, STORE_WRITE, 0, MIB, buf, MIB), 0);
    assert_int_equal (
      fallocate (file_store_of (rig.store)->fd, 0, 4 * MIB, MIB), 0);
    ask (&rig, 0, 16 * MIB, &runs);
    expect_run (&runs, 0, MIB, STORE_HOLE);
    expect_run (&runs, 1, MIB, STORE_DATA);
    if (!place->tmpfs) {
      expect_run (&runs, 2, 2 * MIB, STORE_HOLE);
      expect_run (&runs, 3, MIB, unwritten);
      expect_run (&runs, 4, 11 * MIB, STORE_HOLE);
    }
    else
      expect_run (&runs, 2, 14 * MIB, STORE_HOLE);

    /* written into what was allocated, in the page cache or not: data */
    assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 4 * MIB, buf, MIB),
                      0);
    ask (&rig, 4 * MIB, 2 * MIB, &runs);
    expect_run (&runs, 0, MIB, STORE_DATA);
    expect_run (&runs, 1, MIB, STORE_HOLE);
    assert_int_equal (store_io (rig.store, STORE_TRIM, 0, MIB, NULL, MIB), 0);
    ask (&rig, 512, 3 * MIB, &runs);
    expect_run (&runs, 0, 3 * MIB, STORE_HOLE);
    rig_close (&rig);
  }
  free (buf);
}

PLACE_TEST (many_extents_are_all_told, false)
{
  struct file_store_options o = options_for (place);
  uint8_t *buf = aligned_memory (4096, 0xaa);
  struct runs runs;
  struct rig rig;
  uint64_t pos;

  o.direct = DIRECT_OFF;
  rig_open (&rig, &o);
  rig_start (&rig);
  for (pos = 0; pos < 16 * MIB; pos += 16384)
    assert_int_equal (store_io (rig.store, STORE_WRITE, 0, pos, buf, 4096), 0);
  for (pos = 0; pos < 16 * MIB; pos += 16384) {
    ask (&rig, pos, 16384, &runs);
    expect_run (&runs, 0, 4096, STORE_DATA);
    expect_run (&runs, 1, 12288, STORE_HOLE);
  }
  rig_close (&rig);
  free (buf);
}

PLACE_TEST (a_huge_hole_is_one_report, false)
{
  struct file_store_options o = options_for (place);
  struct runs runs;
  struct rig rig;

  o.create = (int64_t) 8 << 40;
  rig_open (&rig, &o);
  ask (&rig, 0, UINT64_C (8) << 40, &runs);
  expect_run (&runs, 0, UINT64_C (8) << 40, STORE_HOLE);
  rig_close (&rig);
}

/* What was cut off behind the store's back is no hole, which would read as
 * zeroes, wherever a question about it begins.
 */
PLACE_TEST (what_was_cut_off_is_no_hole, false)
{
  struct file_store_options o = options_for (place);
  uint8_t *buf = aligned_memory (MIB, 0xaa);
  struct runs runs;
  struct rig rig;

  rig_open (&rig, &o);
  rig_start (&rig);
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, MIB, buf, MIB), 0);
  assert_int_equal (truncate (place->file, 4 * MIB), 0);
  ask (&rig, 0, 16 * MIB, &runs);
  expect_run (&runs, 0, MIB, STORE_HOLE);
  expect_run (&runs, 1, MIB, STORE_DATA);
  expect_run (&runs, 2, 2 * MIB, STORE_HOLE);
  expect_run (&runs, 3, 12 * MIB, STORE_DATA);
  ask (&rig, 3 * MIB, MIB, &runs);
  expect_run (&runs, 0, MIB, STORE_HOLE);
  ask (&rig, 4 * MIB, MIB, &runs);
  expect_run (&runs, 0, MIB, STORE_DATA);
  ask (&rig, 8 * MIB, 8 * MIB, &runs);
  expect_run (&runs, 0, 8 * MIB, STORE_DATA);
  assert_int_equal (store_io (rig.store, STORE_READ, 0, 8 * MIB, buf, MIB),
                    -EIO);
  assert_int_equal (truncate (place->file, 16 * MIB), 0);
  ask (&rig, 2 * MIB, 14 * MIB, &runs);
  expect_run (&runs, 0, 2 * MIB, STORE_HOLE);
  expect_run (&runs, 1, 12 * MIB, STORE_DATA);
  rig_close (&rig);
  free (buf);
}

PLACE_TEST (devices_are_all_data, true)
{
  struct file_store_options o = options_for (place);
  struct runs runs;
  struct rig rig;

  rig_open (&rig, &o);
  if (place->sector) {
    assert_false (rig.store->geo.can_extents);
    ask (&rig, 4096, 8192, &runs);
    expect_run (&runs, 0, 8192, STORE_DATA);
  }
  rig_close (&rig);
}

RUN_WITH_ENGINES ()
