/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Mappings: making and ending them, their folios.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cache/writeback/flusher.h"
#include "cache/request/mapping.h"
#include "cache/base/rcu.h"

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
    .zeroes = &m->zeroes,
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
    r = fill_pool_init (&mapping->fills);
  if (r == 0)
    r = init_writeback (mapping);
  /* The reclaimer's thread may be at work: not before all that it needs is there.
   */
  if (r == 0)
    atomic_store (&cache->mappings[mapping->id], mapping);
  return r;
}

static bool
is_zeroed (void *opaque, uint64_t pos, uint64_t *length)
{
  struct mapping *mapping = opaque;

  return zeroes_at (&mapping->zeroes, pos, length);
}

static void
bell (void *opaque)
{
  struct mapping *mapping = opaque;

  bell_ring (&mapping->bell);
}

static void
init_post (struct mapping *m)
{
  inbox_init (&m->inbox, m->env, &m->bell);
  m->outbox = (struct outbox) { .env = m->env, .zeroes = &m->zeroes };
  zeroes_init (&m->zeroes, &m->folios, m->fs, &m->inbox);
}

static void
init_throttle (struct mapping *m)
{
  m->throttle = (struct throttle) {
    .env = m->env,
    .folios = &m->folios,
    .outbox = &m->outbox,
    .zeroes = &m->zeroes,
    .stats = m->stats,
  };
  throttle_init (&m->throttle, m->config.dirty_limit,
                 m->config.dirty_background);
  balance_init (&m->throttle, m->config.flush_target);
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
  m->hooks.alloc = default_alloc;
  m->hooks.copy_in = default_copy_in;
  m->readonly = fs->store->geo.readonly;
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
  fs->zeroed = is_zeroed;
  fs->zeroed_opaque = m;
  fs->bell = bell;
  fs->bell_opaque = m;
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
  zeroes_retry (&mapping->zeroes);
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
    fill_pool_drain (mapping);
    flusher_stop (mapping->flusher);
    mapping->fs->store->changed = NULL;
  }
  if (mapping->folios.index)
    drop_all (mapping);
  if (mapping->id) {
    pthread_mutex_lock (&mapping->cache->index_work);
    atomic_store (&mapping->cache->mappings[mapping->id], NULL);
    pthread_mutex_unlock (&mapping->cache->index_work);
    rcu_wait (); /* for eviction, see cache.c */
  }
  if (mapping->flusher)
    flusher_free (mapping->flusher);
  if (mapping->folios.index)
    index_destroy (mapping->folios.index);
  writeback_destroy (&mapping->wb);
  inbox_destroy (&mapping->inbox);
  if (mapping->bounce)
    arena_destroy (mapping->bounce);
  fill_pool_destroy (&mapping->fills);
  mapping->fs->zeroed = NULL;
  mapping->fs->bell = NULL;
  zeroes_destroy (&mapping->zeroes);
  ranges_destroy (&mapping->folios.ranges);
  stats_destroy (mapping->stats);
  give_id_back (mapping);
  free (mapping);
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
}

bool
mapping_is_shutdown (const struct mapping *mapping)
{
  return atomic_load (&mapping->outbox.shutdown);
}

/* --- folios --- */

/* The folio of page, referenced and locked, if it is there.  *slept: this was
 * slept for.
 */
static struct folio *
grab_existing (struct mapping *mapping, uint64_t page, unsigned wait,
               bool *slept, int *err)
{
  struct folio *folio;

  while ((folio = index_get (mapping->folios.index, page)) != NULL) {
    if (wait & GRAB_WAIT_LOCK)
      *slept |= folio_lock (mapping->env, folio);
    else if (!folio_trylock (folio)) {
      folio_put (mapping->folios.arena, folio);
      *err = -EAGAIN;
      return NULL;
    }
    if (folio_mapped (folio))
      return folio;
    /* It was dropped while we waited. */
    folio_unlock (&mapping->folios, folio);
    folio_put (mapping->folios.arena, folio);
  }
  *err = 0;
  return NULL;
}

/* Give back a folio that never got into the index. */
static void
discard_new (struct mapping *mapping, struct folio *folio)
{
  atomic_store (&folio->lock, FOLIO_UNLOCKED);
  folio_put (mapping->folios.arena, folio);
}

/* Put a new folio into the index, locked. */
static int
insert_new (struct mapping *mapping, struct folio *folio, uint64_t page,
            bool cold)
{
  int r;

  atomic_store (&folio->index, page);
  atomic_store (&folio->lock, FOLIO_LOCKED);
  index_lock (mapping->folios.index);
  r = index_insert (mapping->folios.index, folio);
  if (r == 0)
    atomic_fetch_add (&folio->refs, 1); /* the index's */
  index_unlock (mapping->folios.index);
  if (r == 0)
    reclaim_add (mapping->folios.reclaim, folio, cold);
  if (index_nodes_low (mapping->folios.index))
    reclaim_kick (mapping->folios.reclaim);
  return r;
}

/* Memory for a new folio, of this order or, if *order is changed, a smaller
 * one.  *slept: this was slept for.
 */
static struct folio *
alloc_folio (struct mapping *mapping, unsigned *order, unsigned wait,
             bool *slept, int *err)
{
  uint64_t since = mapping->env->now (mapping->env);
  bool tried = false;
  struct folio *folio;

  *err = 0;
  for (;;) {
    folio = mapping->hooks.alloc (mapping, *order, tried);
    *slept |= tried;
    if (folio)
      return folio;
    if (*order > 0) {
      --*order;
      continue;
    }
    tried = wait & GRAB_WAIT_MEMORY;
    *err = wait & GRAB_WAIT_MEMORY ? outbox_give_up (&mapping->outbox, since)
                                   : -ENOMEM;
    if (*err)
      return NULL;
  }
}

/* The largest order, `order' at most, of a folio that holds page, begins at it
 * or, with order 0, is it, and ends at `last' at most.
 */
static unsigned
fit_order (uint64_t page, uint64_t last, unsigned order)
{
  while (order > 0 && ((page & ((UINT64_C (1) << order) - 1)) ||
                       page + (UINT64_C (1) << order) - 1 > last))
    order--;
  return order;
}

struct folio *
mapping_grab_folio (struct mapping *mapping, uint64_t page, uint64_t last,
                    unsigned order, bool cold, unsigned wait, int *err)
{
  struct folio *folio;
  bool slept = false;

  order = fit_order (page, last, order);
  for (;;) {
    folio = grab_existing (mapping, page, wait, &slept, err);
    if (folio || *err)
      break;
    folio = alloc_folio (mapping, &order, wait, &slept, err);
    if (folio == NULL)
      break;
    *err = insert_new (mapping, folio, page, cold);
    if (*err == 0)
      break;
    discard_new (mapping, folio);
    folio = NULL;
    if (*err == -EEXIST && order > 0)
      order--;
    else if (*err == -ENOSPC) {
      slept |= wait & GRAB_WAIT_MEMORY;
      *err = mapping_index_room (mapping, wait & GRAB_WAIT_MEMORY);
      if (*err < 0)
        break;
    }
  }
  if (folio)
    *err = slept;
  return folio;
}
