/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A mapping for tests of eviction, see fake-mapping.h.
 */

#include <sched.h>
#include <string.h>

#include "tests/tools/util.h"
#include "tests/unit/fake-mapping.h"
#include "tests/unit/invariants.h"

#define ID 7

static bool
evict (void *opaque, struct folio *folio)
{
  struct fake *fake = opaque;
  uint32_t refs = 2;
  void (*on_evict) (struct fake *, struct folio *) =
    atomic_load (&fake->on_evict);
  bool ok;

  if (on_evict)
    on_evict (fake, folio);
  pthread_mutex_lock (&fake->lock);
  ok = folio_mapped (folio) && !folio_unsaved (fake->arena, folio) &&
       atomic_compare_exchange_strong (&folio->refs, &refs, 0);
  if (ok) {
    for (uint64_t i = 0; i < folio_pages (folio); ++i)
      fake->slots[folio_index (folio) + i] = NULL;
    atomic_store (&folio->mapping, 0);
    atomic_fetch_add (&fake->evicted, 1);
  }
  pthread_mutex_unlock (&fake->lock);
  return ok;
}

static void
need_clean (void *opaque)
{
  struct fake *fake = opaque;

  atomic_fetch_add (&fake->need_clean, 1);
  fake->env.wake (&fake->env, &fake->need_clean);
}

static const struct reclaim_ops ops = { .evict = evict,
                                        .need_clean = need_clean };

void
fake_init (struct fake *fake, uint32_t pages, uint32_t reserve)
{
  memset (fake, 0, sizeof *fake);
  env_init (&fake->env);
  pthread_mutex_init (&fake->lock, NULL);
  if (arena_create (&fake->env, (size_t) pages << PAGE_SHIFT, &fake->arena) ||
      reclaim_create (&fake->env, fake->arena, &ops, fake, reserve,
                      &fake->reclaim))
    die ("cannot make an arena of %u pages", pages);
}

static bool
is_empty (struct fake *fake)
{
  for (uint64_t page = 0; page < FAKE_PAGES; ++page)
    if (fake_has (fake, page))
      return false;
  return true;
}

/* The reclaimer may have some in hand: again and again, then. */
static void
evict_all (struct fake *fake)
{
  fake_clean_all (fake);
  for (unsigned i = 0; i < 100000; ++i) {
    while (reclaim_pages (fake->reclaim, 64) > 0)
      ;
    if (is_empty (fake))
      return;
    sched_yield ();
  }
  die ("some folios cannot be evicted");
}

void
fake_destroy (struct fake *fake)
{
  atomic_store (&fake->on_evict, NULL); /* the reclaimer may still run */
  if (fake->reclaim) {
    evict_all (fake);
    reclaim_destroy (fake->reclaim);
  }
  if (atomic_load (&fake->arena->nr_free) != fake->arena->nr_pages)
    die ("%u of %u pages are free at the end",
         atomic_load (&fake->arena->nr_free), fake->arena->nr_pages);
  if (atomic_load (&fake->arena->sleepers) != 0)
    die ("someone still sleeps");
  arena_check (fake->arena);
  arena_destroy (fake->arena);
  pthread_mutex_destroy (&fake->lock);
}

static uint64_t *
stamp (struct fake *fake, struct folio *folio)
{
  return (uint64_t *) arena_data (fake->arena, folio);
}

struct folio *
fake_get (struct fake *fake, uint64_t page)
{
  struct folio *folio;

  pthread_mutex_lock (&fake->lock);
  folio = fake->slots[page];
  if (folio)
    folio_get (folio);
  pthread_mutex_unlock (&fake->lock);
  if (folio && *stamp (fake, folio) != folio_index (folio) + 1)
    die ("the folio at page %llu holds something else",
         (unsigned long long) page);
  return folio;
}

bool
fake_insert (struct fake *fake, struct folio *folio, uint64_t page, bool cold)
{
  uint64_t i, nr = folio_pages (folio);

  *stamp (fake, folio) = page + 1;
  atomic_store (&folio->index, page);
  pthread_mutex_lock (&fake->lock);
  for (i = 0; i < nr && fake->slots[page + i] == NULL; ++i)
    ;
  if (i < nr) {
    pthread_mutex_unlock (&fake->lock);
    return false;
  }
  for (i = 0; i < nr; ++i)
    fake->slots[page + i] = folio;
  atomic_store (&folio->mapping, ID);
  folio_get (folio);
  pthread_mutex_unlock (&fake->lock);

  reclaim_add (fake->reclaim, folio, cold);
  return true;
}

void
fake_bring (struct fake *fake, uint64_t page, bool cold)
{
  struct folio *folio;

  do
    folio = reclaim_alloc (fake->reclaim, 0, true);
  while (folio == NULL);
  if (!fake_insert (fake, folio, page, cold))
    die ("page %llu is there already", (unsigned long long) page);
  folio_put (fake->arena, folio);
}

bool
fake_access (struct fake *fake, uint64_t page)
{
  struct folio *folio = fake_get (fake, page);

  if (folio == NULL) {
    fake_bring (fake, page, false);
    return false;
  }
  reclaim_touch (folio);
  folio_put (fake->arena, folio);
  return true;
}

bool
fake_has (struct fake *fake, uint64_t page)
{
  bool has;

  pthread_mutex_lock (&fake->lock);
  has = fake->slots[page] != NULL;
  pthread_mutex_unlock (&fake->lock);
  return has;
}

void
fake_remove (struct fake *fake, struct folio *folio)
{
  bool in;

  pthread_mutex_lock (&fake->lock);
  in = folio_mapped (folio);
  if (in) {
    for (uint64_t i = 0; i < folio_pages (folio); ++i)
      fake->slots[folio_index (folio) + i] = NULL;
    atomic_store (arena_state (fake->arena, folio), 0);
    atomic_store (&folio->mapping, 0);
  }
  pthread_mutex_unlock (&fake->lock);
  if (in) {
    reclaim_remove (fake->reclaim, folio);
    folio_put (fake->arena, folio);
  }
}

void
fake_dirty (struct fake *fake, struct folio *folio)
{
  pthread_mutex_lock (&fake->lock);
  if (folio_mapped (folio))
    atomic_store (arena_state (fake->arena, folio),
                  1u << STATE_UPTODATE_SHIFT | 1u << STATE_DIRTY_SHIFT);
  pthread_mutex_unlock (&fake->lock);
}

void
fake_clean (struct fake *fake, struct folio *folio)
{
  pthread_mutex_lock (&fake->lock);
  atomic_store (arena_state (fake->arena, folio), 1u << STATE_UPTODATE_SHIFT);
  pthread_mutex_unlock (&fake->lock);
  if (atomic_load (&folio->flags) & FOLIO_RECLAIM) {
    atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_RECLAIM);
    reclaim_rotate (fake->reclaim, folio);
  }
}

void
fake_clean_all (struct fake *fake)
{
  for (uint64_t page = 0; page < FAKE_PAGES; ++page) {
    struct folio *folio = fake_has (fake, page) ? fake_get (fake, page) : NULL;

    if (folio == NULL)
      continue;
    if (folio_unsaved (fake->arena, folio))
      fake_clean (fake, folio);
    folio_put (fake->arena, folio);
  }
}
