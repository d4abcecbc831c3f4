/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The direct path.  It is coherent without writing back first: a write holds
 * its range, so that no write-back of it is under way, and drops what is cached
 * of it once the store has the new data; until then, and if the store fails,
 * the cache is as it was.
 */

#include <errno.h>
#include <string.h>

#include "cache/base/bounce.h"
#include "cache/base/store-io.h"
#include "cache/request/direct.h"
#include "cache/request/mapping.h"
#include "cache/request/past.h"
#include "cache/request/read.h"
#include "cache/request/write.h"

bool
direct_wanted (struct conn *conn, uint64_t offset, size_t count)
{
  const struct mapping_config *config = &conn->mapping->config;

  if (config->mode == CACHE_NONE)
    return true;
  return config->sequential_cutoff &&
         streams_note (&conn->streams, offset, count) >=
           config->sequential_cutoff;
}

/* --- reading --- */

/* Read some of what is not cached at pos.  Returns how many bytes, or 0 if
 * something is cached there, but not all that is wanted.
 */
static int64_t
read_uncached (struct mapping *mapping, void *buf, uint64_t pos, uint64_t n)
{
  struct iomap_iter iter;
  int64_t r;

  iomap_iter_init (&iter, mapping->fs, pos, n, IOMAP_DIRECT);
  r = iomap_iter_next (&iter);
  if (r < 0)
    return r;
  n = iomap_iter_length (&iter);
  if (iter.iomap.type != IOMAP_MAPPED) {
    r = read_zeroes (mapping, &iter, buf, pos, n);
    r = r < 0 ? 0 : r;
  }
  else
    r = read_past_cache (mapping, &iter, buf, pos, n);
  iomap_iter_stop (&iter);
  return r;
}

/* Read up to the end of the page through the cache. */
static int64_t
read_page (struct conn *conn, void *buf, uint64_t pos, uint64_t n)
{
  int r;

  n = min_u64 (n, PAGE_SIZE - pos % PAGE_SIZE);
  r = read_buffered (conn, buf, n, pos);
  return r < 0 ? r : (int64_t) n;
}

int
direct_read (struct conn *conn, void *buf, size_t count, uint64_t offset)
{
  int64_t n;

  while (count > 0) {
    n = (int64_t) read_cached (conn, buf, count, offset, false);
    if (n == 0)
      n = read_uncached (conn->mapping, buf, offset, count);
    if (n == 0)
      n = read_page (conn, buf, offset, count);
    if (n < 0)
      return (int) n;
    buf = (uint8_t *) buf + n;
    offset += (uint64_t) n;
    count -= (size_t) n;
  }
  return 0;
}

/* --- writing --- */

/* How often the store may have undone what was not flushed. */
static uint32_t
nr_undone (struct mapping *mapping)
{
  return store_losses (mapping->fs->store) +
         atomic_load (&mapping->outbox.flush_failures);
}

/* A write that holds its range. */
struct past_write {
  const struct range *range;
  struct folio *buffer;
  bool fua;
  uint32_t losses, undone; /* before it began */
};

/* Is what was written since then kept: with FUA for good, else until it is flushed, or
 * clients are told?
 */
static bool
is_kept (struct mapping *mapping, const struct past_write *w)
{
  uint64_t none = 0;

  if (w->fua || nr_undone (mapping) != w->undone)
    return nr_undone (mapping) == w->undone;
  atomic_compare_exchange_strong (&mapping->inbox.direct_unflushed, &none,
                                  (uint64_t) w->losses + 1);
  inbox_note_unflushed (&mapping->inbox);
  /* Once more: what has not seen the flag was before this. */
  return nr_undone (mapping) == w->undone;
}

/* Write from the buffer, iomap by iomap.  -ESTALE: the store may have lost it.  The fs
 * is told only of what is kept, for it may forget then what is beneath: who waits for
 * that has to be told if both are lost.
 */
static int
write_held (struct mapping *mapping, const struct past_write *w)
{
  uint8_t *data = arena_data (mapping->cache->bounce, w->buffer);
  uint64_t start = w->range->start, n;
  struct iomap_iter iter;
  int r, stopped;

  iomap_iter_init (&iter, mapping->fs, start, w->range->end - start,
                   IOMAP_WRITE | IOMAP_DIRECT);
  while ((r = iomap_iter_next (&iter)) > 0) {
    n = iomap_iter_length (&iter);
    r = store_io_wait (
      mapping->stats, mapping->fs->store, STORE_WRITE, w->fua ? STORE_FUA : 0,
      iomap_iter_addr (&iter, iter.pos), data + (iter.pos - start), n);
    if (r == 0 && !is_kept (mapping, w))
      r = -ESTALE;
    if (r < 0)
      break;
    iter.processed = n;
  }
  stopped = iomap_iter_stop (&iter);
  r = r < 0 ? r : stopped;
  /* Once more: a flush may have begun before the fs was told. */
  return r == 0 && !is_kept (mapping, w) ? -ESTALE : r;
}

/* Have the store write the held range from the buffer, once the zeroes beneath are
 * done: memory has no copy, to be written again after them.  And again if the store
 * has lost something meanwhile, or failed to flush.  *through: they can't be done.
 */
static int
write_kept (struct mapping *mapping, const struct range *range,
            struct folio *buffer, bool fua, bool *through)
{
  struct env *env = mapping->env;
  struct fs *fs = mapping->fs;
  struct past_write w = { .range = range, .buffer = buffer, .fua = fua };
  uint32_t seen;
  int r;

  do {
    seen = atomic_load (&fs->changes);
    w.losses = store_losses (fs->store);
    w.undone = nr_undone (mapping);
    r = fs_settle_wait (fs, range->start, range->end);
    *through = r < 0;
    if (r == 0)
      r = write_held (mapping, &w);
    /* More is to be done first, or there is no room to note it. */
    if (r == -EAGAIN)
      env->wait (env, &fs->changes, seen, env->now (env) + NSEC_PER_MSEC);
  } while (r == -EAGAIN || r == -ESTALE);
  if (r < 0)
    inbox_note_unflushed (&mapping->inbox);
  return r;
}

/* Write up to n bytes, whole blocks, unless the client is gone.  Returns how many; or
 * an error, with *through if they can be written through the cache all the same.
 */
static int64_t
write_store (struct mapping *mapping, struct origin *origin, const void *buf,
             uint64_t pos, uint64_t n, bool fua, bool *through)
{
  struct folio *buffer = bounce_get (mapping->cache->bounce, n);
  struct range range = { .start = pos }, zeroes;
  int r;

  n = min_u64 (n, bounce_size (buffer));
  range.end = pos + n;
  zeroes = range;
  memcpy (arena_data (mapping->cache->bounce, buffer), buf, n);

  ranges_add_wait (&mapping->folios.direct, &zeroes);
  ranges_add_wait (&mapping->folios.ranges, &range);
  if (origin_gone (origin))
    r = -ECONNABORTED;
  else {
    r = write_kept (mapping, &range, buffer, fua, through);
    origin_waited (origin);
    if (r < 0)
      folios_distrust_range (&mapping->folios, range.start, range.end);
    else
      r = folios_drop_range (&mapping->folios, origin, range.start, range.end);
    throttle_wake (&mapping->throttle);
  }
  folios_end_range (&mapping->folios, &range);
  ranges_remove (&mapping->folios.direct, &zeroes);
  folio_put (mapping->cache->bounce, buffer);
  return r < 0 ? r : (int64_t) n;
}

/* Write through, in the place of zeroes beneath. */
static int64_t
write_through (struct mapping *mapping, struct origin *origin, const void *buf,
               uint64_t pos, uint64_t n, bool fua)
{
  int r;

  r = write_buffered (mapping, origin, buf, n, pos);
  if (r == 0)
    r = fua ? write_sync_durable (mapping, pos, pos + n, SYNC_FUA)
            : inbox_sync (&mapping->inbox, pos, pos + n, SYNC_WRITE);
  return r < 0 ? r : (int64_t) n;
}

/* Write whole blocks, if there are zeroes beneath that can't be done, through. */
static int64_t
write_blocks (struct mapping *mapping, struct origin *origin, const void *buf,
              uint64_t pos, uint64_t n, bool fua)
{
  bool through = false;
  int64_t r = write_store (mapping, origin, buf, pos, n, fua, &through);

  return through ? write_through (mapping, origin, buf, pos, n, fua) : r;
}

int
direct_write (struct conn *conn, const void *buf, size_t count, uint64_t offset,
              bool fua)
{
  struct mapping *mapping = conn->mapping;
  struct origin origin = { .client = &conn->client };
  uint32_t bs = mapping->fs->block_size;
  uint64_t whole;
  int64_t n = 0;

  while (n >= 0 && count > 0) {
    n = write_allowed (mapping);
    if (n < 0)
      break;
    /* It waits for the store, so there is time to ask. */
    origin_waited (&origin);
    whole =
      offset + count == mapping->folios.size ? count : round_down (count, bs);
    if (offset % bs == 0 && whole > 0)
      n = write_blocks (mapping, &origin, buf, offset, whole, fua);
    else
      n = write_through (mapping, &origin, buf, offset,
                         min_u64 (count, bs - offset % bs), fua);
    if (n < 0)
      break;
    buf = (const uint8_t *) buf + n;
    offset += (uint64_t) n;
    count -= (size_t) n;
  }
  return n < 0 ? (int) n : 0;
}
