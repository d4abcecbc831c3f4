/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The background reclaimer, and allocations, which may have to wait; on top of
 * eviction and of the making of blocks.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/folio/reclaim-inside.h"

#define BATCH 32 /* pages a thread evicts for itself at a time */
#define WAIT_NS (100 * NSEC_PER_MSEC)
#define WAIT_BUSY_NS NSEC_PER_MSEC

int
reclaim_create (struct env *env, struct arena *arena,
                const struct reclaim_ops *ops, void *opaque, uint32_t reserve,
                struct reclaim **ret)
{
  struct reclaim *reclaim = calloc (1, sizeof *reclaim);
  int r;

  if (reclaim == NULL)
    return -ENOMEM;
  reclaim->env = env;
  reclaim->arena = arena;
  reclaim->ops = ops;
  reclaim->opaque = opaque;
  reclaim->reserve = reserve;
  r = policy_init (&reclaim->policy, arena);
  if (r < 0) {
    free (reclaim);
    return r;
  }
  pthread_mutex_init (&reclaim->lock, NULL);
  *ret = reclaim;
  return 0;
}

/* --- the reclaimer --- */

/* To sleep until pages are freed or folios become clean: begin, look whether
 * there still is need to, end.
 */
static uint32_t
sleep_begin (struct reclaim *reclaim)
{
  atomic_fetch_add (&reclaim->arena->sleepers, 1);
  return atomic_load (&reclaim->arena->freed);
}

static void
sleep_end (struct reclaim *reclaim, uint32_t freed, bool needed)
{
  struct env *env = reclaim->env;
  bool busy;

  if (needed && reclaim_evict (reclaim, BATCH, &busy) == 0)
    env->wait (env, &reclaim->arena->freed, freed,
               env->now (env) + (busy ? WAIT_BUSY_NS : WAIT_NS));
  atomic_fetch_sub (&reclaim->arena->sleepers, 1);
}

static void
fill_reserve (struct reclaim *reclaim)
{
  uint32_t freed;

  while (!atomic_load (&reclaim->stopping) &&
         reclaim_free_pages (reclaim) < reclaim->reserve) {
    if (reclaim_pages (reclaim, BATCH) > 0)
      continue;
    freed = sleep_begin (reclaim);
    sleep_end (reclaim, freed, !atomic_load (&reclaim->stopping));
  }
}

static void
prepare (struct reclaim *reclaim)
{
  while (!atomic_load (&reclaim->stopping) && arena_unprepared (reclaim->arena))
    arena_prepare (reclaim->arena);
}

static void *
reclaimer (void *opaque)
{
  struct reclaim *reclaim = opaque;
  struct env *env = reclaim->env;

  while (!atomic_load (&reclaim->stopping)) {
    env->wait (env, &reclaim->kicked, 0, ENV_FOREVER);
    atomic_exchange (&reclaim->kicked, 0);
    prepare (reclaim);
    if (reclaim->ops->background)
      reclaim->ops->background (reclaim->opaque);
    fill_reserve (reclaim);
    reclaim_prepare_blocks (reclaim);
  }
  return NULL;
}

int
reclaim_start (struct reclaim *reclaim)
{
  int r;

  atomic_store (&reclaim->kicked, 1); /* there is memory to prepare */
  r = env_thread (&reclaim->thread, 0, reclaimer, reclaim);
  reclaim->started = r == 0;
  return r;
}

static void
stop (struct reclaim *reclaim)
{
  atomic_store (&reclaim->stopping, true);
  atomic_store (&reclaim->kicked, 1);
  reclaim->env->wake (reclaim->env, &reclaim->kicked);
  reclaim_wake_sleepers (reclaim);
  pthread_join (reclaim->thread, NULL);
}

void
reclaim_destroy (struct reclaim *reclaim)
{
  if (reclaim->started)
    stop (reclaim);
  policy_destroy (&reclaim->policy);
  pthread_mutex_destroy (&reclaim->lock);
  free (reclaim);
}

/* --- allocating --- */

static struct folio *
alloc_wait (struct reclaim *reclaim)
{
  struct folio *folio = NULL;
  uint32_t freed;

  while (folio == NULL && reclaim_pages (reclaim, BATCH) > 0)
    folio = arena_alloc (reclaim->arena, 0);
  if (folio)
    return folio;

  freed = sleep_begin (reclaim);
  folio = arena_alloc (reclaim->arena, 0);
  sleep_end (reclaim, freed, folio == NULL);
  return folio ? folio : arena_alloc (reclaim->arena, 0);
}

/* Evict a little, if memory is short rather than scattered. */
static struct folio *
alloc_nowait (struct reclaim *reclaim, unsigned order)
{
  uint32_t pages = 1u << order;

  reclaim_want_block (reclaim, order);
  if (reclaim_free_pages (reclaim) > 0 &&
      reclaim_free_pages (reclaim) >= reclaim->reserve)
    return NULL;
  if (reclaim_pages (reclaim, pages < BATCH ? pages : BATCH) == 0)
    return NULL;
  return arena_alloc (reclaim->arena, order);
}

struct folio *
reclaim_alloc (struct reclaim *reclaim, unsigned order, bool wait)
{
  struct folio *folio = arena_alloc (reclaim->arena, order);

  if (folio == NULL)
    folio =
      wait && order == 0 ? alloc_wait (reclaim) : alloc_nowait (reclaim, order);
  if (reclaim_free_pages (reclaim) < reclaim->reserve / 2 ||
      arena_unprepared (reclaim->arena))
    reclaim_kick (reclaim);
  return folio;
}
