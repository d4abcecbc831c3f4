/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Room in the index: nodes made free by eviction.
 *
 * Normally the reclaimer sees to it that there always are some: it evicts what is
 * alone in its node and waits for the grace period, all in batches.  Who meets an
 * index without nodes all the same does that himself, a batch for many inserts.
 */

#include <errno.h>

#include "cache/index/index.h"
#include "cache/request/index-room.h"
#include "cache/request/mapping.h"

/* Returns how many folios were evicted; their nodes can be had. */
static unsigned
evict_sparse (struct mapping *mapping)
{
  struct folio *folios[INDEX_SPARSE_MAX];
  unsigned n = index_get_sparse (mapping->folios.index, folios);

  n = reclaim_folios (mapping->folios.reclaim, folios, n);
  if (n > 0)
    index_reclaim_nodes (mapping->folios.index);
  return n;
}

/* Eviction found nothing that may go: wait a little for write-back. */
static void
wait_for_clean (struct mapping *mapping)
{
  struct env *env = mapping->env;
  _Atomic uint32_t never = 0;

  inbox_kick (&mapping->inbox);
  env->wait (env, &never, 0, env->now (env) + 10 * NSEC_PER_MSEC);
}

int
mapping_index_room (struct mapping *mapping, bool wait)
{
  uint64_t since = mapping->env->now (mapping->env);
  int r = 0;

  while (r == 0) {
    if (evict_sparse (mapping) == 0 &&
        reclaim_pages (mapping->folios.reclaim, INDEX_SPARSE_MAX) == 0) {
      if (!wait)
        return -ENOMEM;
      wait_for_clean (mapping);
    }
    if (index_free_nodes (mapping->folios.index) > 0)
      return 0;
    index_reclaim_nodes (mapping->folios.index);
    if (index_free_nodes (mapping->folios.index) > 0)
      return 0;
    r = outbox_give_up (&mapping->outbox, since);
  }
  return r;
}

void
cache_index_work (void *opaque)
{
  struct cache *cache = opaque;
  struct mapping *mapping;

  pthread_mutex_lock (&cache->index_work);
  for (unsigned id = 1; id <= MAX_MAPPINGS; id++)
    if ((mapping = atomic_load (&cache->mappings[id])) != NULL)
      while (index_nodes_low (mapping->folios.index) &&
             evict_sparse (mapping) > 0)
        ;
  pthread_mutex_unlock (&cache->index_work);
}
