/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading.  A hit is a look-up, a reference and a copy, on the request's own
 * thread and without a lock; all else is a miss.
 */

#include <errno.h>
#include <string.h>

#include "cache/index/index.h"
#include "cache/request/fill.h"
#include "cache/request/mapping.h"
#include "cache/request/past.h"
#include "cache/request/read.h"
#include "cache/request/readahead.h"

/* Read ahead of a stream that has come to the folio's marker, and note that
 * what was read ahead is being used.
 */
static void
hit_flagged (struct conn *conn, struct folio *folio)
{
  struct mapping *mapping = conn->mapping;
  uint16_t flags = atomic_fetch_and (
    &folio->flags, (uint16_t) ~(FOLIO_READAHEAD | FOLIO_UNREAD));
  struct ra_window window;

  if (flags & FOLIO_UNREAD) {
    readahead_feedback (conn->ra, 0, folio_pages (folio));
    stats_add (mapping->stats, STAT_READAHEAD_USED, folio_pages (folio));
  }
  if (flags & FOLIO_READAHEAD) {
    readahead_set_max (conn->ra, mapping_readahead (mapping));
    readahead_marker (conn->ra, folio_index (folio), mapping->folios.nr_pages,
                      &window);
    if (window.count)
      fill_ahead (mapping, window.first, window.count, window.marker);
  }
}

/* How many of the count bytes from byte `from' of the folio on are uptodate. */
static size_t
uptodate_bytes (const struct arena *arena, const struct folio *folio,
                size_t from, size_t count)
{
  unsigned first = (unsigned) (from >> SECTOR_SHIFT);
  unsigned last = (unsigned) ((from + count + SECTOR_SIZE - 1) >> SECTOR_SHIFT);
  size_t end;

  if (folio_uptodate (arena, folio, first, last))
    return count;
  end =
    (size_t) folio_find_sector (arena, folio, first, last, IN_UPTODATE, false)
    << SECTOR_SHIFT;
  return end > from ? min_u64 (end - from, count) : 0;
}

size_t
read_cached (struct conn *conn, void *buf, size_t count, uint64_t offset,
             bool use)
{
  struct mapping *mapping = conn->mapping;
  struct folio *folio;
  uint16_t flags;
  size_t from;

  folio = index_get (mapping->folios.index, offset >> PAGE_SHIFT);
  if (folio == NULL)
    return 0;

  from = offset - folio_pos (folio);
  count = min_u64 (count, folio_end (folio) - offset);
  count = uptodate_bytes (mapping->folios.arena, folio, from, count);
  if (count > 0) {
    folio_copy_out (buf, arena_data (mapping->folios.arena, folio) + from,
                    count);
    flags = atomic_load_explicit (&folio->flags, memory_order_relaxed);
    if (use)
      reclaim_used (folio, (unsigned) (from >> SECTOR_SHIFT),
                    (unsigned) ((from + count - 1) >> SECTOR_SHIFT) + 1);
    if (flags & (FOLIO_READAHEAD | FOLIO_UNREAD))
      hit_flagged (conn, folio);
  }
  folio_put (mapping->folios.arena, folio);
  return count;
}

/* Make sectors [first, last) of the folio uptodate where they are not: they are
 * zero, by the iterator's iomap.  Returns false, with nothing done, if the
 * iomap no longer holds or the folio is out of the index.
 */
static bool
zero_missing (struct mapping *mapping, const struct iomap_iter *iter,
              struct folio *folio, unsigned first, unsigned last)
{
  struct arena *arena = mapping->folios.arena;
  unsigned end;
  bool ok;

  folio_lock (mapping->env, folio);
  ok = folio_mapped (folio) && iomap_iter_valid (iter);
  while (ok && first < last) {
    first = folio_find_sector (arena, folio, first, last, IN_UPTODATE, false);
    end = folio_find_sector (arena, folio, first, last, IN_UPTODATE, true);
    if (first < end) {
      folio_zero (sector_data (arena, folio, first),
                  sector_bytes (end - first));
      folio_transition (&mapping->folios, folio, first, end, FOLIO_FILLED);
    }
    first = end;
  }
  folio_unlock (&mapping->folios, folio);
  return ok;
}

/* Bytes: all of it is done again if the iomap changes meanwhile, and iomaps
 * may change all the time.
 */
#define ZEROES_AT_ONCE (256u << 10)

int64_t
read_zeroes (struct mapping *mapping, const struct iomap_iter *iter, void *buf,
             uint64_t pos, uint64_t n)
{
  uint64_t page = pos >> PAGE_SHIFT, bs = mapping->fs->block_size;
  struct folio *folio;
  unsigned first, last;

  folio =
    index_get_next (mapping->folios.index, page, (pos + n - 1) >> PAGE_SHIFT);
  if (folio && folio_pos (folio) <= pos) {
    /* Whole blocks, since a part of one can't be read later. */
    folio_clip (folio, round_down (pos, bs), round_up (pos + n, bs), &first,
                &last);
    n = zero_missing (mapping, iter, folio, first, last) ? 0 : UINT64_MAX;
  }
  else {
    if (folio)
      n = folio_pos (folio) - pos;
    n = min_u64 (n, ZEROES_AT_ONCE);
    memset (buf, 0, n);
  }
  if (folio)
    folio_put (mapping->folios.arena, folio);

  /* What was in the cache when the iomap was given out, and has left since,
   * has been written back and so has changed the iomap.
   */
  if (n == UINT64_MAX || !iomap_iter_valid (iter))
    return -1;
  return (int64_t) n;
}

/* Tell readahead of pages that went unread since anyone last did. */
static void
pass_on_waste (struct conn *conn)
{
  struct cache *cache = conn->mapping->cache;
  uint64_t wasted = reclaim_wasted_readahead (cache->reclaim);
  uint64_t seen = atomic_load (&cache->wasted_seen);

  if (wasted > seen &&
      atomic_compare_exchange_strong (&cache->wasted_seen, &seen, wasted))
    readahead_feedback (conn->ra, wasted - seen, 0);
}

/* A read, as far as it has got. */
struct progress {
  bool waited;     /* the store had to be waited for */
  uint64_t looked; /* so far has readahead been told of it; byte of the disk */
};

/* Pages [first, last] are missing, of which one iomap ends before page `behind':
 * have readahead think about it, and begin to read what lies behind that, as the
 * request needs it too.
 */
static void
look_ahead (struct conn *conn, uint64_t first, uint64_t behind, uint64_t last)
{
  struct mapping *mapping = conn->mapping;
  struct ra_window window;

  pass_on_waste (conn);
  readahead_set_max (conn->ra, mapping_readahead (mapping));
  readahead_miss (conn->ra, first, last - first + 1, mapping->folios.nr_pages,
                  &window);
  if (behind <= last)
    fill_ahead (mapping, behind, last - behind + 1, NO_MARKER);
  if (window.count)
    fill_ahead (mapping, window.first, window.count, window.marker);
}

/* Most to fill at once before it is copied out, so that a long request cannot
 * push out what it has just read.
 */
static uint64_t
max_fill (const struct mapping *mapping)
{
  return max_u64 (
    ((uint64_t) mapping->folios.arena->nr_pages << PAGE_SHIFT) / 64, PAGE_SIZE);
}

/* The pages from the iterator's place on, as many as it may be, are missing, and
 * the request goes on until end: read them.
 */
static int
read_pages (struct conn *conn, const struct iomap_iter *iter, uint64_t end,
            struct progress *progress)
{
  struct mapping *mapping = conn->mapping;
  uint64_t max = max_fill (mapping);
  uint64_t n = min_u64 (iomap_iter_length (iter), max);
  uint64_t first = iter->pos >> PAGE_SHIFT;
  uint64_t last = (iter->pos + n - 1) >> PAGE_SHIFT;

  if (iter->pos >= progress->looked) {
    progress->looked = max_u64 (min_u64 (end, iter->pos + max), iter->pos + n);
    look_ahead (conn, first, last + 1, (progress->looked - 1) >> PAGE_SHIFT);
  }
  progress->waited = true;
  return fill_pages (mapping, iter, first, last);
}

/* Get the iomap at offset, from the beginning of its page on if it reaches so
 * far, up to the end of the last page.
 */
static int
begin_miss (struct mapping *mapping, struct iomap_iter *iter, size_t count,
            uint64_t offset)
{
  uint64_t start = round_down (offset, PAGE_SIZE);
  uint64_t end =
    min_u64 (round_up (offset + count, PAGE_SIZE), mapping->folios.size);
  int r;

  iomap_iter_init (iter, mapping->fs, start, end - start, 0);
  r = iomap_iter_next (iter);
  if (r < 0 || iter->pos + iomap_iter_length (iter) > offset)
    return r;
  iomap_iter_stop (iter);
  iomap_iter_init (iter, mapping->fs, offset, end - offset, 0);
  return iomap_iter_next (iter);
}

/* Serve a miss at offset.  Returns the bytes now in buf, or 0, or an error. */
static int64_t
read_miss (struct conn *conn, void *buf, size_t count, uint64_t offset,
           struct progress *progress)
{
  struct mapping *mapping = conn->mapping;
  struct iomap_iter iter;
  uint64_t left;
  int64_t n = 0;
  int r;

  r = begin_miss (mapping, &iter, count, offset);
  if (r < 0)
    return r;
  left = min_u64 (iter.pos + iomap_iter_length (&iter) - offset, count);
  if (iter.iomap.type != IOMAP_MAPPED) {
    n = read_zeroes (mapping, &iter, buf, offset, left);
    r = 0;
  }
  else {
    r = read_pages (conn, &iter, offset + count, progress);
    /* All memory is taken by what is not clean, and a read waits for no
     * write-back.
     */
    if (r == -ENOMEM) {
      n = read_past_cache (mapping, &iter, buf, offset, left);
      r = n < 0 ? (int) n : 0;
    }
  }
  iomap_iter_stop (&iter);
  if (r < 0 && r != -ESTALE)
    return r;
  return n < 0 ? 0 : n;
}

int
read_buffered (struct conn *conn, void *buf, size_t count, uint64_t offset)
{
  struct progress progress = { 0 };
  int64_t n;

  while (count > 0) {
    n = (int64_t) read_cached (conn, buf, count, offset, true);
    if (n == 0)
      n = read_miss (conn, buf, count, offset, &progress);
    if (n < 0)
      return (int) n;
    buf = (uint8_t *) buf + n;
    offset += (uint64_t) n;
    count -= (size_t) n;
  }
  return progress.waited;
}

static int
prefetch (struct mapping *mapping, uint64_t count, uint64_t offset)
{
  struct iomap_iter iter;
  uint64_t n;
  int r, error = 0;

  /* More than the cache holds would only push out its own beginning. */
  count =
    min_u64 (count, (uint64_t) mapping->folios.arena->nr_pages << PAGE_SHIFT);

  iomap_iter_init (&iter, mapping->fs, offset, count, 0);
  while ((r = iomap_iter_next (&iter)) > 0) {
    n = min_u64 (iomap_iter_length (&iter), max_fill (mapping));
    if (iter.iomap.type == IOMAP_MAPPED)
      error = fill_pages (mapping, &iter, iter.pos >> PAGE_SHIFT,
                          (iter.pos + n - 1) >> PAGE_SHIFT);
    if (error < 0 && error != -ESTALE)
      break;
    iter.processed = error == -ESTALE ? 0 : n;
    error = 0;
  }
  iomap_iter_stop (&iter);
  return error < 0 && error != -ENOMEM ? error : r < 0 ? r : 0;
}

int
cache_prefetch (struct conn *conn, uint64_t count, uint64_t offset)
{
  struct mapping *mapping = conn->mapping;
  int r = -EINVAL;

  if (mapping_in_range (mapping, offset, count)) {
    r = prefetch (mapping, count, offset);
    client_ask (&conn->client);
  }
  stats_request (mapping->stats, STAT_PREFETCHES, count, r);
  return r;
}
