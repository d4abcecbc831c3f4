/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reporting extents: the iomaps, merged with what is in memory.
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

/* The iomap says that nothing but zeroes is there: what is unsaved above it is
 * data all the same.  (What has been sent is MAPPED, but that may be forgotten, and
 * the store asked before it has the data, or after it has lost it.)  Where nothing is
 * the iomap must still hold, else what was may just have been written back.
 * Returns up to where this is reported.
 */
static uint64_t
report_zeroes (struct report *report, uint64_t pos, uint64_t end)
{
  struct mapping *mapping = report->mapping;
  uint64_t first, last;

  while (pos < end && !report->stopped) {
    if (!folios_next_unsaved (&mapping->folios, pos, end, &first, &last))
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
