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
  const struct mapping *mapping = conn->mapping;
  uint64_t cutoff;

  if (mapping->config.mode == CACHE_NONE)
    return true;
  /* Relaxed: a number, from which nothing else is concluded. */
  cutoff = atomic_load_explicit (&mapping->settings.sequential_cutoff,
                                 memory_order_relaxed);
  return cutoff && streams_note (&conn->streams, offset, count) >= cutoff;
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

/* A write that holds its range. */
struct past_write {
  const struct range *range;
  struct folio *buffer;
  bool fua;
  uint32_t losses; /* before it began */
  struct undone undone;
};

static void
note_undone (struct mapping *mapping, struct past_write *w)
{
  struct undone *undone = &w->undone;

  undone->losses = &mapping->fs->store->losses;
  undone->flush_failures = &mapping->outbox.flush_failures;
  w->losses = atomic_load (undone->losses);
  undone->was = w->losses + atomic_load (undone->flush_failures);
}

/* Is what was written since then kept: with FUA for good, else until it is flushed, or
 * clients are told?
 */
static bool
is_kept (struct mapping *mapping, const struct past_write *w)
{
  uint64_t none = 0;

  if (w->fua || undone_since (&w->undone))
    return !undone_since (&w->undone);
  atomic_compare_exchange_strong (&mapping->inbox.direct_unflushed, &none,
                                  (uint64_t) w->losses + 1);
  inbox_note_unflushed (&mapping->inbox);
  /* Once more: what has not seen the flag was before this. */
  return !undone_since (&w->undone);
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
write_kept (struct mapping *mapping, struct past_write *w, bool *through)
{
  struct env *env = mapping->env;
  struct fs *fs = mapping->fs;
  uint32_t seen;
  int r;

  do {
    seen = atomic_load (&fs->changes);
    note_undone (mapping, w);
    r = fs_settle_wait (fs, w->range->start, w->range->end);
    *through = r < 0;
    if (r == 0)
      r = write_held (mapping, w);
    /* More is to be done first, or there is no room to note it. */
    if (r == -EAGAIN)
      env->wait (env, &fs->changes, seen, ENV_FOREVER);
  } while (r == -EAGAIN || r == -ESTALE);
  if (r < 0)
    inbox_note_unflushed (&mapping->inbox);
  return r;
}

/* Write the held range, and drop what is cached of it: not any more when that write may
 * be lost, since what is dirty there may be newer than the loss, and durable would be
 * neither.
 */
static int
replace_held (struct mapping *mapping, struct origin *origin,
              struct past_write *w, bool *through)
{
  const struct range *range = w->range;
  int r;

  do {
    r = write_kept (mapping, w, through);
    origin_waited (origin);
    if (r < 0)
      folios_distrust_range (&mapping->folios, range->start, range->end);
    else
      r =
        folios_drop_range (&mapping->folios, origin, w->fua ? NULL : &w->undone,
                           range->start, range->end);
  } while (r == -ESTALE);
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
  struct past_write w = { .range = &range, .buffer = buffer, .fua = fua };
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
    r = replace_held (mapping, origin, &w, through);
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
