/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that can zero, but may have to write zeroes for that: what clients are
 * told, and what waits counts, as it turns out to be.
 */

#include <errno.h>

#include "cache-fixture.h"

#define DISK (64 * MiB)

#define DOUBT_TEST(name, ...)                                                  \
  CACHE_TEST (name, .doubt_zero = true, .disk_size = DISK, ##__VA_ARGS__)

static int
fast_zero (struct fixture *f, uint64_t count, uint64_t offset)
{
  return cache_zero (f->conn, count, offset, CACHE_FAST_ZERO);
}

static uint32_t
unsaved (struct fixture *f)
{
  return atomic_load (&f->fs->unsaved);
}

/* It is taken for fast until it says no: by ranges. */
DOUBT_TEST (it_is)
{
  assert_int_equal (fast_zero (f, 8 * MiB, 0), 0);
  assert_int_equal (unsaved (f), 1);
  flush_ok (f, 0);
  assert_true (nth_request (f, STORE_ZERO, 0).flags & STORE_FAST_ZERO);
  assert_int_equal (fake_store_bytes (f->fake, STORE_ZERO), 8 * MiB);
  assert_int_equal (cache_zero (f->conn, DISK, 0, 0), 0);
  assert_int_equal (unsaved (f), 1);
}

/* Then by bytes, and who wants it fast is refused, with nothing changed. */
DOUBT_TEST (it_is_not)
{
  atomic_store (&f->fake->slow_zero, true);
  assert_int_equal (cache_zero (f->conn, 8 * MiB, 0, 0), 0);
  flush_ok (f, 0);
  assert_int_equal (nth_request (f, STORE_ZERO, 0).flags, STORE_FAST_ZERO);
  assert_int_equal (nth_request (f, STORE_ZERO, 1).flags, 0);
  assert_int_equal (nth_request (f, STORE_ZERO, 1).length, 8 * MiB);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 2);
  assert_int_equal (cache_zero (f->conn, 8 * MiB, 8 * MiB, 0), 0);
  assert_int_equal (unsaved (f), 8 * MiB / PAGE);
  flush_ok (f, 0);
  fake_store_clear (f->fake);
  put (f, 0, 4 * MiB, 1);
  assert_int_equal (fast_zero (f, 8 * MiB, PAGE), -ENOTSUP);
  expect (f, 0, 4 * MiB, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_ZERO), 0);

  /* It may be fast elsewhere. */
  atomic_store (&f->fake->slow_zero, false);
  assert_int_equal (cache_zero (f->conn, 8 * MiB, 0, 0), 0);
  flush_ok (f, 0);
  assert_int_equal (fast_zero (f, 8 * MiB, PAGE), 0);
}

/* A part of a block of the store's may be slow where the rest is not. */
DOUBT_TEST (parts_say_nothing)
{
  assert_int_equal (fast_zero (f, 8 * MiB, 0), 0);
  flush_ok (f, 0);
  atomic_store (&f->fake->slow_zero, true);
  assert_int_equal (fast_zero (f, PAGE, 16 * MiB), 0);
  flush_ok (f, 0);
  assert_int_equal (fast_zero (f, 8 * MiB, 16 * MiB), 0);
  assert_int_equal (unsaved (f), 1);
}

/* The store writes them: that is what its bandwidth is measured by. */
DOUBT_TEST (written)
{
  const struct balance *balance = &f->mapping->throttle.balance;

  atomic_store (&f->fake->slow_zero, true);
  fake_store_latency (f->fake, STORE_ZERO, 5 * NSEC_PER_MSEC, true);
  do {
    assert_int_equal (cache_zero (f->conn, DISK, 0, 0), 0);
    flush_ok (f, 0);
  } while (atomic_load (&balance->limits.bandwidth) == 0);
}

RUN_TESTS ()
