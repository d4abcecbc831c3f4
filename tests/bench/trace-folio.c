/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The eviction of cache/reclaim.c behind the interface of the reference
 * caches: folios of one page, a table for an index, everything clean, one
 * folio evicted for each that comes.
 */

#include <stdlib.h>

#include "tests/bench/trace-sim.h"
#include "cache/arena.h"
#include "cache/reclaim.h"

struct cache {
  struct env env;
  struct arena *arena;
  struct reclaim *reclaim;
  struct folio **index;
};

static bool
evict (void *opaque, struct folio *folio)
{
  struct cache *cache = opaque;

  cache->index[atomic_load (&folio->index)] = NULL;
  atomic_store (&folio->mapping, 0);
  atomic_store (&folio->refs, 0);
  return true;
}

static void
need_clean (void *opaque)
{
  (void) opaque;
}

static const struct reclaim_ops ops = { .evict = evict,
                                        .need_clean = need_clean };

static void *
create (uint32_t nr_ids, uint32_t pages)
{
  struct cache *cache = calloc (1, sizeof *cache);

  if (cache)
    cache->index = calloc (nr_ids, sizeof *cache->index);
  if (cache == NULL || cache->index == NULL)
    abort ();
  env_init (&cache->env);
  if (arena_create (&cache->env, (size_t) pages << PAGE_SHIFT, &cache->arena) ||
      reclaim_create (&cache->env, cache->arena, &ops, cache, 0,
                      &cache->reclaim))
    abort ();
  return cache;
}

static void
destroy (void *opaque)
{
  struct cache *cache = opaque;

  while (reclaim_pages (cache->reclaim, 1024) > 0)
    ;
  reclaim_destroy (cache->reclaim);
  arena_destroy (cache->arena);
  free (cache->index);
  free (cache);
}

static bool
access_page (void *opaque, uint32_t id)
{
  struct cache *cache = opaque;
  struct folio *folio = cache->index[id];

  if (folio) {
    reclaim_touch (folio);
    return true;
  }
  if (atomic_load (&cache->arena->nr_free) == 0)
    reclaim_pages (cache->reclaim, 1);
  folio = reclaim_alloc (cache->reclaim, 0, true);
  atomic_store (&folio->index, id);
  atomic_store (&folio->mapping, 1);
  cache->index[id] = folio;
  reclaim_add (cache->reclaim, folio, false);
  return false;
}

const struct sim sim_folio = { "folio", create, access_page, destroy };
