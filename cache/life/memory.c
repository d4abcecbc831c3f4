/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The cache: folio memory and eviction for all mappings of a process.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/rcu.h"
#include "cache/index/index.h"
#include "cache/request/index-room.h"
#include "cache/request/mapping.h"

/* Bookkeeping, in bytes a page: its record and masks, 44; the ghost table, 8;
 * and this much for index nodes, to stay under 4 % of 4096.  It is enough for
 * pages at random places, which need 0.319 nodes of 320 bytes each at the most
 * (that is when a node's 256 KiB hold 1.8 of them), whatever the disk's size.
 */
#define NODE_BYTES_PER_PAGE 104

/* Index nodes that even a small cache may use, in bytes. */
#define NODE_BYTES_MIN (UINT64_C (6) << 20)

/* Bounce buffers, in bytes: a 16th of the cache, within these. */
#define BOUNCE_MIN (UINT64_C (256) << 10)
#define BOUNCE_MAX (UINT64_C (4) << 20)

/* Of the largest folios there is room for this many. */
#define MIN_FOLIOS 64

/* Free pages that the reclaimer aims at: a 64th of the cache, up to this. */
#define RESERVE_MAX 4096

static bool
evict_from (struct mapping *mapping, struct folio *folio)
{
  uint32_t refs = 2; /* the index's and eviction's own */
  bool ok;

  index_lock (mapping->folios.index);
  /* A folio that is locked is referenced by who locked it. */
  ok = atomic_load (&folio->mapping) == mapping->id &&
       !folio_unsaved (mapping->folios.arena, folio) &&
       atomic_compare_exchange_strong (&folio->refs, &refs, 0);
  if (ok)
    index_remove (mapping->folios.index, folio);
  index_unlock (mapping->folios.index);
  return ok;
}

/* Eviction has chosen the folio: may it leave?  See reclaim.h. */
static bool
evict (void *opaque, struct folio *folio)
{
  struct cache *cache = opaque;
  uint16_t id = atomic_load (&folio->mapping);
  struct mapping *mapping;
  bool ok = false;

  /* A mapping goes away only after a grace period. */
  rcu_enter ();
  mapping = atomic_load (&cache->mappings[id]);
  if (mapping)
    ok = evict_from (mapping, folio);
  rcu_exit ();
  return ok;
}

/* Make `to', which no one can reach yet, the same as `from', which no one can get
 * a reference to any more.
 */
static void
copy_folio (struct arena *arena, const struct folio *from, struct folio *to)
{
  size_t pages = (size_t) folio_pages (from);

  memcpy (arena_data (arena, to), arena_data (arena, from),
          pages << PAGE_SHIFT);
  for (size_t i = 0; i < pages; i++)
    atomic_store_explicit (&arena_state (arena, to)[i],
                           atomic_load (&arena_state (arena, from)[i]),
                           memory_order_relaxed);
  atomic_store (&to->index, folio_index (from));
  atomic_store (&to->flags, atomic_load (&from->flags));
  atomic_store (&to->used_to, atomic_load (&from->used_to));
  atomic_store (&to->freq, atomic_load (&from->freq));
}

static bool
move_in (struct mapping *mapping, struct folio *from, struct folio *to)
{
  struct reclaim *reclaim = mapping->folios.reclaim;
  bool ok;

  index_lock (mapping->folios.index);
  /* A folio that is locked is referenced by who locked it. */
  ok = atomic_load (&from->mapping) == mapping->id &&
       folio_order (from) == folio_order (to) &&
       !folio_unsaved (mapping->folios.arena, from) &&
       reclaim_begin_move (reclaim, from);
  if (ok) {
    copy_folio (mapping->folios.arena, from, to);
    index_replace (mapping->folios.index, from, to);
    reclaim_end_move (reclaim, from, to);
  }
  index_unlock (mapping->folios.index);
  return ok;
}

/* Memory is wanted where the folio is.  See reclaim.h. */
static bool
move (void *opaque, struct folio *from, struct folio *to)
{
  struct cache *cache = opaque;
  uint16_t id = atomic_load (&from->mapping);
  struct mapping *mapping;
  bool ok = false;

  rcu_enter ();
  mapping = atomic_load (&cache->mappings[id]);
  if (mapping)
    ok = move_in (mapping, from, to);
  rcu_exit ();
  return ok;
}

static void
need_clean (void *opaque)
{
  struct cache *cache = opaque;
  unsigned id;

  rcu_enter ();
  for (id = 1; id <= MAX_MAPPINGS; id++) {
    struct mapping *mapping = atomic_load (&cache->mappings[id]);

    if (mapping && throttle_unsaved (&mapping->throttle) > 0)
      inbox_kick (&mapping->inbox);
  }
  rcu_exit ();
}

static const struct reclaim_ops reclaim_ops = {
  .evict = evict,
  .need_clean = need_clean,
  .move = move,
  .background = cache_index_work,
};

static int
create_parts (struct cache *cache, uint64_t bytes)
{
  uint64_t pages = bytes >> PAGE_SHIFT;
  uint64_t bounce = max_u64 (min_u64 (bytes / 16, BOUNCE_MAX), BOUNCE_MIN);
  int r;

  cache->max_nodes =
    (uint32_t) ((pages * NODE_BYTES_PER_PAGE + NODE_BYTES_MIN) /
                index_node_size ());

  r = arena_create (cache->env, bytes, &cache->arena);
  if (r == 0)
    r = arena_create (cache->env, bounce, &cache->bounce);
  if (r == 0)
    r = reclaim_create (cache->env, cache->arena, &reclaim_ops, cache,
                        (uint32_t) min_u64 (pages / 64, RESERVE_MAX),
                        &cache->reclaim);
  return r;
}

unsigned
cache_fit_order (uint64_t bytes, unsigned order)
{
  while (order > 0 && (uint64_t) MIN_FOLIOS * (PAGE_SIZE << order) > bytes)
    order--;
  return order;
}

int
cache_create (struct env *env, uint64_t bytes, struct cache **ret)
{
  struct cache *cache;
  int r;

  if (bytes < CACHE_SIZE_MIN)
    return -EINVAL;
  cache = calloc (1, sizeof *cache);
  if (cache == NULL)
    return -ENOMEM;
  cache->env = env;
  pthread_mutex_init (&cache->lock, NULL);
  pthread_mutex_init (&cache->index_work, NULL);

  r = create_parts (cache, bytes);
  if (r < 0) {
    cache_destroy (cache);
    return r;
  }
  *ret = cache;
  return 0;
}

int
cache_start (struct cache *cache)
{
  sigset_t all, old;
  int r = reclaim_start (cache->reclaim);

  if (r < 0)
    return r;
  /* As env_thread does, for liburcu's thread. */
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  rcu_start ();
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  return 0;
}

void
cache_destroy (struct cache *cache)
{
  if (cache->reclaim)
    reclaim_destroy (cache->reclaim);
  if (cache->bounce)
    arena_destroy (cache->bounce);
  if (cache->arena)
    arena_destroy (cache->arena);
  pthread_mutex_destroy (&cache->index_work);
  pthread_mutex_destroy (&cache->lock);
  free (cache);
}
