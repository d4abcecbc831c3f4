/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Callers that must not wait get -EAGAIN, or -ENOMEM, and leave everything as it
 * was.  (If one did wait, these tests would not end: what it waited for is held
 * by the very thread that calls.)
 */

#include <errno.h>

#include "cache/request/fill-build.h"
#include "cache-fixture.h"

static uint32_t
free_pages (struct fixture *f)
{
  return atomic_load (&f->mapping->folios.arena->nr_free);
}

static bool
cached (struct fixture *f, uint64_t page)
{
  struct folio *folio = index_get (f->mapping->folios.index, page);

  if (folio)
    folio_put (f->mapping->folios.arena, folio);
  return folio != NULL;
}

/* The folio of a page, locked, with a reference. */
static struct folio *
lock_page (struct fixture *f, uint64_t page)
{
  struct folio *folio;
  int error;

  folio = mapping_grab_folio (f->mapping, page, page, 0, false,
                              GRAB_WAIT_LOCK | GRAB_WAIT_MEMORY, &error);
  assert_non_null (folio);
  return folio;
}

static void
unlock_page (struct fixture *f, struct folio *folio)
{
  folio_unlock (&f->mapping->folios, folio);
  folio_put (f->mapping->folios.arena, folio);
}

static void
grab_fails (struct fixture *f, uint64_t page, unsigned order, int error)
{
  uint32_t before = free_pages (f);
  int r = 0;

  assert_null (mapping_grab_folio (f->mapping, page, page + (1u << order) - 1,
                                   order, true, 0, &r));
  assert_int_equal (r, error);
  assert_int_equal (free_pages (f), before);
}

CACHE_TEST (grab_locked)
{
  struct folio *folio = lock_page (f, 5);
  uint32_t refs = atomic_load (&folio->refs);
  int r;

  grab_fails (f, 5, 0, -EAGAIN);
  assert_int_equal (atomic_load (&folio->refs), refs);
  assert_true (folio_locked (folio));
  assert_int_equal (atomic_load (&folio->flags), 0);
  /* One that would hold it is made smaller instead. */
  unlock_page (f, mapping_grab_folio (f->mapping, 4, 7, 2, true, 0, &r));
  assert_true (cached (f, 4) && !cached (f, 6));
  unlock_page (f, folio);
  check_state (f);
}

static struct folio *
no_memory (struct mapping *mapping, unsigned order, bool wait)
{
  (void) mapping;
  (void) order;
  assert_false (wait);
  return NULL;
}

CACHE_TEST (grab_without_memory)
{
  f->mapping->hooks.alloc = no_memory;
  grab_fails (f, 0, 3, -ENOMEM);
  grab_fails (f, 9, 0, -ENOMEM);
  assert_false (cached (f, 0) || cached (f, 9));
  check_state (f);
}

/* Memory full of dirty data, which cannot go. */
CACHE_TEST (grab_among_dirty, .cache_size = 1 * MiB, .dirty_limit = 16 * MiB,
            .small_folios = true)
{
  uint64_t page;
  int r = 0;

  fake_store_hold (f->fake, STORE_WRITE);
  for (page = 0; r == 0; page++) {
    struct folio *folio =
      mapping_grab_folio (f->mapping, page, page, 0, false, 0, &r);

    if (folio == NULL)
      break;
    folio_transition (&f->mapping->folios, folio, 0, SECTORS_PER_PAGE,
                      FOLIO_WRITTEN);
    unlock_page (f, folio);
  }
  assert_int_equal (r, -ENOMEM);
  assert_false (cached (f, page));
  grab_fails (f, page, 0, -ENOMEM);
  assert_false (cached (f, page));
}

/* Readahead reads what it can have at once, on both sides of what it can't. */
CACHE_TEST (ahead_locked, .small_folios = true, .readahead = 1 * MiB)
{
  struct folio *folio;
  uint64_t page;

  store_put (f, 0, 16 * PAGE, 1);
  folio = lock_page (f, 8);
  fake_store_clear (f->fake);
  fill_ahead (f->mapping, 0, 16, 4);
  for (page = 0; page < 16; page++)
    assert_int_equal (page_masks (f, page), page == 8 ? 0 : 0xff);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 2);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 15 * PAGE);
  assert_int_equal (atomic_load (&f->mapping->fills->busy), 0);
  unlock_page (f, folio);
  expect (f, 0, 16 * PAGE, 1);
  check_state (f);
}

/* A mapping that would have to be asked for. */
static int
begin_would_block (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                   struct iomap *iomap)
{
  (void) fs;
  (void) pos;
  (void) length;
  (void) iomap;
  assert_true (flags & IOMAP_NOWAIT);
  return -EAGAIN;
}

/* Others may ask, behind its back. */
static void
is_not_asked_here (struct fake_store *fake, void *opaque)
{
  const pthread_t *here = opaque;

  (void) fake;
  assert_false (pthread_equal (pthread_self (), *here));
}

CACHE_TEST (ahead_unmapped, .readahead = 1 * MiB)
{
  uint32_t before = free_pages (f);
  pthread_t here = pthread_self ();

  f->fake->status_hook = is_not_asked_here;
  f->fake->status_opaque = &here;
  f->ops.begin = begin_would_block;
  fill_ahead (f->mapping, 0, 16, 4);
  f->ops.begin = f->raw_ops->begin;
  assert_false (cached (f, 0));
  assert_int_equal (free_pages (f), before);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);

  /* What it does not know of it does not ask the store for either. */
  fill_ahead (f->mapping, 0, 16, 4);
}

/* All fills are in flight. */
CACHE_TEST (ahead_busy, .small_folios = true, .readahead = 1 * MiB)
{
  uint64_t page = 0;
  uint32_t before;

  fake_store_hold (f->fake, STORE_READ);
  do {
    before = atomic_load (&f->mapping->fills->busy);
    fill_ahead (f->mapping, page, 1, page);
    page += 2;
  } while (atomic_load (&f->mapping->fills->busy) > before);
  assert_false (cached (f, page - 2));
  assert_true (cached (f, page - 4));
  fake_store_unhold (f->fake, STORE_READ);
  expect_zero (f, 0, page * PAGE);
}

RUN_TESTS ()
