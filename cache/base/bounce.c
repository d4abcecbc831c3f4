/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bounce buffers.
 */

#include <string.h>

#include "cache/base/bounce.h"
#include "cache/mapping.h"

/* The largest, as an order of pages. */
#define BOUNCE_ORDER 8

struct folio *
bounce_get (struct mapping *mapping, uint64_t bytes)
{
  struct arena *bounce = mapping->cache->bounce;
  struct env *env = mapping->env;
  struct folio *buffer = NULL;
  uint32_t seen;
  int order;

  order = (int) arena_order (min_u64 (bytes, PAGE_SIZE << BOUNCE_ORDER));
  for (; order >= 0 && !buffer; order--)
    buffer = arena_alloc (bounce, (unsigned) order);
  while (buffer == NULL) {
    atomic_fetch_add (&bounce->sleepers, 1);
    seen = atomic_load (&bounce->freed);
    buffer = arena_alloc (bounce, 0);
    if (buffer == NULL)
      env->wait (env, &bounce->freed, seen, ENV_FOREVER);
    atomic_fetch_sub (&bounce->sleepers, 1);
  }
  return buffer;
}

void
bounce_put (struct mapping *mapping, struct folio *buffer)
{
  folio_put (mapping->cache->bounce, buffer);
}

uint64_t
bounce_size (const struct folio *buffer)
{
  return folio_pages (buffer) << PAGE_SHIFT;
}

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

int64_t
bounce_read (struct mapping *mapping, const struct iomap_iter *iter, void *buf,
             uint64_t pos, uint64_t n)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t start = round_down (pos, bs), end = round_up (pos + n, bs);
  struct folio *buffer = bounce_get (mapping, end - start);
  int r;

  end = min_u64 (end, start + bounce_size (buffer));
  n = min_u64 (n, end - pos);
  r = read_blocks (mapping, buffer,
                   iter->iomap.addr + start - iter->iomap.offset, end - start);
  if (r == 0)
    memcpy (buf, arena_data (mapping->cache->bounce, buffer) + (pos - start),
            n);
  bounce_put (mapping, buffer);
  return r < 0 ? r : (int64_t) n;
}
