/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reporting extents: the mapping, merged with what is in memory.
 */

#include <errno.h>

#include "cache/request/mapping.h"

struct report {
  struct mapping *mapping;
  struct iomap_iter *iter;
  cache_extent_fn *fn;
  void *opaque;
  bool stopped;
};

static void
emit (struct report *report, uint64_t start, uint64_t end, bool data)
{
  if (start < end && !report->stopped)
    report->stopped =
      !report->fn (report->opaque, start, end - start,
                   !data && report->iter->iomap.type == IOMAP_HOLE, !data);
}

/* The first run of [pos, end) that is in memory and not safely on the store: sets
 * both ends; false if there is none.  (What has been sent is MAPPED, but that may
 * be forgotten, and the store asked before it has the data, or after it has lost
 * it.)  Not by tags, of which a folio may change one for another while they are
 * looked at; there are few clean folios where the mapping has no data.
 */
static bool
next_unsaved (struct mapping *mapping, uint64_t pos, uint64_t end,
              uint64_t *first, uint64_t *last)
{
  struct arena *arena = mapping->folios.arena;
  struct folio *folio;
  unsigned sector, sectors;

  for (; pos < end; pos = *last) {
    folio = index_get_next (mapping->folios.index, pos >> PAGE_SHIFT,
                            (end - 1) >> PAGE_SHIFT);
    if (folio == NULL)
      return false;
    sectors = folio_sectors (folio);
    sector = 0;
    if (pos > folio_pos (folio))
      sector = (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
    sector = folio_find_unsaved (arena, folio, sector, sectors, true);
    *first = folio_pos (folio) + ((uint64_t) sector << SECTOR_SHIFT);
    sector = folio_find_unsaved (arena, folio, sector, sectors, false);
    *last = folio_pos (folio) + ((uint64_t) sector << SECTOR_SHIFT);
    folio_put (arena, folio);
    if (*first < *last)
      return *first < end;
  }
  return false;
}

/* The mapping says that nothing but zeroes is there: what is unsaved above it is
 * data all the same.  Where nothing is the mapping must still hold, else
 * what was may just have been written back.  Returns up to where this is
 * reported.
 */
static uint64_t
report_zeroes (struct report *report, uint64_t pos, uint64_t end)
{
  struct mapping *mapping = report->mapping;
  uint64_t first, last;

  while (pos < end && !report->stopped) {
    if (!next_unsaved (mapping, pos, end, &first, &last))
      first = last = end;
    if (!iomap_iter_valid (report->iter))
      break;
    first = max_u64 (first, pos);
    last = min_u64 (last, end);
    emit (report, pos, first, false);
    emit (report, first, last, true);
    pos = last;
  }
  return pos;
}

static int
report_range (struct mapping *mapping, uint64_t count, uint64_t offset,
              cache_extent_fn *fn, void *opaque)
{
  struct iomap_iter iter;
  struct report report = {
    .mapping = mapping,
    .iter = &iter,
    .fn = fn,
    .opaque = opaque,
  };
  uint64_t end;
  int r = 0;

  if (!mapping_in_range (mapping, offset, count))
    return -EINVAL;

  iomap_iter_init (&iter, mapping->fs, offset, count, IOMAP_REPORT);
  while (!report.stopped && (r = iomap_iter_next (&iter)) > 0) {
    end = iter.pos + iomap_iter_length (&iter);
    if (iter.iomap.type == IOMAP_HOLE || iter.iomap.type == IOMAP_UNWRITTEN)
      end = report_zeroes (&report, iter.pos, end);
    else
      emit (&report, iter.pos, end, true);
    iter.processed = end - iter.pos;
  }
  iomap_iter_stop (&iter);
  return report.stopped ? 0 : r;
}

int
cache_extents (struct conn *conn, uint64_t count, uint64_t offset,
               cache_extent_fn *fn, void *opaque)
{
  struct mapping *mapping = conn->mapping;
  int r = report_range (mapping, count, offset, fn, opaque);

  client_ask (&conn->client);
  stats_request (mapping->stats, STAT_EXTENTS, count, r);
  return r;
}
