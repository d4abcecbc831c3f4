/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Fills of many folios: how many requests they are, and what is locked.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache-fixture.h"
#include "tests/tools/util.h"

static struct fixture *
start_with_single_pages (uint64_t cache_size)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .cache_size = cache_size, .small_folios = true, .readahead = 0 });

  store_put (f, 0, f->config.disk_size, 0);
  return f;
}

/* As many folios as a request needs are one request. */
FIXTURE_TEST (one_request, start_with_single_pages (64 * MiB))
{
  const uint64_t pages[] = { 31, 32, 33, 63, 64, 128, 255, 256 };
  uint64_t pos = 0;

  for (unsigned i = 0; i < sizeof pages / sizeof *pages; i++) {
    fake_store_clear (f->fake);
    expect (f, pos, pages[i] * PAGE, 0);
    assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);
    assert_int_equal (nth_request (f, STORE_READ, 0).offset, pos);
    assert_int_equal (nth_request (f, STORE_READ, 0).length, pages[i] * PAGE);
    pos += pages[i] * PAGE;
  }
  fake_store_clear (f->fake);
  expect (f, 0, pos, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  check_state (f);
}

FIXTURE_TEST (one_request_ahead, start_with_single_pages (64 * MiB))
{
  fill_ahead (f->mapping, 0, 200, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 200 * PAGE);
  for (uint64_t page = 0; page < 200; page++)
    assert_int_equal (page_masks (f, page), 0xff);
}

/* What is too long for one fill is at the store all the same. */
FIXTURE_TEST (long_requests, start_with_single_pages (256 * MiB))
{
  uint8_t *buf = xcalloc (4, MiB), *want = xcalloc (4, MiB);
  struct job job = { .op = JOB_READ, .buf = buf, .count = 4 * MiB };

  fake_store_hold (f->fake, STORE_READ);
  job_start (f, 1, &job);
  fake_store_wait_held (f->fake, STORE_READ, 4);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 4 * MiB);
  job_let_go (f, &job, STORE_READ);
  fill_pattern (want, 4 * MiB, 0, 0);
  assert_memory_equal (buf, want, 4 * MiB);
  free (buf);
  free (want);
  check_state (f);
}

/* One of many requests fails. */
FIXTURE_TEST (long_request_fails, start_with_single_pages (256 * MiB))
{
  uint8_t *buf = xcalloc (4, MiB);

  for (uint64_t pos = 0; pos < 4 * MiB; pos += 1 * MiB) {
    fake_store_fail (f->fake, &(struct fake_rule) { .op = STORE_READ,
                                                    .offset = pos,
                                                    .length = 1,
                                                    .error = -EIO,
                                                    .count = 1 });
    assert_int_equal (cache_read (f->conn, buf, 4 * MiB, 0), -EIO);
  }
  expect (f, 0, 4 * MiB, 0);
  free (buf);
  check_state (f);
}

static bool
is_locked (struct fixture *f, uint64_t page)
{
  struct folio *folio = index_get (f->mapping->folios.index, page);
  bool locked;

  assert_non_null (folio);
  locked = folio_locked (folio);
  folio_put (f->mapping->folios.arena, folio);
  return locked;
}

/* What needs no reading is not locked while others are read; and each run of
 * what does, be they many, is read once.
 */
FIXTURE_TEST (islands, start_with_single_pages (64 * MiB))
{
  static uint8_t buf[80 * PAGE_SIZE];
  struct job job = { .op = JOB_READ, .buf = buf, .count = sizeof buf };
  uint64_t page;

  for (page = 0; page < 80; page += 2)
    expect (f, page * PAGE, PAGE, 0);
  fake_store_clear (f->fake);
  fake_store_hold (f->fake, STORE_READ);
  job_start (f, 1, &job);
  fake_store_wait_held (f->fake, STORE_READ, 40);
  for (page = 0; page < 80; page++)
    assert_int_equal (is_locked (f, page), page % 2);
  put (f, 10 * PAGE, PAGE, 1);
  job_let_go (f, &job, STORE_READ);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 40 * PAGE);
  for (page = 0; page < 80; page++)
    assert_false (is_locked (f, page));
  expect (f, 0, 10 * PAGE, 0);
  expect (f, 10 * PAGE, PAGE, 1);
  expect (f, 11 * PAGE, 69 * PAGE, 0);
  check_state (f);
}

#define STEP (128 * KiB)

/* A page of data every 128 KiB, and that is known. */
static struct fixture *
start_with_holes (uint64_t readahead)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .cache_size = 64 * MiB, .readahead = readahead });

  fake_store_set_status (f->fake, 0, f->config.disk_size, STORE_HOLE);
  for (uint64_t pos = 0; pos < f->config.disk_size; pos += STEP) {
    store_put (f, pos, PAGE, 0);
    fake_store_set_status (f->fake, pos, PAGE, STORE_DATA);
  }
  learn_extents (f);
  fake_store_clear (f->fake);
  return f;
}

/* Holes that are known do not make a request wait for one part after the other. */
FIXTURE_TEST (between_holes, start_with_holes (0))
{
  static uint8_t buf[MiB];
  struct job job = { .op = JOB_READ, .buf = buf, .count = MiB };

  fake_store_hold (f->fake, STORE_READ);
  job_start (f, 1, &job);
  fake_store_wait_held (f->fake, STORE_READ, MiB / STEP);
  job_let_go (f, &job, STORE_READ);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), MiB / STEP * PAGE);
  for (uint64_t pos = 0; pos < MiB; pos += STEP) {
    expect (f, pos, PAGE, 0);
    expect_zero (f, pos + PAGE, STEP - PAGE);
  }
  check_state (f);
}

/* Nor hide that it is one of a stream, of which each place is read once. */
FIXTURE_TEST (stream_over_holes, start_with_holes (MiB))
{
  const uint64_t n = 2 * STEP;
  static uint8_t buf[2 * STEP];
  uint64_t pos, reads = 0;

  for (pos = 0; pos < 8 * MiB; pos += n) {
    assert_int_equal (cache_read (f->conn, buf, n, pos), 0);
    reads = fake_store_count (f->fake, STORE_READ);
    if (pos >= n)
      assert_true (reads > (pos + n) / STEP); /* some are ahead */
  }
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), reads * PAGE);
  check_state (f);
}

RUN_TESTS ()
