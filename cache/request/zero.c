/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zero and trim.  The store does it, then what is cached of the range is
 * dropped, dirty or not: nothing of it is written first, and if the store fails
 * the dirty data is still there.  Ends that are no whole blocks are zeroes
 * written through the cache.
 */

#include <errno.h>

#include "cache/request/mapping.h"
#include "cache/request/write.h"

/* A slot for the operation.  When there is none, a flush makes room. */
static int
get_slot (struct mapping *mapping, const struct zero_op *op)
{
  int slot, r = 0;

  while ((slot = zeroes_begin (&mapping->zeroes, op)) < 0 && r == 0) {
    if (zeroes_wait_busy (&mapping->zeroes))
      continue;
    r = zeroes_redo (&mapping->zeroes);
    inbox_note_unflushed (&mapping->inbox); /* or there may be no flush */
    if (r == 0)
      r = inbox_flush (&mapping->inbox);
  }
  return slot < 0 ? r : slot;
}

/* Zero whole blocks, unless the client is gone. */
static int
zero_blocks (struct mapping *mapping, struct origin *origin,
             const struct zero_op *op)
{
  struct range range = { .start = op->offset, .end = op->offset + op->length };
  int slot = get_slot (mapping, op);
  int r;

  if (slot < 0)
    return slot;
  ranges_add_wait (&mapping->folios.ranges, &range);
  if (origin_gone (origin)) {
    zeroes_end (&mapping->zeroes, slot, false);
    folios_end_range (&mapping->folios, &range);
    return -ECONNABORTED;
  }
  r = mapping->fs->ops->zero (mapping->fs, op->offset, op->length, op->flags,
                              op->trim);
  zeroes_end (&mapping->zeroes, slot, r == 0);
  if (r == 0) {
    inbox_note_unflushed (&mapping->inbox);
    fs_note_zeroed (mapping->fs);
  }
  origin_waited (origin);
  /* Of a range that it cannot zero fast, qemu-nbd has zeroed all that it could
   * before it says so.
   */
  if (r < 0)
    folios_distrust_range (&mapping->folios, range.start, range.end);
  else
    r = folios_drop_range (&mapping->folios, origin, range.start, range.end);
  throttle_wake (&mapping->throttle);
  folios_end_range (&mapping->folios, &range);
  return r;
}

/* Zero the range, by blocks in the middle. */
static int
zero_range (struct mapping *mapping, struct origin *origin, uint64_t offset,
            uint64_t count, unsigned store_flags, bool trim)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t end = offset + count;
  struct zero_op op = { .offset = round_up (offset, bs), .trim = trim };
  uint64_t op_end = end == mapping->folios.size ? end : round_down (end, bs);
  int r = 0;

  if (op.offset >= op_end)
    return write_buffered (mapping, origin, NULL, count, offset);
  op.length = op_end - op.offset;
  op.flags = store_flags;

  r = zero_blocks (mapping, origin, &op);
  if (r == 0 && op.offset > offset)
    r = write_buffered (mapping, origin, NULL, op.offset - offset, offset);
  if (r == 0 && op_end < end)
    r = write_buffered (mapping, origin, NULL, end - op_end, op_end);
  return r;
}

static int
zero_or_trim (struct conn *conn, uint64_t count, uint64_t offset,
              unsigned flags, bool trim)
{
  struct mapping *mapping = conn->mapping;
  struct origin origin = { .client = &conn->client,
                           .pace = flags & CACHE_FUA ? NULL : &conn->pace };
  unsigned store_flags = 0;
  int r;

  if (!mapping_in_range (mapping, offset, count))
    return -EINVAL;
  r = write_allowed (mapping);
  if (r < 0 || count == 0)
    return r;
  if (flags & CACHE_FAST_ZERO) {
    if (!mapping->fs->can_fast_zero)
      return -ENOTSUP;
    store_flags |= STORE_FAST_ZERO;
  }
  if (flags & CACHE_MAY_TRIM)
    store_flags |= STORE_MAY_TRIM;

  /* It waits for the store, so there is time to ask. */
  origin_waited (&origin);
  r = zeroes_redo (&mapping->zeroes);
  if (r == 0)
    r = zero_range (mapping, &origin, offset, count, store_flags, trim);
  if (r == 0)
    r = write_sync (mapping, offset, count, flags, SYNC_FLUSH);
  return r;
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
  int r = zero_or_trim (conn, count, offset, flags, false);

  note_zero (conn, STAT_ZEROES, count, flags, r);
  return r;
}

int
cache_trim (struct conn *conn, uint64_t count, uint64_t offset, unsigned flags)
{
  int r = zero_or_trim (conn, count, offset, flags & CACHE_FUA, true);

  note_zero (conn, STAT_TRIMS, count, flags, r);
  return r;
}
