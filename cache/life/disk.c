/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Mappings: making and ending them.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/base/rcu.h"
#include "cache/request/fill.h"
#include "cache/request/mapping.h"
#include "cache/writeback/flusher.h"

static struct folio *
default_alloc (struct mapping *mapping, unsigned order, bool wait)
{
  return reclaim_alloc (mapping->folios.reclaim, order, wait);
}

static size_t
default_copy_in (struct mapping *mapping, void *dst, const void *src, size_t n)
{
  (void) mapping;
  if (src)
    folio_copy_in (dst, src, n);
  else
    folio_zero (dst, n);
  return n;
}

/* Give the mapping an id that no other has. */
static int
take_id (struct cache *cache, struct mapping *mapping)
{
  unsigned id;

  pthread_mutex_lock (&cache->lock);
  for (id = 1; id <= MAX_MAPPINGS && cache->ids[id]; id++)
    ;
  if (id <= MAX_MAPPINGS) {
    mapping->id = (uint16_t) id;
    cache->ids[id] = true;
  }
  pthread_mutex_unlock (&cache->lock);
  return id <= MAX_MAPPINGS ? 0 : -EMFILE;
}

static void
give_id_back (struct mapping *mapping)
{
  struct cache *cache = mapping->cache;

  if (mapping->id == 0)
    return;
  pthread_mutex_lock (&cache->lock);
  cache->ids[mapping->id] = false;
  pthread_mutex_unlock (&cache->lock);
}

/* Copies that write-back is sending, in bytes: an eighth of the cache, within
 * these.
 */
#define COPIES_MIN (UINT64_C (512) << 10)
#define COPIES_MAX (UINT64_C (8) << 20)

static int
init_writeback (struct mapping *m)
{
  m->wb = (struct writeback) {
    .env = m->env,
    .folios = &m->folios,
    .fs = m->fs,
    .inbox = &m->inbox,
    .outbox = &m->outbox,
    .throttle = &m->throttle,
    .stats = m->stats,
    .bounce = m->bounce,
    .config = {
      .dirty_expire = m->config.dirty_expire,
      .interval = m->config.writeback_interval,
      .io_depth = m->config.io_depth,
    },
  };
  return writeback_init (&m->wb);
}

static int
init_parts (struct mapping *mapping)
{
  struct cache *cache = mapping->cache;
  uint64_t copies = (uint64_t) mapping->folios.arena->nr_pages << PAGE_SHIFT;
  int r = take_id (cache, mapping);

  copies = max_u64 (min_u64 (copies / 8, COPIES_MAX), COPIES_MIN);
  if (r == 0)
    r = arena_create (mapping->env, copies, &mapping->bounce);

  if (r == 0)
    r = index_create (mapping->folios.arena, mapping->id, cache->max_nodes,
                      &mapping->folios.index);
  if (r == 0)
    r = fill_pool_create (mapping->env, &mapping->fills);
  if (r == 0)
    r = init_writeback (mapping);
  /* The reclaimer's thread may be at work: not before all that it needs is there.
   */
  if (r == 0)
    atomic_store (&cache->mappings[mapping->id], mapping);
  return r;
}

static void
init_post (struct mapping *m)
{
  inbox_init (&m->inbox, m->env, &m->bell);
  m->outbox = (struct outbox) { .env = m->env };
  lost_init (&m->outbox.lost);
}

static void
init_throttle (struct mapping *m)
{
  m->throttle = (struct throttle) {
    .env = m->env,
    .folios = &m->folios,
    .outbox = &m->outbox,
    .fs = m->fs,
    .stats = m->stats,
  };
  throttle_init (&m->throttle, m->config.dirty_limit,
                 m->config.dirty_background);
  balance_init (&m->throttle, m->config.flush_target);
}

static void
set_settings (struct mapping *mapping, const struct mapping_config *config)
{
  struct mapping_settings *settings = &mapping->settings;

  atomic_store (&settings->readahead, config->readahead);
  atomic_store (&settings->sequential_cutoff, config->sequential_cutoff);
  atomic_store (&settings->flush_target, config->flush_target);
}

int
mapping_create (struct cache *cache, struct fs *fs,
                const struct mapping_config *config, struct mapping **ret)
{
  struct mapping *m = calloc (1, sizeof *m);
  int r;

  if (m == NULL)
    return -ENOMEM;
  m->cache = cache;
  m->env = cache->env;
  m->fs = fs;
  m->config = *config;
  m->config.folio_max_order = cache_fit_order (
    (uint64_t) cache->arena->nr_pages << PAGE_SHIFT, config->folio_max_order);
  set_settings (m, config);
  m->hooks.alloc = default_alloc;
  m->hooks.copy_in = default_copy_in;
  m->readonly = fs->readonly;
  m->stats = stats_create ();
  if (m->stats == NULL) {
    free (m);
    return -ENOMEM;
  }
  m->folios = (struct folios) {
    .env = cache->env,
    .arena = cache->arena,
    .reclaim = cache->reclaim,
    .bell = &m->bell,
    .size = fs->size,
    .nr_pages = (fs->size + PAGE_SIZE - 1) >> PAGE_SHIFT,
  };
  ranges_init (&m->folios.ranges, m->env);
  ranges_init (&m->folios.direct, m->env);
  watches_init (&m->folios.watches);
  fs->bell = &m->bell;
  init_post (m);
  init_throttle (m);

  r = init_parts (m);
  if (r < 0) {
    mapping_destroy (m);
    return r;
  }
  *ret = m;
  return 0;
}

static void
store_changed (void *opaque)
{
  struct mapping *mapping = opaque;

  inbox_store_changed (&mapping->inbox);
}

int
mapping_start (struct mapping *mapping)
{
  struct store *store = mapping->fs->store;
  int r;

  store->opaque = mapping;
  store->changed = store_changed;
  r = flusher_start (&mapping->wb, &mapping->bell, &mapping->flusher);
  if (r < 0)
    store->changed = NULL;
  return r;
}

/* What eviction has not taken goes now, whatever its state: the mapping is at
 * its end.
 */
static void
drop_all (struct mapping *mapping)
{
  struct folio *folio;

  while ((folio = index_get_next (mapping->folios.index, 0, UINT64_MAX)) !=
         NULL) {
    bool mapped;

    folio_lock (mapping->env, folio);
    mapped = folio_mapped (folio);
    if (mapped) {
      folio_transition (&mapping->folios, folio, 0, folio_sectors (folio),
                        FOLIO_DROPPED);
      folios_remove (&mapping->folios, folio);
    }
    folio_unlock (&mapping->folios, folio);
    folio_put (mapping->folios.arena, folio);
  }
}

void
mapping_destroy (struct mapping *mapping)
{
  if (mapping->flusher) {
    fill_pool_drain (mapping->fills);
    flusher_stop (mapping->flusher);
    mapping->fs->store->changed = NULL;
  }
  if (mapping->folios.index)
    drop_all (mapping);
  if (mapping->id) {
    pthread_mutex_lock (&mapping->cache->index_work);
    atomic_store (&mapping->cache->mappings[mapping->id], NULL);
    pthread_mutex_unlock (&mapping->cache->index_work);
    rcu_wait (); /* for eviction, see memory.c */
  }
  if (mapping->flusher)
    flusher_free (mapping->flusher);
  if (mapping->folios.index)
    index_destroy (mapping->folios.index);
  writeback_destroy (&mapping->wb);
  inbox_destroy (&mapping->inbox);
  lost_destroy (&mapping->outbox.lost);
  if (mapping->bounce)
    arena_destroy (mapping->bounce);
  fill_pool_destroy (mapping->fills);
  mapping->fs->bell = NULL;
  watches_destroy (&mapping->folios.watches);
  ranges_destroy (&mapping->folios.direct);
  ranges_destroy (&mapping->folios.ranges);
  stats_destroy (mapping->stats);
  give_id_back (mapping);
  free (mapping);
}

void
mapping_configure (struct mapping *mapping, const struct mapping_config *config)
{
  const struct inbox_settings settings = {
    .limit = config->dirty_limit,
    .background = config->dirty_background,
    .flush_target = config->flush_target,
    .dirty_expire = config->dirty_expire,
    .interval = config->writeback_interval,
    .io_depth = config->io_depth,
  };

  set_settings (mapping, config);
  inbox_configure (&mapping->inbox, &settings);
}

void
mapping_pause (struct mapping *mapping, bool paused)
{
  inbox_pause (&mapping->inbox, paused);
}

bool
mapping_is_paused (const struct mapping *mapping)
{
  return atomic_load (&mapping->inbox.paused) && !mapping_is_shutdown (mapping);
}

void
mapping_kick (struct mapping *mapping)
{
  inbox_kick (&mapping->inbox);
}

void
mapping_shutdown (struct mapping *mapping)
{
  atomic_store (&mapping->outbox.shutdown, true);
  throttle_wake (&mapping->throttle);
  bell_ring (&mapping->bell); /* a pause is over */
}

bool
mapping_lost_untold (struct mapping *mapping)
{
  return lost_untold (&mapping->outbox.lost);
}

bool
mapping_is_shutdown (const struct mapping *mapping)
{
  return atomic_load (&mapping->outbox.shutdown);
}
