/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes that a store has lost, or could not flush, and what else goes on until
 * they are done again.
 */

#include <errno.h>

#include "volatile-fixture.h"
#include "tests/unit/map-run.h"

#define PAGE ((uint64_t) PAGE_SIZE)

/* Does the fs take the page for data, unless the list of zeroes says better? */
static bool
is_mapped (struct fixture *f, uint64_t page)
{
  struct iomap iomap;

  assert_int_equal (
    f->raw_ops->begin (f->fs, page * PAGE, PAGE, IOMAP_NOWAIT, &iomap), 0);
  return iomap.type == IOMAP_MAPPED;
}

/* Have the fs forget what it knows of the first MiB: it knows too much else. */
static void
make_forget (struct fixture *f)
{
  bool (*zeroed) (void *, uint64_t, uint64_t *) = f->fs->zeroed;
  uint64_t offset;
  unsigned i;

  for (i = 0; i < 3; i++)
    for (offset = 1 * MiB; offset < f->config.disk_size; offset += 1024)
      assert_int_equal (map_run (f->fs, f->raw_ops, offset, 512), 0);
  f->fs->zeroed = NULL;
  assert_true (is_mapped (f, 0));
  f->fs->zeroed = zeroed;
}

/* Nobody remembers that these bytes are zero but the list of what is to be done
 * again, when the store has gone back to what was there before: that is not
 * read, nor does it become part of a block that is written in part.
 */
static void
test_read_before_again (void **state)
{
  struct fixture *f =
    fixture_start (&(struct fixture_config) { .disk_size = 72 * MiB });

  (void) state;
  store_put (f, 0, 1 * MiB, 0);
  fake_store_volatile (f->fake);
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  /* It waits for a write-back over some of them. */
  put (f, 63 * PAGE, PAGE, 1);
  fake_store_hold (f->fake, STORE_WRITE);
  mapping_kick (f->mapping);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  make_forget (f);
  fake_store_lose (f->fake, 0);
  expect_zero (f, 0, PAGE);
  put (f, 2 * PAGE + 100, 10, 1);
  expect_zero (f, 2 * PAGE, 100);
  fake_store_unhold (f->fake, STORE_WRITE);
  flush_until_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 2 * PAGE + 100);
  store_expect (f, 2 * PAGE + 100, 10, 1);
  store_expect_zero (f, 2 * PAGE + 110, 61 * PAGE - 110);
  store_expect (f, 63 * PAGE, PAGE, 1);
  store_expect (f, 64 * PAGE, PAGE, 0);
  fixture_stop (f);
}

/* What was written over a zero is flushed with it and leaves the cache, between
 * a reader's looking for a mapping and in the cache.
 */
static struct fixture *flushed;

static int
begin_then_flush (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                  struct iomap *iomap)
{
  struct fixture *f = flushed;
  int r = f->raw_ops->begin (fs, pos, length, flags, iomap);

  f->ops.begin = f->raw_ops->begin;
  assert_true (iomap->zeroed);
  assert_true (iomap->length >= 2 * PAGE);
  assert_int_equal (cache_flush (f->conns[1]), 0);
  until_saved (f);
  while (page_masks (f, 1) != 0)
    reclaim_pages (f->cache->reclaim, 1);
  return r;
}

static void
test_flushed_during_read (void **state)
{
  struct fixture *f = flushed =
    start_volatile (&(struct fixture_config) { .mode = CACHE_WRITETHROUGH });
  uint8_t got[2 * PAGE_SIZE], want[PAGE_SIZE] = { 0 };

  (void) state;
  assert_int_equal (cache_zero (f->conn, 64 * PAGE, 0, 0), 0);
  put (f, PAGE, PAGE, 1);
  /* As if it had been forgotten. */
  map_run (f->fs, f->raw_ops, 0, 64 * PAGE);
  f->ops.begin = begin_then_flush;
  assert_int_equal (cache_read (f->conn, got, sizeof got, 0), 0);
  assert_memory_equal (got, want, PAGE);
  fill_pattern (want, PAGE, PAGE, 1);
  assert_memory_equal (got + PAGE, want, PAGE);
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
  fake_store_fail_next (f->fake, STORE_FLUSH, 1, -EIO);
  assert_int_equal (cache_flush (f->conn), -EIO);
  put (f, 1 * MiB, PAGE, 1);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  store_expect (f, 1 * MiB, PAGE, 1);
  put (f, 2 * MiB, PAGE, 1);
  assert_int_equal (mapping_sync (f->mapping, NULL, NULL), -EIO);
  store_expect (f, 2 * MiB, PAGE, 1);
  fixture_stop (f);
}

static void
fail_zeroes_at (struct fixture *f, uint64_t offset, int error)
{
  fake_store_fail (f->fake, &(struct fake_rule) {
                              .op = STORE_ZERO,
                              .offset = offset,
                              .length = PAGE,
                              .error = error,
                              .count = UINT32_MAX,
                            });
}

static unsigned
count_zeroes_at (struct fixture *f, uint64_t offset)
{
  struct fake_record record;
  unsigned n = 0;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    n += record.op == STORE_ZERO && record.offset == offset;
  return n;
}

/* Those that can be done again are, once, though others can't; and flushes fail
 * for the first of these.
 */
static void
test_some_fail (void **state)
{
  struct fixture *f = start_volatile (&(struct fixture_config) { 0 });
  unsigned i;

  (void) state;
  for (i = 0; i < 4; i++)
    assert_int_equal (cache_zero (f->conn, 4 * PAGE, i * MiB, 0), 0);
  put (f, 1 * MiB, PAGE, 1);
  fail_zeroes_at (f, 0, -EIO);
  fail_zeroes_at (f, 2 * MiB, -ENOSPC);
  fake_store_clear (f->fake);
  fake_store_lose (f->fake, 0);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (cache_flush (f->conns[i]), -EIO);
  store_expect (f, 1 * MiB, PAGE, 1);
  store_expect_zero (f, 1 * MiB + PAGE, 3 * PAGE);
  store_expect_zero (f, 3 * MiB, 4 * PAGE);
  assert_true (count_zeroes_at (f, 2 * MiB) >= NR_CONNS);
  assert_int_equal (count_zeroes_at (f, 1 * MiB), 1);
  assert_int_equal (count_zeroes_at (f, 3 * MiB), 1);

  /* All of them, once more. */
  fake_store_lose (f->fake, 0);
  UNTIL (count_zeroes_at (f, 3 * MiB) == 2);
  assert_int_equal (cache_flush (f->conn), -EIO);
  fake_store_heal (f->fake);
  flush_until_ok (f, 0);
  power_cut (f);
  store_expect_zero (f, 0, 4 * PAGE);
  store_expect (f, 1 * MiB, PAGE, 1);
  store_expect_zero (f, 1 * MiB + PAGE, 3 * PAGE);
  store_expect_zero (f, 2 * MiB, 4 * PAGE);
  store_expect_zero (f, 3 * MiB, 4 * PAGE);
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
    cmocka_unit_test (test_flushed_during_read),
    cmocka_unit_test (test_data_is_written),
    cmocka_unit_test (test_some_fail),
    cmocka_unit_test (test_bad_page_elsewhere),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
