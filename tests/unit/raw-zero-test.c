/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: what is known of zeroes and trims, done, failed or lost.
 */

#include <errno.h>
#include <string.h>

#include "raw-bench.h"

static void
zero_and_trim_are_remembered (void **state)
{
  struct bench b;
  struct fake_record record;
  struct iomap data;

  (void) state;
  bench_open (&b, 8 * MIB);
  fake_store_set_status (b.fake, 0, 8 * MIB, STORE_DATA);
  bench_start (&b);
  memset (b.fake->content, 0xaa, 4 * MIB);
  data = expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, 8 * MIB);

  assert_int_equal (zero (&b, MIB, MIB, STORE_FAST_ZERO, false), 0);
  assert_false (valid (&b, &data));
  assert_int_equal (zero (&b, 2 * MIB, MIB, STORE_MAY_TRIM, false), 0);
  assert_int_equal (zero (&b, 3 * MIB, MIB, 0, true), 0);
  assert_int_equal (b.fake->content[MIB - 1], 0xaa);
  assert_int_equal (b.fake->content[MIB], 0);
  assert_int_equal (b.fake->content[4 * MIB - 1], 0);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, MIB);
  expect (&b, MIB, 512, IOMAP_REPORT, IOMAP_UNWRITTEN, MIB);
  expect (&b, 2 * MIB, 512, IOMAP_REPORT, IOMAP_HOLE, 2 * MIB);
  assert_int_equal (fake_store_status_count (b.fake), 1);

  assert_true (fake_store_record (b.fake, 0, &record));
  assert_int_equal (record.op, STORE_ZERO);
  assert_int_equal (record.flags, STORE_FAST_ZERO);
  assert_true (fake_store_record (b.fake, 2, &record));
  assert_int_equal (record.op, STORE_TRIM);
  fake_store_clear (b.fake); /* what is a hole need not be made one */
  assert_int_equal (zero (&b, 2 * MIB, MIB, 0, true), 0);
  assert_int_equal (zero (&b, 3 * MIB, MIB, STORE_MAY_TRIM, false), 0);
  assert_false (fake_store_record (b.fake, 0, &record));
  assert_int_equal (zero (&b, 3 * MIB, MIB + 1, 0, true), 0);
  assert_true (fake_store_record (b.fake, 0, &record));
  bench_close (&b);
}

static void
a_zero_that_fails_leaves_the_range_unknown (void **state)
{
  struct bench b;

  (void) state;
  bench_open (&b, 8 * MIB);
  fake_store_set_status (b.fake, 0, 8 * MIB, STORE_DATA);
  bench_start (&b);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, 8 * MIB);
  fake_store_fail_next (b.fake, STORE_ZERO, 1, -ENOTSUP);
  assert_int_equal (zero (&b, 0, MIB, STORE_FAST_ZERO, false), -ENOTSUP);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, 8 * MIB);
  assert_int_equal (fake_store_status_count (b.fake), 2);
  fake_store_fail_next (b.fake, STORE_TRIM, 1, -EIO);
  assert_int_equal (zero (&b, 0, MIB, 0, true), -EIO);
  fake_store_set_status (b.fake, 0, MIB / 2, STORE_HOLE);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_HOLE, MIB / 2);
  assert_int_equal (fake_store_status_count (b.fake), 3);
  bench_close (&b);
}

/* The store has zeroed it, and says so to a reader who asks about another place,
 * but it is lost before the request is answered.
 */
static struct bench *asking;
static const struct store_ops *ops_below;

static void
submit_and_ask (struct store *store, struct store_req **reqs, unsigned n)
{
  if (reqs[0]->op == STORE_ZERO) {
    fake_store_set_status (asking->fake, 0, MIB, STORE_HOLE);
    expect (asking, 2 * MIB, 512, IOMAP_REPORT, IOMAP_MAPPED, 6 * MIB);
    fake_store_set_status (asking->fake, 0, MIB, STORE_DATA);
  }
  ops_below->submit (store, reqs, n);
}

static void
a_hole_is_not_learned_while_it_is_zeroed (void **state)
{
  struct store_ops ops;
  struct bench b;

  (void) state;
  bench_open (&b, 8 * MIB);
  fake_store_set_status (b.fake, 0, 8 * MIB, STORE_DATA);
  bench_start (&b);
  asking = &b;
  ops_below = b.fake->store.ops;
  ops = *ops_below;
  ops.submit = submit_and_ask;
  b.fake->store.ops = &ops;
  fake_store_fail_next (b.fake, STORE_ZERO, 1, -EHOSTDOWN);
  assert_int_equal (zero (&b, 0, MIB, 0, false), -EHOSTDOWN);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, 8 * MIB);
  b.fake->store.ops = ops_below;
  bench_close (&b);
}

/* The store may lose the first zero, which is then done again. */
static void
a_zero_that_fails_over_another_leaves_zeroes (void **state)
{
  struct bench b;

  (void) state;
  bench_open (&b, 8 * MIB);
  fake_store_set_status (b.fake, 0, 8 * MIB, STORE_DATA);
  bench_start (&b);
  expect (&b, 0, 512, IOMAP_REPORT, IOMAP_MAPPED, 8 * MIB);
  assert_int_equal (zero (&b, 0, MIB, 0, false), 0);
  fake_store_fail_next (b.fake, STORE_ZERO, 1, -EIO);
  assert_int_equal (zero (&b, MIB / 2, MIB, 0, false), -EIO);
  expect (&b, 0, 512, 0, IOMAP_UNWRITTEN, MIB);
  bench_close (&b);
}

/* The fs's user knows of zeroes that the store may have lost. */
struct known {
  uint64_t start, end;
};

static bool
is_known (void *opaque, uint64_t pos, uint64_t *length)
{
  const struct known *known = opaque;
  bool in = known->start <= pos && pos < known->end;
  uint64_t left = (in                   ? known->end
                   : pos < known->start ? known->start
                                        : UINT64_MAX) -
                  pos;

  *length = left < *length ? left : *length;
  return in;
}

static void
what_the_user_knows_to_be_zero_is_not_read (void **state)
{
  struct known known = { MIB / 4, MIB / 2 };
  struct iomap zero, data;
  struct bench b;

  (void) state;
  bench_open (&b, MIB);
  b.fake->store.geo.can_extents = false;
  bench_start (&b);
  b.fs->zeroed = is_known;
  b.fs->zeroed_opaque = &known;
  expect (&b, 0, MIB, 0, IOMAP_MAPPED, MIB / 4);
  expect (&b, 0, MIB, IOMAP_WRITE, IOMAP_MAPPED, MIB / 4);
  expect (&b, 0, MIB, IOMAP_REPORT, IOMAP_MAPPED, MIB);
  expect (&b, MIB / 4, MIB, IOMAP_WRITE, IOMAP_UNWRITTEN, MIB / 4);
  zero = expect (&b, MIB / 4, MIB, 0, IOMAP_UNWRITTEN, MIB / 4);
  data = expect (&b, MIB / 2, MIB, 0, IOMAP_MAPPED, MIB / 2);

  /* It must still know, of all of it, when that is used. */
  assert_true (valid (&b, &zero));
  known.end -= 512;
  assert_false (valid (&b, &zero));
  assert_true (valid (&b, &data));

  known = (struct known) { MIB / 2, MIB };
  fs_note_zeroed (b.fs);
  assert_false (valid (&b, &data));
  expect (&b, MIB / 2, MIB, 0, IOMAP_UNWRITTEN, MIB / 2);
  expect (&b, MIB / 2, MIB, IOMAP_WRITE | IOMAP_DIRECT, IOMAP_MAPPED, MIB / 2);
  bench_close (&b);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (zero_and_trim_are_remembered),
    cmocka_unit_test (a_zero_that_fails_leaves_the_range_unknown),
    cmocka_unit_test (a_hole_is_not_learned_while_it_is_zeroed),
    cmocka_unit_test (a_zero_that_fails_over_another_leaves_zeroes),
    cmocka_unit_test (what_the_user_knows_to_be_zero_is_not_read),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
