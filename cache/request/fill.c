/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Filling: what requests need, which they wait for, and readahead.
 */

#include <errno.h>

#include "cache/base/store-io.h"
#include "cache/request/fill-build.h"

int
fill_pages (struct mapping *mapping, const struct iomap_iter *iter,
            uint64_t first, uint64_t last)
{
  struct fill own, *fill;
  struct fill_group group;
  int r = 0, error = 0;

  while (first <= last && r == 0 && error == 0) {
    fill_group_start (&group);
    fill = &own;
    do {
      fill_start (fill, mapping, iter, fill == &own ? NULL : mapping->fills,
                  &group);
      r = fill_gather (fill, iter, &first, last, false);
      if (fill == &own && first > last)
        fill_await (fill);
      fill_submit (fill);
      /* What did not fit is read at the same time, if another fill is free. */
    } while (first <= last && r == 0 && atomic_load (&group.error) == 0 &&
             (fill = fill_pool_get (mapping->fills)) != NULL);
    error = fill_group_wait (mapping->env, &group);
  }
  return r < 0 ? r : error;
}

/* Mark what the fill reads as a guess. */
static void
mark_unread (struct fill *fill)
{
  struct mapping *mapping = fill->mapping;

  for (unsigned i = 0; i < fill->nr_runs; i++) {
    struct folio *folio = fill->runs[i].folio;

    if (!(atomic_fetch_or (&folio->flags, FOLIO_UNREAD) & FOLIO_UNREAD))
      stats_add (mapping->stats, STAT_READAHEAD_PAGES, folio_pages (folio));
  }
}

/* One iomap's worth of readahead.  Returns false when it should end. */
static bool
ahead_in_iomap (struct mapping *mapping, const struct iomap_iter *iter,
                uint64_t first, uint64_t last)
{
  struct fill *fill;
  int r = 0;

  while (first <= last && r == 0) {
    fill = fill_pool_get (mapping->fills);
    if (fill == NULL)
      return false;
    fill_start (fill, mapping, iter, mapping->fills, NULL);
    r = fill_gather (fill, iter, &first, last, true);
    mark_unread (fill);
    fill_submit (fill);
  }
  return r == 0;
}

void
fill_ahead (struct mapping *mapping, uint64_t first, uint64_t count,
            uint64_t marker)
{
  struct iomap_iter iter;
  struct folio *folio;
  uint64_t end = min_u64 ((first + count) << PAGE_SHIFT, mapping->folios.size);
  bool more = true;

  if (first << PAGE_SHIFT >= end)
    return;
  iomap_iter_init (&iter, mapping->fs, first << PAGE_SHIFT,
                   end - (first << PAGE_SHIFT), IOMAP_NOWAIT);
  while (more && iomap_iter_next (&iter) > 0) {
    uint64_t n = iomap_iter_length (&iter);

    if (iter.iomap.type == IOMAP_MAPPED)
      more = ahead_in_iomap (mapping, &iter, iter.pos >> PAGE_SHIFT,
                             (iter.pos + n - 1) >> PAGE_SHIFT);
    iter.processed = n;
  }
  iomap_iter_stop (&iter);

  folio = marker == NO_MARKER
            ? NULL
            : index_get_next (mapping->folios.index, marker, first + count - 1);
  if (folio) {
    atomic_fetch_or (&folio->flags, FOLIO_READAHEAD);
    folio_put (mapping->folios.arena, folio);
  }
}

int
fill_sectors (struct mapping *mapping, const struct iomap_iter *iter,
              struct folio *folio, unsigned first, unsigned last)
{
  uint64_t pos = sector_pos (folio, first), n = sector_bytes (last - first);
  struct watch watch;
  int r = -ESTALE;

  watch_begin (&mapping->folios.watches, &watch, pos, pos + n);
  if (iomap_iter_valid (iter))
    r = store_io_wait (mapping->stats, mapping->fs->store, STORE_READ,
                       STORE_AWAITED, iomap_iter_addr (iter, pos),
                       sector_data (mapping->folios.arena, folio, first), n);
  if (r == 0 && iomap_lost (mapping->fs, iter->losses))
    r = -ESTALE;
  if (r == 0)
    folio_filled (&mapping->folios, folio, first, last, &watch);
  watch_end (&mapping->folios.watches, &watch);
  if (r == 0 && !folio_uptodate (mapping->folios.arena, folio, first, last))
    r = -ESTALE;
  return r;
}
