/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Dropping what is clean, because somebody wishes it.
 */

#include "cache/request/mapping.h"

/* Folios that are dropped at once. */
#define BATCH 64

/* Referenced folios from page on; sets *page behind them. */
static unsigned
gather (struct mapping *mapping, struct folio **folios, uint64_t *page)
{
  unsigned n = 0;

  while (n < BATCH && *page < mapping->folios.nr_pages) {
    struct folio *folio =
      index_get_next (mapping->folios.index, *page, UINT64_MAX);

    if (folio == NULL) {
      *page = mapping->folios.nr_pages;
      break;
    }
    *page = folio_end (folio) >> PAGE_SHIFT;
    folios[n++] = folio;
  }
  return n;
}

/* It is eviction that drops them, which refuses what is in use or not clean. */
uint64_t
mapping_drop_clean (struct mapping *mapping)
{
  struct reclaim *reclaim = mapping->folios.reclaim;
  uint64_t before = reclaim_evicted (reclaim), page = 0;
  struct folio *folios[BATCH];
  unsigned n;

  while ((n = gather (mapping, folios, &page)) > 0)
    reclaim_folios (reclaim, folios, n);
  index_reclaim_nodes (mapping->folios.index);
  return (reclaim_evicted (reclaim) - before) << PAGE_SHIFT;
}
