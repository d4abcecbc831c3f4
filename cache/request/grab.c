/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Folios for requests: found, or made.
 */

#include <errno.h>

#include "cache/index/index.h"
#include "cache/request/grab.h"
#include "cache/request/index-room.h"
#include "cache/request/mapping.h"

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
