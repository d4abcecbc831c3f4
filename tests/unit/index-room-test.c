/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Are there enough index nodes, and what if not?
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/request/index-room.h"
#include "cache-fixture.h"
#include "cache/index/index-node.h"
#include "fs/raw/raw.h"
#include "seed.h"

/* --- enough for pages at random places --- */

static int
insert (struct cache *cache, struct index *index, uint64_t page)
{
  struct folio *folio = arena_alloc (cache->arena, 0);
  int r;

  assert_non_null (folio);
  atomic_store (&folio->index, page);
  index_lock (index);
  r = index_insert (index, folio);
  index_unlock (index);
  if (r < 0)
    folio_put (cache->arena, folio);
  return r;
}

/* All pages of the cache at random places of a disk of so many pages. */
static void
scatter (struct rng *rng, uint64_t cache_size, uint64_t disk_pages)
{
  struct env env;
  struct cache *cache;
  struct index *index;
  uint32_t n;
  int r;

  env_init (&env);
  assert_int_equal (cache_create (&env, cache_size, &cache), 0);
  assert_int_equal (index_create (cache->arena, 1, cache->max_nodes, &index),
                    0);
  for (n = 0; n < cache->arena->nr_pages; n += r == 0) {
    r = insert (cache, index, rng_below (rng, disk_pages));
    if (r == -ENOSPC)
      fail_msg ("no nodes after %u of %u pages", n, cache->arena->nr_pages);
  }
  printf ("%.4f nodes a page, disk of %.1f GiB\n",
          (double) (cache->max_nodes - index_free_nodes (index)) / n,
          (double) disk_pages / (1 << 18));
  index_destroy (index);
  cache_destroy (cache);
}

/* CACHE_SIZE=N in the environment: in GiB; then also over 64 TiB. */
TEST (enough_for_scattered)
{
  struct rng rng = test_rng ("scattered pages");
  const char *gib = getenv ("CACHE_SIZE");
  uint64_t size = (gib ? strtoull (gib, NULL, 0) : 1) << 30;
  uint64_t pages = size / PAGE_SIZE;

  /* Worst when about 1.8 pages are in what a node of the lowest level, or of the
   * one above, covers.
   */
  scatter (&rng, size, pages * 64 * 10 / 18);
  scatter (&rng, size, pages * 64 * 64 * 10 / 18);
  if (gib)
    scatter (&rng, size, UINT64_C (1) << 34);
}

/* --- a cache with few nodes --- */

#define NODES 128
#define STEP (32 * PAGE) /* two pages a node */

static struct fixture *
start_with_few_nodes (uint64_t disk_size)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .disk_size = disk_size, .cache_size = 32 * MiB, .small_folios = true });

  pthread_mutex_lock (&f->cache->index_work);
  f->mapping->folios.index->max_nodes = NODES;
  atomic_store (&f->mapping->folios.index->nr_free, NODES);
  pthread_mutex_unlock (&f->cache->index_work);
  return f;
}

static void
stop (struct fixture *f)
{
  check_state (f);
  pthread_mutex_lock (&f->cache->index_work);
  f->mapping->folios.index->max_nodes =
    f->cache->max_nodes; /* what was mapped */
  pthread_mutex_unlock (&f->cache->index_work);
  fixture_stop (f);
}

static uint32_t
nr_cached (struct fixture *f)
{
  return f->mapping->folios.arena->nr_pages -
         atomic_load (&f->mapping->folios.arena->nr_free);
}

/* Pages that need a node for two of them come and go one by one, more or less;
 * what lies close together stays.
 */
TEST_WITH (sparse_go_first, struct fixture *f, start_with_few_nodes (256 * MiB),
           stop)
{
  uint64_t pos, n = 0;

  store_put (f, 0, 4 * MiB, 0);
  expect (f, 0, 4 * MiB, 0); /* 16 nodes */
  for (pos = 4 * MiB; pos < 256 * MiB; pos += STEP, n++) {
    store_put (f, pos, PAGE, 0);
    expect (f, pos, PAGE, 0);
  }
  printf ("%u pages are cached; %lu evicted for %lu that came\n", nr_cached (f),
          (unsigned long) reclaim_evicted (f->cache->reclaim),
          (unsigned long) n);
  assert_true (reclaim_evicted (f->cache->reclaim) <= n);
  /* At least three quarters of those for which there is room. */
  assert_true (nr_cached (f) >= 1024 + (NODES - 16) * 2 * 3 / 4);

  fake_store_clear (f->fake);
  expect (f, 0, 4 * MiB, 0);
  assert_int_equal (fake_store_count (f->fake, STORE_READ), 0);
}

/* What is read now and then stays, as long as others are not. */
TEST_WITH (hits_are_spared, struct fixture *f, start_with_few_nodes (256 * MiB),
           stop)
{
  uint64_t pos, misses = 0, hot = 4 * STEP;

  for (pos = 0; pos < 256 * MiB; pos += STEP) {
    store_put (f, pos, PAGE, 0);
    expect (f, pos, PAGE, 0);
    fake_store_clear (f->fake);
    if (pos >= hot)
      expect (f, pos / STEP % 4 * STEP, PAGE, 0);
    misses += fake_store_count (f->fake, STORE_READ);
  }
  assert_int_equal (misses, 0);
}

/* Nothing that is not clean is lost, and writers wait for write-back. */
TEST_WITH (dirty_wait, struct fixture *f, start_with_few_nodes (128 * MiB),
           stop)
{
  uint64_t pos;

  for (pos = 0; pos < 128 * MiB; pos += STEP)
    put (f, pos, PAGE, 1);
  for (pos = 0; pos < 128 * MiB; pos += STEP)
    expect (f, pos, PAGE, 1);
  flush_ok (f, 0);
  check_flushed (f);
  for (pos = 0; pos < 128 * MiB; pos += STEP)
    store_expect (f, pos, PAGE, 1);
}

/* The reclaimer makes nodes free before they are needed. */
TEST_WITH (ahead_of_need, struct fixture *f, start_with_few_nodes (64 * MiB),
           stop)
{
  uint64_t pos;

  for (pos = 0; pos < 64 * MiB; pos += STEP) {
    store_put (f, pos, PAGE, 0);
    expect (f, pos, PAGE, 0);
    UNTIL (!index_nodes_low (f->mapping->folios.index));
  }
  assert_true (reclaim_evicted (f->cache->reclaim) > 0);
}

/* --- mappings that come and go meanwhile --- */

struct looker {
  struct cache *cache;
  _Atomic bool stop;
  _Atomic unsigned rounds;
};

/* As the reclaimer's thread does for another mapping that is short of nodes. */
static void *
look_after_indexes (void *arg)
{
  struct looker *watch = arg;

  while (!atomic_load (&watch->stop)) {
    cache_index_work (watch->cache);
    atomic_fetch_add (&watch->rounds, 1);
  }
  return NULL;
}

CACHE_TEST (mappings_come_and_go)
{
  struct looker watch = { .cache = f->cache };
  struct mapping *first, *second;
  struct fs *fs[2];
  pthread_t thread;

  assert_int_equal (raw_open (&f->fake->store, &fs[0]), 0);
  assert_int_equal (raw_open (&f->fake->store, &fs[1]), 0);
  assert_int_equal (pthread_create (&thread, NULL, look_after_indexes, &watch),
                    0);
  UNTIL (atomic_load (&watch.rounds) > 0);
  for (unsigned i = 0; i < 200; i++) {
    const struct mapping_config *config = &f->mapping->config;

    assert_int_equal (mapping_create (f->cache, fs[0], config, &first), 0);
    assert_int_equal (mapping_create (f->cache, fs[1], config, &second), 0);
    assert_true (first->id != second->id && first->id != f->mapping->id);
    mapping_destroy (first);
    mapping_destroy (second);
  }
  atomic_store (&watch.stop, true);
  pthread_join (thread, NULL);
  fs[0]->ops->close (fs[0]);
  fs[1]->ops->close (fs[1]);
}

RUN_TESTS ()
