/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes that a store has lost, or could not flush, and what else goes on until
 * they are done again.
 */

#include <errno.h>

#include "volatile-fixture.h"

#define PAGE ((uint64_t) PAGE_SIZE)

/* Nobody remembers that these bytes are zero but the list of what is to be done
 * again, and someone reads what the store has gone back to: that does not stay
 * in the cache.
 */
static void
test_read_before_again (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  uint8_t buf[2 * PAGE_SIZE];

  (void) state;
  f->fake->store.geo.can_extents = false;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, 1, -EIO);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), -EIO);
  put (f, PAGE, 512, 1);
  /* It waits for a write-back over some of them. */
  put (f, 63 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  mapping_kick (f->mapping);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  fake_store_lose (f->fake, 0);
  assert_int_equal (cache_read (f->conn, buf, sizeof buf, 0), 0);
  fake_store_unhold (f->fake, STORE_WRITE);
  flush_until_ok (f, 0);
  expect_zero (f, 0, PAGE);
  expect (f, PAGE, 512, 1);
  expect_zero (f, PAGE + 512, 62 * PAGE - 512);
  expect (f, 63 * PAGE, PAGE, 1);
  fake_store_crash (f->fake, 0);
  store_expect_zero (f, 0, PAGE);
  fixture_stop (f);
}

/* While it fails no flush succeeds, but data is written all the same: should
 * this be the end, that much is on the store.
 */
static void
test_data_is_written (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  flush_fails (f, 0);
  fake_store_fail_next (f->fake, STORE_ZERO, UINT32_MAX, -EIO);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  store_expect (f, 1 * MiB, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), -EIO);
  store_expect (f, 2 * MiB, PAGE, 1);
  fixture_stop (f);
}

/* A zero that has to wait for a flush fails only if that does, not because data
 * elsewhere cannot be written.
 */
static void
test_bad_page_elsewhere (void **state)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { 0 });
  unsigned i;

  (void) state;
  fake_store_fail (f->fake, &(struct fake_rule) {
                              .op = STORE_WRITE,
                              .length = PAGE,
                              .error = -EIO,
                              .count = UINT32_MAX,
                            });
  put (f, 0, PAGE, 1);
  for (i = 1; i <= 2 * MAX_ZEROES; i++)
    assert_int_equal (cache_zero (f->conn, PAGE, 2 * i * PAGE, 0), 0);
  expect (f, 0, PAGE, 1);
  fixture_stop (f);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_read_before_again),
    cmocka_unit_test (test_data_is_written),
    cmocka_unit_test (test_bad_page_elsewhere),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
