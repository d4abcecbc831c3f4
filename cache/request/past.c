/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading past the cache.
 */

#include <string.h>

#include "cache/base/bounce.h"
#include "cache/base/store-io.h"
#include "cache/request/mapping.h"
#include "cache/request/past.h"

/* Read up to n bytes, of which nothing is cached, into buf.  Returns how many. */
static int64_t
read_bounced (struct mapping *mapping, const struct iomap_iter *iter, void *buf,
              uint64_t pos, uint64_t n)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t start = round_down (pos, bs), end = round_up (pos + n, bs);
  struct arena *bounce = mapping->cache->bounce;
  struct folio *buffer = bounce_get (bounce, end - start);
  int r;

  end = min_u64 (end, start + bounce_size (buffer));
  n = min_u64 (n, end - pos);
  r = store_io_wait (mapping->stats, mapping->fs->store, STORE_READ, 0,
                     iomap_iter_addr (iter, start), arena_data (bounce, buffer),
                     end - start);
  if (r == 0)
    memcpy (buf, arena_data (bounce, buffer) + (pos - start), n);
  folio_put (bounce, buffer);
  return r < 0 ? r : (int64_t) n;
}

int64_t
read_past_cache (struct mapping *mapping, const struct iomap_iter *iter,
                 void *buf, uint64_t pos, uint64_t n)
{
  struct folio *folio = index_get_next (
    mapping->folios.index, pos >> PAGE_SHIFT, (pos + n - 1) >> PAGE_SHIFT);
  struct watches *watches = &mapping->folios.watches;
  struct watch watch;
  int64_t r = 0;

  if (folio) {
    n = folio_pos (folio) > pos ? folio_pos (folio) - pos : 0;
    folio_put (mapping->folios.arena, folio);
  }
  if (n == 0)
    return 0;
  watch_begin (watches, &watch, pos, pos + n);
  if (iomap_iter_valid (iter) && !iomap_iter_moved (iter))
    r = read_bounced (mapping, iter, buf, pos, n);
  if (r > 0 && (watch_zeroed (&watch, pos, pos + (uint64_t) r) ||
                iomap_lost (mapping->fs, iter->losses)))
    r = 0;
  watch_end (watches, &watch);
  return r;
}
