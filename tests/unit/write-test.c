/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The perform-write loop: chunks, allocators that refuse, copies that come up
 * short, what partial sectors read.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "disk-model.h"
#include "seed.h"

/* What the hooks are to do, and have seen. */
static struct {
  unsigned max_order;      /* refuse larger folios */
  unsigned refuse_percent; /* of those that need not be given */
  unsigned orders[NR_ORDERS];
  unsigned short_percent; /* copies that come up short */
  size_t longest;         /* bytes, of a short one */
  unsigned copies, shorts;
  struct rng rng;
  struct folio *(*alloc) (struct mapping *mapping, unsigned order, bool wait);
} hooks;

static struct folio *
refusing_alloc (struct mapping *mapping, unsigned order, bool wait)
{
  struct folio *folio = NULL;

  if (order <= hooks.max_order &&
      (order == 0 || !rng_chance (&hooks.rng, hooks.refuse_percent)))
    folio = hooks.alloc (mapping, order, wait);
  if (folio)
    hooks.orders[order]++;
  return folio;
}

/* n itself, or less. */
static size_t
shortened (size_t n)
{
  hooks.copies++;
  if (!rng_chance (&hooks.rng, hooks.short_percent))
    return n;
  hooks.shorts++;
  return rng_below (&hooks.rng, n < hooks.longest ? n : hooks.longest);
}

static size_t
short_copy (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  (void) mapping;
  n = shortened (n);
  if (src)
    memcpy (dst, src, n);
  else
    memset (dst, 0, n);
  return n;
}

static void
set_hooks (struct fixture *f, const char *test)
{
  memset (&hooks, 0, sizeof hooks);
  hooks.max_order = MAX_ORDER;
  hooks.rng = test_rng (test);
  hooks.alloc = f->mapping->hooks.alloc;
  hooks.longest = SIZE_MAX;
  f->mapping->hooks.alloc = refusing_alloc;
}

/* --- orders --- */

CACHE_TEST (largest_folios, .cache_size = 256 * MiB)
{
  set_hooks (f, "largest_folios");
  put (f, 0, 6 * MiB, 1);
  assert_int_equal (hooks.orders[9], 3);
  put (f, 8 * MiB + PAGE, 2 * MiB - PAGE, 1);
  assert_int_equal (hooks.orders[9], 3);
  assert_int_equal (hooks.orders[8], 1);
  expect (f, 0, 6 * MiB, 1);
  expect (f, 8 * MiB + PAGE, 2 * MiB - PAGE, 1);
  expect_zero (f, 8 * MiB, PAGE);
  check_state (f);
}

CACHE_TEST (refusing_large)
{
  set_hooks (f, "refusing_large");
  hooks.max_order = 0;
  put (f, 700, 300000, 1);
  hooks.max_order = 3;
  put (f, 4 * MiB, 1 * MiB, 2);
  expect (f, 700, 300000, 1);
  expect (f, 4 * MiB, 1 * MiB, 2);
  assert_int_equal (hooks.orders[0], (700 + 300000 + PAGE - 1) / PAGE);
  assert_int_equal (hooks.orders[3], 1 * MiB / (8 * PAGE));
  check_state (f);
}

/* --- random writes against a copy of the disk --- */

static void
random_write (struct disk_model *m)
{
  uint64_t size = m->f->config.disk_size;
  uint64_t offset = rng_below (&m->rng, size);
  uint64_t n = rng_log (&m->rng, 600000);
  unsigned version = (unsigned) rng_below (&m->rng, 1000);

  if (n > size - offset || rng_chance (&m->rng, 5))
    n = size - offset < 600000 ? size - offset : 600000;
  fill_pattern (m->disk + offset, n, offset, version);
  put (m->f, offset, n, version);
}

/* Random writes, some of them flushed, over a store full of data. */
static void
random_writes (const struct fixture_config *config, const char *name,
               void (*more_hooks) (struct fixture *f))
{
  struct fixture *f = fixture_start (config);
  struct disk_model *m;
  unsigned i;

  set_hooks (f, name);
  more_hooks (f);
  m = disk_model_start (f, (struct rng) { rng_next (&hooks.rng) }, 5000);
  for (i = 0; i < share (150); i++) {
    random_write (m);
    if (rng_chance (&m->rng, 5))
      assert_int_equal (cache_flush (f->conn), 0);
    if (rng_chance (&m->rng, 5))
      disk_model_compare (m, false);
  }
  disk_model_compare (m, false);
  assert_int_equal (cache_flush (f->conn), 0);
  disk_model_end (m);
  fixture_stop (f);
}

static void
refuse_sometimes (struct fixture *f)
{
  (void) f;
  hooks.refuse_percent = 60;
}

static void
copy_short (struct fixture *f)
{
  f->mapping->hooks.copy_in = short_copy;
  hooks.refuse_percent = 30;
  hooks.short_percent = 30;
}

/* Nothing, or one byte. */
static void
copy_one (struct fixture *f)
{
  copy_short (f);
  hooks.longest = 2;
}

static void
copy_partial_sector (struct fixture *f)
{
  copy_short (f);
  hooks.longest = 600;
}

TEST (random_writes)
{
  static const struct fixture_config configs[] = {
    { .disk_size = 5 * MiB },
    { .disk_size = 5 * MiB, .min_io = 4096 },
    { .disk_size = 5 * MiB + 512 },
    { .disk_size = 5 * MiB + 2500 },
    { .disk_size = 5 * MiB + 77 },
    { .disk_size = 5 * MiB + 5000, .min_io = 4096 },
    { .disk_size = 5 * MiB, .min_io = 1024, .small_folios = true },
    { .disk_size = 5 * MiB + 1, .cache_size = 1 * MiB },
  };
  unsigned i;

  for (i = 0; i < sizeof configs / sizeof configs[0]; i++) {
    random_writes (&configs[i], "refuse_sometimes", refuse_sometimes);
    random_writes (&configs[i], "copy_short", copy_short);
    random_writes (&configs[i], "copy_partial_sector", copy_partial_sector);
    assert_true (hooks.shorts > 0);
  }
}

TEST (copy_one)
{
  random_writes (&(struct fixture_config) { .disk_size = 100000 }, "copy_one",
                 copy_one);
  random_writes (
    &(struct fixture_config) { .disk_size = 100000, .min_io = 4096 },
    "copy_one", copy_one);
}

/* --- what is read --- */

CACHE_TEST (whole_sectors_never_read)
{
  store_put (f, 0, 4 * MiB, 1);
  put (f, 512, 512, 2);
  put (f, PAGE - 512, 1024, 2);
  put (f, 1 * MiB + 512, 123 * PAGE, 2);
  put (f, 3 * MiB, 512, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (cache_flush (f->conn), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  store_expect (f, 512, 512, 2);
  store_expect (f, 1024, PAGE - 1536, 1);
  store_expect (f, PAGE - 512, 1024, 2);
  store_expect (f, 1 * MiB + 512, 123 * PAGE, 2);
  expect (f, 0, 512, 1);
  expect (f, 512, 512, 2);
  expect (f, 1024, PAGE - 1536, 1);
}

CACHE_TEST (partial_over_hole)
{
  fake_store_set_status (f->fake, 0, 4 * MiB, STORE_HOLE);
  fake_store_set_status (f->fake, 4 * MiB, 4 * MiB, STORE_UNWRITTEN);
  learn_extents (f);
  put (f, 100, 50, 1);
  put (f, 1 * MiB - 10, 20, 1);
  put (f, 5 * MiB + 100, 100000, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  expect_zero (f, 0, 100);
  expect (f, 100, 50, 1);
  expect_zero (f, 150, 1 * MiB - 160);
  expect (f, 1 * MiB - 10, 20, 1);
  expect_zero (f, 5 * MiB, 100);
  expect (f, 5 * MiB + 100, 100000, 1);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect_zero (f, 0, 100);
  store_expect (f, 100, 50, 1);
  store_expect_zero (f, 150, 1000);
  store_expect (f, 5 * MiB + 100, 100000, 1);
}

/* Only the sectors (or blocks) at the ends, each once. */
static void
partial_over_data (uint32_t bs)
{
  struct fixture *f = fixture_start (&(struct fixture_config) { .min_io = bs });
  uint64_t start = 1 * MiB + 5 * bs, end = start + 20 * PAGE;

  store_put (f, 0, 4 * MiB, 1);
  put (f, start + 100, end - start - 200, 2);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 2);
  assert_int_equal (fake_store_bytes (f->fake, STORE_READ), 2 * bs);
  assert_int_equal (nth_request (f, STORE_READ, 0).offset, start);
  assert_int_equal (nth_request (f, STORE_READ, 1).offset, end - bs);
  put (f, start + 50, 60, 3);
  put (f, 2 * MiB + 10, 20, 3);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 3);
  assert_int_equal (cache_flush (f->conn), 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 3);
  store_expect (f, start, 50, 1);
  store_expect (f, start + 50, 60, 3);
  store_expect (f, start + 110, end - start - 210, 2);
  store_expect (f, end - 100, 200, 1);
  store_expect (f, 2 * MiB, 10, 1);
  store_expect (f, 2 * MiB + 10, 20, 3);
  store_expect (f, 2 * MiB + 30, PAGE, 1);
  fixture_stop (f);
}

TEST (partial_over_data)
{
  partial_over_data (512);
  partial_over_data (1024);
  partial_over_data (4096);
}

/* The disk ends in the middle of a block. */
static void
odd_end (uint32_t bs, uint64_t size)
{
  struct fixture *f = fixture_start (
    &(struct fixture_config) { .min_io = bs, .disk_size = size });
  uint8_t byte;

  store_put (f, 0, size, 1);
  put (f, size - 1, 1, 2);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, size - 1, 1, 2);
  store_expect (f, 0, size - 1, 1);
  put (f, size - 5000, 5000, 3);
  assert_int_equal (cache_flush (f->conn), 0);
  store_expect (f, size - 5000, 5000, 3);
  assert_int_equal (cache_read (f->conn, &byte, 1, size), -EINVAL);
  assert_int_equal (cache_write (f->conn, &byte, 1, size, 0), -EINVAL);
  assert_int_equal (cache_write (f->conn, &byte, 1, UINT64_MAX, 0), -EINVAL);
  assert_int_equal (cache_write (f->conn, &byte, 0, size, 0), 0);
  assert_int_equal (atomic_load (&f->mapping->folios.nr_dirty), 0);
  fixture_stop (f);
}

TEST (odd_end)
{
  odd_end (512, 1 * MiB + 100);
  odd_end (512, 1 * MiB + 512);
  odd_end (4096, 1 * MiB + 512);
  odd_end (4096, 1 * MiB + 3000);
  odd_end (4096, 1 * MiB - 1);
}

RUN_TESTS ()
