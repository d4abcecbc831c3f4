/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reporting extents: the mapping, merged with what is in memory.
 */

#include <errno.h>

#include "cache/mapping.h"

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

/* What is data, whatever the mapping says of it. */
static const struct {
  enum index_tag tag;
  unsigned shift;
} unsaved[] = {
  { TAG_DIRTY, STATE_DIRTY_SHIFT },
  { TAG_WRITEBACK, STATE_WRITEBACK_SHIFT },
  { TAG_UNSTABLE, STATE_UNSTABLE_SHIFT },
};
#define NR_UNSAVED (sizeof unsaved / sizeof unsaved[0])

/* The first folio in [pos, end) with anything unsaved. */
static struct folio *
next_folio (struct mapping *mapping, uint64_t pos, uint64_t end)
{
  uint64_t first = pos >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
  struct folio *found = NULL, *folio;
  unsigned i;

  for (i = 0; i < NR_UNSAVED && first <= last; i++) {
    folio = index_get_tagged (mapping->index, first, last, unsaved[i].tag);
    if (folio == NULL)
      continue;
    if (found)
      folio_put (mapping->arena, found);
    found = folio;
    last = folio_index (folio);
  }
  return found;
}

/* The first unsaved sector in [first, last). */
static unsigned
find_data (const struct arena *arena, const struct folio *folio, unsigned first,
           unsigned last)
{
  unsigned i;

  for (i = 0; i < NR_UNSAVED; i++)
    last =
      folio_find_sector (arena, folio, first, last, unsaved[i].shift, true);
  return last;
}

/* The end of the run of such sectors that begins at first. */
static unsigned
find_data_end (const struct arena *arena, const struct folio *folio,
               unsigned first, unsigned last)
{
  unsigned end = first, before, i;

  do {
    before = end;
    for (i = 0; i < NR_UNSAVED; i++)
      end =
        folio_find_sector (arena, folio, end, last, unsaved[i].shift, false);
  } while (end > before);
  return end;
}

/* The first run of [pos, end) that is in memory and not safely on the store: sets
 * both ends; false if there is none.  (What has been sent is MAPPED, but that may
 * be forgotten, and the store asked before it has the data, or after it has lost
 * it.)
 */
static bool
next_unsaved (struct mapping *mapping, uint64_t pos, uint64_t end,
              uint64_t *first, uint64_t *last)
{
  struct arena *arena = mapping->arena;
  struct folio *folio;
  unsigned sector, sectors;

  for (; pos < end; pos = *last) {
    folio = next_folio (mapping, pos, end);
    if (folio == NULL)
      return false;
    sectors = folio_sectors (folio);
    sector = 0;
    if (pos > folio_pos (folio))
      sector = (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
    sector = find_data (arena, folio, sector, sectors);
    *first = folio_pos (folio) + ((uint64_t) sector << SECTOR_SHIFT);
    sector = find_data_end (arena, folio, sector, sectors);
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

  stats_request (mapping->stats, STAT_EXTENTS, count, r);
  return r;
}
