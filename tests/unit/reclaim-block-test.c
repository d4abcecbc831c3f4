/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks for large folios, made by moving what is in the way.
 */

#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "cache/base/rcu.h"
#include "cache/folio/reclaim-inside.h"
#include "invariants.h"
#include "seed.h"

#define STEP 3 /* pages from one that is read to the next */

/* A cache of single pages, of which so many are in use; nothing but the test asks
 * for blocks.
 */
static struct fixture *
start_scattered (uint64_t cache_size, uint64_t used)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .cache_size = cache_size, .small_folios = true });

  store_put (f, 0, f->config.disk_size, 0);
  for (uint64_t page = 0; page < used; page++)
    expect (f, page * STEP * PAGE, PAGE, 0);
  fake_store_clear (f->fake);
  return f;
}

/* What is cached is there, and there are no others. */
static void
expect_cached (struct fixture *f, uint64_t used)
{
  for (uint64_t page = 0; page < used; page++)
    expect (f, page * STEP * PAGE, PAGE, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  assert_int_equal (used, f->mapping->folios.arena->nr_pages -
                            atomic_load (&f->mapping->folios.arena->nr_free));
  check_state (f);
  arena_check (f->mapping->folios.arena);
}

/* Use up all blocks that have this order or more; NULL ends their list. */
static void
fragment (struct fixture *f, unsigned order, struct folio **blocks)
{
  unsigned n = 0;

  while (arena_has (f->mapping->folios.arena, order, 1))
    blocks[n++] = arena_alloc (f->mapping->folios.arena, order);
  blocks[n] = NULL;
}

/* There is enough free memory, though not in one piece. */
static void
drop_odd (struct fixture *f, uint64_t used)
{
  for (uint64_t page = 1; page < used; page += 2)
    folios_drop_range (&f->mapping->folios, NULL, NULL, page * STEP * PAGE,
                       (page * STEP + 1) * PAGE);
}

FIXTURE_TEST (moves, start_scattered (4 * MiB, 600))
{
  struct reclaim *reclaim = f->cache->reclaim;
  struct arena *arena = f->mapping->folios.arena;
  struct folio *blocks[1024];
  struct folio *folio;

  /* Read twice: hits that the policy keeps. */
  expect_cached (f, 600);
  fragment (f, 5, blocks);
  drop_odd (f, 600);
  assert_false (arena_has (arena, 5, 1));
  assert_true (reclaim_block (reclaim, 5));
  assert_true (arena_has (arena, 5, 1));
  assert_int_equal (reclaim_evicted (reclaim), 0);
  for (uint64_t page = 0; page < 600; page += 2) {
    folio = index_get (f->mapping->folios.index, page * STEP);
    assert_non_null (folio);
    assert_true (atomic_load (&folio->freq) > 0);
    folio_put (arena, folio);
    expect (f, page * STEP * PAGE, PAGE, 0);
  }
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  for (unsigned i = 0; blocks[i]; i++)
    folio_put (arena, blocks[i]);
  check_state (f);
  arena_check (arena);

  /* It can all leave, so it is in its queues. */
  while (reclaim_pages (reclaim, 64) > 0)
    ;
  assert_int_equal (atomic_load (&arena->nr_free), arena->nr_pages);
}

/* A page of each block can't be moved. */
FIXTURE_TEST (in_the_way, start_scattered (4 * MiB, 896))
{
  struct arena *arena = f->mapping->folios.arena;
  struct folio *held[64];
  unsigned n = 0;

  for (uint32_t pfn = 5; pfn < 896; pfn += 32) {
    struct folio *folio = arena_folio (arena, pfn);
    uint64_t pos = folio_pos (folio);

    assert_true (folio_mapped (folio));
    if (pfn % 3 == 0)
      put (f, pos, 512, 0);
    else {
      folio_get (folio);
      held[n++] = folio;
    }
  }
  for (unsigned i = 0; i < 8; i++)
    assert_false (reclaim_block (f->cache->reclaim, 5));
  while (n > 0)
    folio_put (arena, held[--n]);
  expect_cached (f, 896);
}

static void *
make_block (void *arg)
{
  struct fixture *f = arg;

  return reclaim_block (f->cache->reclaim, 5) ? f : NULL;
}

/* Who found a folio just before it was moved finds its record as it was. */
FIXTURE_TEST (grace, start_scattered (4 * MiB, 600))
{
  struct arena *arena = f->mapping->folios.arena;
  struct folio *first = arena_folio (arena, 0), *blocks[1024];
  uint64_t index = folio_index (first);
  unsigned bad = 0;
  pthread_t thread;
  void *made;

  fragment (f, 5, blocks);
  drop_odd (f, 600);
  assert_true (folio_mapped (first));
  rcu_enter ();
  assert_int_equal (pthread_create (&thread, NULL, make_block, f), 0);
  UNTIL (!folio_mapped (first));
  for (unsigned i = 0; i < 1000; i++) {
    struct folio *folio = index_get (f->mapping->folios.index, index);

    bad += folio == NULL || folio == first;
    bad += folio_index (first) != index || atomic_load (&first->refs) != 0;
    bad += arena_has (arena, 5, 1);
    if (folio)
      folio_put (arena, folio);
    sched_yield ();
  }
  rcu_exit ();
  pthread_join (thread, &made);
  assert_int_equal (bad, 0);
  assert_non_null (made);
  assert_true (arena_has (arena, 5, 1));
  for (unsigned i = 0; blocks[i]; i++)
    folio_put (arena, blocks[i]);
}

/* --- side by side --- */

#define WORKERS 3
#define CROWD_PAGES 600
#define CROWD_MS 700

struct crowd {
  struct fixture *f;
  uint64_t seed;
  _Atomic bool stop;
  _Atomic unsigned versions[CROWD_PAGES]; /* of the pages' content */
  _Atomic unsigned lost;                  /* pages not found, or wrong */
};

struct worker {
  struct crowd *crowd;
  unsigned number;
  pthread_t thread;
};

/* Pages that are never written, evicted or dropped are found by every look-up. */
static void
look_up (struct crowd *crowd, uint64_t page)
{
  struct folio *folio =
    index_get (crowd->f->mapping->folios.index, page * STEP);
  uint8_t want[512], got[512];

  if (folio == NULL) {
    atomic_fetch_add (&crowd->lost, 1);
    return;
  }
  fill_pattern (want, sizeof want, page * STEP * PAGE, 0);
  folio_copy_out (got, arena_data (crowd->f->mapping->folios.arena, folio),
                  sizeof got);
  if (memcmp (want, got, sizeof want) != 0)
    atomic_fetch_add (&crowd->lost, 1);
  folio_put (crowd->f->mapping->folios.arena, folio);
}

/* Each worker writes pages of its own, and reads them. */
static void
write_and_read (struct crowd *crowd, struct conn *conn, uint64_t page,
                bool write)
{
  unsigned version = atomic_load (&crowd->versions[page]);
  uint64_t pos = page * STEP * PAGE;
  uint8_t want[PAGE_SIZE], got[PAGE_SIZE];

  if (write) {
    atomic_store (&crowd->versions[page], ++version);
    fill_pattern (want, PAGE, pos, version);
    if (cache_write (conn, want, PAGE, pos, 0) != 0)
      atomic_fetch_add (&crowd->lost, 1);
    if (version % 8 == 0 && cache_flush (conn) != 0)
      atomic_fetch_add (&crowd->lost, 1);
    return;
  }
  fill_pattern (want, PAGE, pos, version);
  if (cache_read (conn, got, PAGE, pos) != 0 || memcmp (got, want, PAGE) != 0)
    atomic_fetch_add (&crowd->lost, 1);
}

static void *
work (void *arg)
{
  struct worker *worker = arg;
  struct crowd *crowd = worker->crowd;
  struct rng rng = { crowd->seed + worker->number };

  while (!atomic_load (&crowd->stop)) {
    /* Even pages are only read. */
    uint64_t page = rng_below (&rng, CROWD_PAGES / (2 * WORKERS)) * 2 * WORKERS;

    look_up (crowd, page + 2 * rng_below (&rng, WORKERS));
    write_and_read (crowd, crowd->f->conns[worker->number],
                    page + 2 * worker->number + 1, rng_chance (&rng, 30));
  }
  return NULL;
}

FIXTURE_TEST (crowd, start_scattered (4 * MiB, CROWD_PAGES))
{
  struct rng rng = test_rng ("crowd around moving folios");
  struct crowd *crowd = xcalloc (1, sizeof *crowd);
  struct worker workers[WORKERS];
  unsigned made = 0, i;
  uint64_t end;

  crowd->f = f;
  crowd->seed = rng_below (&rng, UINT64_C (1) << 32);
  for (i = 0; i < WORKERS; i++) {
    workers[i] = (struct worker) { .crowd = crowd, .number = i };
    assert_int_equal (
      pthread_create (&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  end = f->real.now (&f->real) + CROWD_MS * NSEC_PER_MSEC;
  while (f->real.now (&f->real) < end)
    made +=
      reclaim_block (f->cache->reclaim, 1 + (unsigned) rng_below (&rng, 4));
  atomic_store (&crowd->stop, true);
  for (i = 0; i < WORKERS; i++)
    pthread_join (workers[i].thread, NULL);
  printf ("%u blocks were made\n", made);
  assert_true (made > 0);
  assert_int_equal (atomic_load (&crowd->lost), 0);
  flush_ok (f, 0);
  check_flushed (f);
  for (uint64_t page = 0; page < CROWD_PAGES; page++)
    expect (f, page * STEP * PAGE, PAGE, atomic_load (&crowd->versions[page]));
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
  arena_check (f->mapping->folios.arena);
  free (crowd);
}

/* --- streams --- */

/* Wait until the reclaimer has done all that it was asked for: the second round
 * begins when the first, which began after this, is over.
 */
static void
until_reclaimed (struct fixture *f)
{
  for (unsigned i = 0; i < 2; i++) {
    reclaim_kick (f->cache->reclaim);
    UNTIL (atomic_load (&f->cache->reclaim->kicked) == 0);
  }
}

/* After single pages from all over, a stream has large folios again. */
CACHE_TEST (stream, .disk_size = 128 * MiB, .cache_size = 16 * MiB,
            .readahead = 1 * MiB)
{
  struct rng rng = test_rng ("scattered, then a stream");
  unsigned folios = 0;
  uint64_t pos, page;

  store_put (f, 0, f->config.disk_size, 0);
  for (unsigned i = 0; i < 10000; i++)
    expect (f, (16384 + rng_below (&rng, 16384)) * PAGE, PAGE, 0);
  for (pos = 0; pos < 64 * MiB; pos += 256 * KiB) {
    expect (f, pos, 256 * KiB, 0);
    until_reclaimed (f);
  }
  for (page = 60 * 256; page < 64 * 256; folios++) {
    struct folio *folio = index_get (f->mapping->folios.index, page);

    page = folio ? folio_index (folio) + folio_pages (folio) : page + 1;
    if (folio)
      folio_put (f->mapping->folios.arena, folio);
  }
  printf ("the last 4 MiB are %u folios\n", folios);
  assert_true (folios <= 256);
}

RUN_TESTS ()
