/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The perform-write loop and mappings: chunks end with them, and they change
 * under it; and what is refused.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"
#include "tests/unit/map-run.h"

/* What the hooks are to do, and have seen. */
static struct {
  struct fixture *f;
  struct rng rng;
  unsigned begins, stale, copies;
  uint64_t mapping_end; /* begin gives mappings up to multiples of this */
  uint64_t begun_end;   /* where the mapping last given ended */
  bool passed_end;
} hooks;

static void
set_hooks (struct fixture *f)
{
  memset (&hooks, 0, sizeof hooks);
  hooks.f = f;
}

/* --- mappings --- */

/* Mappings no longer than to the next multiple of hooks.mapping_end. */
static int
short_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
             struct iomap *iomap)
{
  uint64_t end = round_up (pos + 1, hooks.mapping_end);
  int r;

  hooks.begins++;
  r = hooks.f->raw_ops->begin (fs, pos, min_u64 (length, end - pos), flags,
                               iomap);
  iomap->length = min_u64 (iomap->length, end - iomap->offset);
  hooks.begun_end = iomap->offset + iomap->length;
  return r;
}

static size_t
watching_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  struct arena *arena = mapping->folios.arena;
  size_t at = (size_t) ((uint8_t *) dst - arena->data);
  struct folio *folio = arena_folio (arena, (uint32_t) (at >> PAGE_SHIFT));

  /* The folio of the page: the first page of its block that is in use. */
  while (atomic_load (&folio->refs) == 0 || !folio_locked (folio))
    folio--;
  at -= (size_t) (arena_data (arena, folio) - arena->data);
  if (folio_pos (folio) + at + n > hooks.begun_end)
    hooks.passed_end = true;
  hooks.copies++;
  memcpy (dst, src, n);
  return n;
}

CACHE_TEST (chunks_end_with_mappings)
{
  static const uint64_t ends[] = { 512, 1536, PAGE, 3 * PAGE, 100 * KiB };
  unsigned i;

  set_hooks (f);
  f->ops.begin = short_begin;
  f->mapping->hooks.copy_in = watching_copy;
  for (i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    hooks.mapping_end = ends[i];
    hooks.begins = hooks.copies = 0;
    put (f, i * MiB + 300, 500000, i);
    assert_false (hooks.passed_end);
    assert_true (hooks.begins >= 500000 / ends[i]);
    assert_true (hooks.copies >= hooks.begins);
    expect (f, i * MiB + 300, 500000, i);
  }
  f->ops.begin = f->raw_ops->begin;
  assert_int_equal (cache_flush (f->conn), 0);
  for (i = 0; i < sizeof ends / sizeof ends[0]; i++)
    store_expect (f, i * MiB + 300, 500000, i);
}

/* Every other mapping is stale by the time it is looked at under the lock. */
static bool
sometimes_valid (struct fs *fs, const struct iomap *iomap)
{
  if (hooks.f->raw_ops->valid (fs, iomap) && rng_chance (&hooks.rng, 50))
    return true;
  hooks.stale++;
  return false;
}

static int
counting_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                struct iomap *iomap)
{
  hooks.begins++;
  return hooks.f->raw_ops->begin (fs, pos, length, flags, iomap);
}

CACHE_TEST (stale_mapping, .small_folios = true)
{
  set_hooks (f);
  hooks.rng = test_rng ("stale_mapping");
  f->ops.valid = sometimes_valid;
  f->ops.begin = counting_begin;
  put (f, 1000, 1 * MiB, 1);
  assert_true (hooks.stale > 50);
  assert_int_equal (hooks.begins, hooks.stale + 1);
  expect (f, 1000, 1 * MiB, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 1000, 1 * MiB, 1);
  check_flushed (f);
}

/* A hole becomes data between the look at the mapping and the folio lock: the
 * rest of the sector is then not zero.
 */
static int
changing_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                struct iomap *iomap)
{
  int r = hooks.f->raw_ops->begin (fs, pos, length, flags, iomap);

  if (hooks.begins++ == 0) {
    store_put (hooks.f, 0, PAGE, 7);
    map_run (fs, hooks.f->raw_ops, 0, PAGE);
    run_done (fs, hooks.f->raw_ops, 0, PAGE, 0);
  }
  return r;
}

CACHE_TEST (hole_overtaken)
{
  set_hooks (f);
  fake_store_set_status (f->fake, 0, 16 * MiB, STORE_HOLE);
  learn_extents (f);
  f->ops.begin = changing_begin;
  put (f, 100, 100, 1);
  assert_int_equal (hooks.begins, 2);
  expect (f, 0, 100, 7);
  expect (f, 100, 100, 1);
  expect (f, 200, PAGE - 200, 7);
}

/* --- what is dirty already --- */

static size_t
half_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  hooks.copies++;
  n = n > 1 ? n / 2 : n;
  (void) mapping;
  memcpy (dst, src, n);
  return n;
}

/* No mapping is asked for where all is dirty, and for the rest where not all
 * is.
 */
CACHE_TEST (dirty_needs_no_mapping)
{
  set_hooks (f);
  f->ops.begin = counting_begin;
  put (f, 512, 2 * PAGE, 1);
  assert_int_equal (hooks.begins, 1);

  put (f, 512, 2 * PAGE, 2);
  put (f, 700, 100, 3);
  assert_int_equal (hooks.begins, 1);
  expect (f, 512, 188, 2);
  expect (f, 700, 100, 3);
  expect (f, 800, 2 * PAGE - 288, 2);

  put (f, 0, 1024, 4); /* its first sector is not dirty */
  assert_int_equal (hooks.begins, 2);
  put (f, PAGE, 4 * PAGE, 5); /* nor are the pages at its end */
  assert_int_equal (hooks.begins, 3);
  expect (f, 0, 1024, 4);
  expect (f, PAGE, 4 * PAGE, 5);
  check_state (f);

  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 1024, 4);
  store_expect (f, PAGE, 4 * PAGE, 5);
  put (f, PAGE, PAGE, 6); /* clean again */
  assert_int_equal (hooks.begins, 4);
}

CACHE_TEST (dirty_copied_short)
{
  set_hooks (f);
  put (f, 0, 16 * PAGE, 1);
  f->mapping->hooks.copy_in = half_copy;
  put (f, 100, 10 * PAGE, 2);
  assert_true (hooks.copies > 1);
  expect (f, 0, 100, 1);
  expect (f, 100, 10 * PAGE, 2);
  expect (f, 100 + 10 * PAGE, 6 * PAGE - 100, 1);
  check_state (f);
}

/* Above freerun a connection that owes something pays for it, though what it
 * writes makes nothing dirty.
 */
CACHE_TEST (dirty_is_paced, .dirty_limit = 1000 * PAGE, .no_loop = true,
            .fake_clock = true)
{
  set_hooks (f);
  f->ops.begin = counting_begin;
  put (f, 0, 600 * PAGE, 1);
  hooks.begins = 0;
  put (f, 0, PAGE, 2);
  assert_int_equal (hooks.begins, 0);
  put (f, 600 * PAGE, 300 * PAGE, 1);
  hooks.begins = 0;
  put (f, 0, PAGE, 3);
  assert_int_equal (hooks.begins, 1);
  expect (f, 0, PAGE, 3);
}

/* --- refusals --- */

CACHE_TEST (refused_read_only, .readonly = true)
{
  char byte = 1;

  assert_int_equal (cache_write (f->conn, &byte, 1, 0, 0), -EROFS);
  assert_int_equal (cache_zero (f->conn, 1, 0, 0), -EROFS);
  assert_int_equal (cache_trim (f->conn, 1, 0, 0), -EROFS);
  expect_zero (f, 0, 1);
}

CACHE_TEST (refused_at_shutdown)
{
  char byte = 1;

  put (f, 0, 512, 1);
  mapping_shutdown (f->mapping);
  assert_int_equal (cache_write (f->conn, &byte, 1, 0, 0), -ESHUTDOWN);
  assert_int_equal (cache_zero (f->conn, 1, 0, 0), -ESHUTDOWN);
  expect (f, 0, 512, 1);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 512, 1);
}

/* The write ends after a copy that came up short in the middle of a sector,
 * whose rest nobody has read: it is not taken.
 */
static size_t
short_last_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  assert_true (n > 700);
  memset (dst, 0xee, n);
  memcpy (dst, src, 700);
  mapping_shutdown (mapping);
  return 700;
}

CACHE_TEST (ends_short)
{
  store_put (f, 0, 1 * MiB, 0);
  f->mapping->hooks.copy_in = short_last_copy;
  assert_int_equal (put_flags (f, 0, 0, 64 * PAGE, 1, 0), -ESHUTDOWN);
  expect (f, 0, 512, 1);
  expect (f, 512, 64 * PAGE, 0);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, 0, 512, 1);
  store_expect (f, 512, 64 * PAGE, 0);
}

/* A partial sector whose rest cannot be read is not written. */
CACHE_TEST (read_fails)
{
  char buf[1024] = { 0 };

  store_put (f, 0, PAGE, 1);
  fake_store_fail_next (f->fake, STORE_READ, 1, -EIO);
  assert_int_equal (cache_write (f->conn, buf, 100, 10, 0), -EIO);
  expect (f, 0, PAGE, 1);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_dirty), 0);
  put (f, 10, 100, 2);
  expect (f, 0, 10, 1);
  expect (f, 10, 100, 2);
}

RUN_TESTS ()
