/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What eviction is told: which reads and writes of the cache count as hits.
 */

#include "cache-fixture.h"

#define HOT 32    /* pages */
#define PAGES 256 /* of the cache */
#define DISK 2048 /* pages */

static struct fixture *
start (unsigned max_order)
{
  return fixture_start (&(struct fixture_config) {
    .disk_size = DISK * PAGE,
    .cache_size = PAGES * PAGE,
    .dirty_limit = PAGES * PAGE / 2,
    .max_order = max_order,
    .small_folios = max_order == 0,
  });
}

static void
write_hot (struct fixture *f, unsigned version)
{
  for (unsigned page = 0; page < HOT; ++page)
    put (f, page * PAGE, PAGE, version);
}

/* Read four times what the cache holds, once. */
static void
scan (struct fixture *f)
{
  static uint8_t buf[PAGE];

  for (uint64_t page = 1000; page < 1000 + 4 * PAGES; ++page)
    assert_int_equal (cache_read (f->conn, buf, PAGE, page * PAGE), 0);
}

static unsigned
hot_pages (struct fixture *f)
{
  unsigned n = 0;

  for (uint64_t page = 0; page < HOT; ++page)
    n += page_masks (f, page) != 0;
  return n;
}

/* The hits seen of the folio that holds the page. */
static unsigned
hits (struct fixture *f, uint64_t page)
{
  struct folio *folio = index_get (f->mapping->folios.index, page);
  unsigned n;

  assert_non_null (folio);
  n = atomic_load (&folio->freq);
  folio_put (f->mapping->folios.arena, folio);
  return n;
}

FIXTURE_TEST (what_is_written_again_stays, start (0))
{
  write_hot (f, 1);
  flush_ok (f, 0);
  write_hot (f, 2); /* makes clean pages dirty */
  flush_ok (f, 0);
  scan (f);
  assert_int_equal (hot_pages (f), HOT);
}

FIXTURE_TEST (what_is_overwritten_while_dirty_stays, start (0))
{
  write_hot (f, 1);
  write_hot (f, 2);
  flush_ok (f, 0);
  scan (f);
  assert_int_equal (hot_pages (f), HOT);
}

/* Neither the write that brings a page in nor writing it back is a hit. */
FIXTURE_TEST (what_is_written_once_goes, start (0))
{
  write_hot (f, 1);
  flush_ok (f, 0);
  scan (f);
  assert_int_equal (hot_pages (f), 0);
}

/* However small its pieces, a page that is written in turn has one hit. */
FIXTURE_TEST (written_in_turn, start (0))
{
  for (unsigned i = 0; i < PAGE / 512; ++i)
    put (f, i * 512, 512, 1);
  assert_int_equal (hits (f, 0), 1);
  for (unsigned i = 0; i < PAGE / 512; ++i)
    put (f, i * 512, 512, 2);
  assert_int_equal (hits (f, 0), 2);
}

/* A part of a sector, for which the rest is read, is one write. */
FIXTURE_TEST (part_of_a_sector, start (0))
{
  put (f, 100, 100, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 1);
  assert_int_equal (hits (f, 0), 0);
  put (f, 100, 100, 2);
  assert_int_equal (hits (f, 0), 1);
}

FIXTURE_TEST (large_folio, start (2))
{
  put (f, 0, 4 * PAGE, 1);
  assert_int_equal (hits (f, 0), 0);
  for (unsigned i = 0; i < 4; ++i) /* once through it */
    put (f, i * PAGE, PAGE, 2);
  assert_int_equal (hits (f, 0), 1);
  put (f, 3 * PAGE, PAGE, 3); /* this page again */
  assert_int_equal (hits (f, 0), 2);
}

FIXTURE_TEST (reads, start (0))
{
  static uint8_t buf[PAGE];

  assert_int_equal (cache_prefetch (f->conn, PAGE, 0), 0);
  for (unsigned i = 0; i < 3; ++i) {
    assert_int_equal (cache_read (f->conn, buf, PAGE, 0), 0);
    assert_int_equal (hits (f, 0), i);
  }
  /* What was brought in by a write is read. */
  put (f, PAGE, PAGE, 1);
  assert_int_equal (cache_read (f->conn, buf, PAGE, PAGE), 0);
  assert_int_equal (hits (f, 1), 1);
}

RUN_TESTS ()
