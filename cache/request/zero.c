/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim.  The iomaps are changed, and what is in memory dropped, dirty or
 * not; the store is told later.  So it waits for nothing, unless so much is still
 * to be told that there is no room for more before some is done and flushed:
 *
 *   room --> the iomap says zero, and maps nothing that is taken there
 *        --> reads under way, and memory, know of it
 *        --> what is taken there now is newer: it may be mapped
 *
 * Where the store can only write zeroes they are paced like data, a chunk at a
 * time.  Ends that are no whole blocks are zeroes written through the cache.
 */

#include <errno.h>

#include "cache/request/mapping.h"
#include "cache/request/write.h"

/* Is there too much to be told already?  Not for what is dirty besides: that may
 * wait for the space that this gives back.
 */
static bool
has_room (const struct mapping *mapping)
{
  return !atomic_load (&mapping->fs->can_fast_zero) ||
         atomic_load (&mapping->fs->unsaved) <
           atomic_load (&mapping->throttle.balance.limits.limit);
}

/* A range that is zeroed. */
struct zeroing {
  struct range direct;       /* held against direct writes */
  struct range range;        /* held, if the format wants that */
  struct iomap_range zeroed; /* for the format */
};

/* Does the format want the range held, as it knows of no zeroes under way? */
static bool
wants_range (const struct mapping *mapping)
{
  return mapping->fs->ops->zero_end == NULL;
}

/* In the order of direct writes, for which alone a zero waits: there is no copy of what
 * they have on its way to the store, so what is written to memory after the zero and
 * before they end could not be told from what they replace.
 */
static void
hold (struct mapping *mapping, struct origin *origin, struct zeroing *z)
{
  if (!ranges_try_add (&mapping->folios.direct, &z->direct)) {
    ranges_add_wait (&mapping->folios.direct, &z->direct);
    origin_waited (origin);
  }
  if (wants_range (mapping)) {
    ranges_add_wait (&mapping->folios.ranges, &z->range);
    origin_waited (origin);
  }
}

static void
let_go (struct mapping *mapping, struct zeroing *z)
{
  if (wants_range (mapping))
    folios_end_range (&mapping->folios, &z->range);
  ranges_remove (&mapping->folios.direct, &z->direct);
}

/* Have the iomap say that the range is zero, and hold it, unless the client is gone.
 * -EAGAIN: there is no room.
 */
static int
try_zero (struct mapping *mapping, struct origin *origin, struct zeroing *z,
          bool keep)
{
  int r = write_allowed (mapping);

  if (r < 0)
    return r;
  hold (mapping, origin, z);
  if (origin_gone (origin))
    r = -ECONNABORTED;
  else if (has_room (mapping))
    r = mapping->fs->ops->zero (mapping->fs, &z->zeroed, keep);
  else
    r = -EAGAIN;
  if (r < 0)
    let_go (mapping, z);
  return r;
}

/* The same, and wait for room as one who writes does, or for space as the format does. */
static int
begin_zero (struct mapping *mapping, struct origin *origin, struct zeroing *z,
            bool keep)
{
  struct throttle *throttle = &mapping->throttle;
  struct fs *fs = mapping->fs;
  uint64_t since;
  uint32_t seen;
  int r = try_zero (mapping, origin, z, keep), error = 0;

  if (r != -EAGAIN && (r != -ENOSPC || fs->ops->make_room == NULL))
    return r;
  since = mapping->env->now (mapping->env);
  atomic_fetch_add (&throttle->waiters, 1);
  while (error == 0) {
    seen = atomic_load (&throttle->word);
    r = try_zero (mapping, origin, z, keep);
    if (r == -ENOSPC && fs->ops->make_room)
      error = fs->ops->make_room (fs, since);
    else if (r != -EAGAIN)
      break;
    else {
      throttle_sleep (throttle, seen);
      error = outbox_give_up (&mapping->outbox, since);
    }
    origin_waited (origin);
  }
  atomic_fetch_sub (&throttle->waiters, 1);
  return error ? error : r;
}

/* Zero whole blocks. */
static int
zero_blocks (struct mapping *mapping, struct origin *origin, uint64_t start,
             uint64_t end, bool keep)
{
  struct zeroing z = {
    .direct = { .start = start, .end = end },
    .range = { .start = start, .end = end },
    .zeroed = { .start = start, .end = end },
  };
  const struct throttle *throttle = &mapping->throttle;
  bool over = throttle_fs_over_background (throttle);
  int r = begin_zero (mapping, origin, &z, keep);

  if (r < 0)
    return r;
  /* Before: what finds nothing in memory flushes the zero. */
  if (wants_range (mapping))
    inbox_note_unflushed (&mapping->inbox);
  origin_waited (origin); /* maybe: as in zero_or_trim */
  r = folios_zero_range (&mapping->folios, origin, start, end);
  if (!wants_range (mapping))
    mapping->fs->ops->zero_end (mapping->fs, &z.zeroed);
  let_go (mapping, &z);
  if (!over && throttle_fs_over_background (throttle))
    bell_ring (mapping->folios.bell);
  throttle_wake (&mapping->throttle);
  return r;
}

/* The same, at the pace of the store that has to write them. */
static int
zero_paced (struct mapping *mapping, struct origin *origin, uint64_t start,
            uint64_t end, bool keep)
{
  struct pacing pacing = { .origin = origin, .count = end - start };
  uint64_t n;
  uint32_t pages;
  int r = 0;

  for (; r == 0 && start < end; start += n) {
    n = (uint64_t) throttle_max_chunk (&mapping->throttle) << PAGE_SHIFT;
    n = min_u64 (n, end - start);
    pages = (uint32_t) ((n + PAGE_SIZE - 1) >> PAGE_SHIFT);
    r = balance_dirty_pages_ratelimited (&mapping->throttle, &pacing, pages);
    if (r < 0)
      break;
    r = zero_blocks (mapping, origin, start, start + n, keep);
    throttle_done (&mapping->throttle, pages);
    if (r == 0 && balance_active (&mapping->throttle))
      balance_dirtied (&mapping->throttle, &pacing, pages);
  }
  return r;
}

/* Zero the range, by blocks in the middle. */
static int
zero_range (struct mapping *mapping, struct origin *origin, uint64_t offset,
            uint64_t count, bool keep)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t end = offset + count, size = mapping->folios.size;
  uint64_t first = round_up (offset, bs);
  uint64_t last = end == size ? end : round_down (end, bs);
  int r;

  if (first >= last)
    return write_buffered (mapping, origin, NULL, count, offset);
  if (atomic_load (&mapping->fs->can_fast_zero))
    r = zero_blocks (mapping, origin, first, last, keep);
  else
    r = zero_paced (mapping, origin, first, last, keep);
  if (r == 0 && first > offset)
    r = write_buffered (mapping, origin, NULL, first - offset, offset);
  if (r == 0 && last < end)
    r = write_buffered (mapping, origin, NULL, end - last, last);
  return r;
}

/* What is to be done before it is acknowledged. */
static int
zero_sync (struct mapping *mapping, uint32_t lost, uint64_t offset,
           uint64_t count, unsigned flags)
{
  int r = 0;

  if (!(flags & CACHE_FUA) && mapping->config.mode != CACHE_WRITEBACK)
    r = fs_settle_wait (mapping->fs, offset, offset + count);
  return r < 0 ? r
               : write_sync (mapping, lost, offset, count, flags, SYNC_FLUSH);
}

static int
zero_or_trim (struct conn *conn, uint64_t count, uint64_t offset,
              unsigned flags, bool keep)
{
  struct mapping *mapping = conn->mapping;
  struct origin origin = {
    .client = &conn->client,
    .pace = flags & CACHE_FUA ? NULL : &conn->pace,
    /* For a processor, maybe.  What waits for nothing else would never be asked
     * whether its client is gone, and others may have written all of this by now.
     */
    .waited = true,
  };
  uint32_t lost = lost_count (&mapping->outbox);
  int r;

  if (!mapping_in_range (mapping, offset, count))
    return -EINVAL;
  r = write_allowed (mapping);
  if (r < 0 || count == 0)
    return r;
  if ((flags & CACHE_FAST_ZERO) && !atomic_load (&mapping->fs->can_fast_zero))
    return -ENOTSUP;
  r = zero_range (mapping, &origin, offset, count, keep);
  return r < 0 ? r : zero_sync (mapping, lost, offset, count, flags);
}

static void
note_zero (struct conn *conn, enum counter counter, uint64_t count,
           unsigned flags, int r)
{
  struct stats *stats = conn->mapping->stats;

  /* That it would be slow was the answer to a question. */
  stats_request (stats, counter, count, r == -ENOTSUP ? 0 : r);
  if (flags & CACHE_FUA)
    stats_add (stats, STAT_FUA, 1);
}

int
cache_zero (struct conn *conn, uint64_t count, uint64_t offset, unsigned flags)
{
  int r = zero_or_trim (conn, count, offset, flags, !(flags & CACHE_MAY_TRIM));

  note_zero (conn, STAT_ZEROES, count, flags, r);
  return r;
}

int
cache_trim (struct conn *conn, uint64_t count, uint64_t offset, unsigned flags)
{
  int r = zero_or_trim (conn, count, offset, flags & CACHE_FUA, false);

  note_zero (conn, STAT_TRIMS, count, flags, r);
  return r;
}
