/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading past the cache.
 */

#include <string.h>

#include "cache/base/bounce.h"
#include "cache/request/mapping.h"
#include "cache/request/past.h"

/* Read whole blocks into the buffer. */
static int
read_blocks (struct mapping *mapping, struct folio *buffer, uint64_t addr,
             uint64_t length)
{
  struct iovec iov = {
    .iov_base = arena_data (mapping->cache->bounce, buffer),
    .iov_len = length,
  };
  struct store_req req = {
    .op = STORE_READ,
    .offset = addr,
    .length = length,
    .iov = &iov,
    .niov = 1,
  };

  return stats_submit_wait (mapping->stats, mapping->fs->store, &req);
}

/* Read up to n bytes, of which nothing is cached, into buf.  Returns how many. */
static int64_t
read_bounced (struct mapping *mapping, const struct iomap_iter *iter, void *buf,
              uint64_t pos, uint64_t n)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t start = round_down (pos, bs), end = round_up (pos + n, bs);
  struct folio *buffer = bounce_get (mapping->cache->bounce, end - start);
  int r;

  end = min_u64 (end, start + bounce_size (buffer));
  n = min_u64 (n, end - pos);
  r = read_blocks (mapping, buffer,
                   iter->iomap.addr + start - iter->iomap.offset, end - start);
  if (r == 0)
    memcpy (buf, arena_data (mapping->cache->bounce, buffer) + (pos - start),
            n);
  folio_put (mapping->cache->bounce, buffer);
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
  if (r > 0 && watch_zeroed (&watch, pos, pos + (uint64_t) r))
    r = 0;
  watch_end (watches, &watch);
  return r;
}
