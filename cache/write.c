/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writing.  After generic_perform_write (mm/filemap.c) and iomap_write_iter
 * (fs/iomap/buffered-io.c): the iterator gives one mapping at a time; inside
 * it, chunks as large as a folio can be are prepared (write_begin), copied in
 * and taken (write_end), which may take less than was copied.
 */

#include <assert.h>
#include <errno.h>

#include "cache/mapping.h"
#include "cache/write.h"

/* How often in a row nothing at all may be copied. */
#define MAX_STUCK 64

/* A chunk: part of a write that goes into one folio. */
struct chunk {
  struct folio *folio; /* locked */
  uint64_t pos;        /* bytes */
  uint64_t n;
  uint32_t dirtied; /* pages to be charged for */
};

static unsigned
sector_in (const struct folio *folio, uint64_t pos)
{
  return (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
}

/* Make the block at pos uptodate, of which only a part will be written. */
static int
prepare_block (struct mapping *mapping, const struct iomap_iter *iter,
               struct folio *folio, uint64_t pos)
{
  struct arena *arena = mapping->arena;
  uint32_t bs = mapping->fs->block_size;
  unsigned first = sector_in (folio, round_down (pos, bs));
  unsigned last = first + (bs >> SECTOR_SHIFT);

  if (folio_uptodate (arena, folio, first, last))
    return 0;
  if (iter->iomap.type == IOMAP_MAPPED)
    return fill_sectors (mapping, iter, folio, first, last);
  folio_zero (arena_data (arena, folio) + ((size_t) first << SECTOR_SHIFT), bs);
  folio_transition (mapping, folio, first, last, FOLIO_FILLED);
  return 0;
}

/* Prepare what the chunk's ends leave of their blocks.  Where the chunk ends
 * with the disk there is nothing to keep.
 */
static int
prepare_ends (struct mapping *mapping, const struct iomap_iter *iter,
              const struct chunk *chunk)
{
  uint32_t bs = mapping->fs->block_size;
  uint64_t end = chunk->pos + chunk->n;
  int r = 0;

  if (chunk->pos & (bs - 1))
    r = prepare_block (mapping, iter, chunk->folio, chunk->pos);
  if (r == 0 && (end & (bs - 1)) && end != mapping->size)
    r = prepare_block (mapping, iter, chunk->folio, end);
  return r;
}

/* The order of folio that fits n bytes. */
static unsigned
wanted_order (const struct mapping *mapping, uint64_t n)
{
  unsigned order = 0;

  while (order < mapping->config.folio_max_order &&
         ((uint64_t) PAGE_SIZE << (order + 1)) <= n)
    order++;
  return order;
}

/* Find or make the folio for the chunk, locked, clip the chunk to it, and
 * prepare it.  -ESTALE: the iterator must ask again.
 */
static int
write_begin (struct mapping *mapping, const struct iomap_iter *iter,
             struct chunk *chunk)
{
  uint64_t first = chunk->pos >> PAGE_SHIFT;
  uint64_t last = (chunk->pos + chunk->n - 1) >> PAGE_SHIFT;
  int r = 0;

  chunk->folio =
    mapping_grab_folio (mapping, first, last, wanted_order (mapping, chunk->n),
                        false, GRAB_WAIT_LOCK | GRAB_WAIT_MEMORY, &r);
  if (chunk->folio == NULL)
    return r;
  chunk->n = min_u64 (chunk->n, folio_end (chunk->folio) - chunk->pos);

  /* The mapping must hold now that nobody can change it for this folio. */
  if (!iomap_iter_valid (iter))
    r = -ESTALE;
  else
    r = prepare_ends (mapping, iter, chunk);
  if (r < 0) {
    folio_unlock (mapping, chunk->folio);
    folio_put (mapping->arena, chunk->folio);
  }
  return r;
}

static void
set_written (struct mapping *mapping, struct chunk *chunk, unsigned first,
             unsigned last)
{
  if (balance_active (mapping))
    chunk->dirtied =
      folio_pages_not_dirty (mapping->arena, chunk->folio, first, last);
  folio_transition (mapping, chunk->folio, first, last, FOLIO_WRITTEN);
}

/* Of the chunk, `copied' bytes were copied.  Take what makes whole blocks, or
 * parts of blocks that are uptodate.  Returns how many bytes were taken.
 */
static uint64_t
write_end (struct mapping *mapping, struct chunk *chunk, uint64_t copied)
{
  struct folio *folio = chunk->folio;
  uint32_t bs = mapping->fs->block_size;
  uint64_t end = chunk->pos + copied, start = round_down (chunk->pos, bs);
  unsigned block;

  if (copied < chunk->n && (end & (bs - 1))) {
    block = sector_in (folio, round_down (end, bs));
    if (!folio_uptodate (mapping->arena, folio, block,
                         block + (bs >> SECTOR_SHIFT)))
      end = round_down (end, bs);
  }
  if (copied > 0 && end > chunk->pos)
    set_written (mapping, chunk, sector_in (folio, start),
                 sector_in (folio, round_up (end, bs)));
  else
    end = chunk->pos;
  folio_unlock (mapping, folio);
  folio_put (mapping->arena, folio);
  return end - chunk->pos;
}

/* Write one chunk of up to n bytes at pos.  Returns how many were taken; in
 * *copied, how many it was possible to copy.
 */
static int64_t
write_chunk (struct mapping *mapping, const struct iomap_iter *iter,
             struct pacing *pacing, const uint8_t *src, uint64_t pos,
             uint64_t n, uint64_t *copied)
{
  struct chunk chunk = { .pos = pos, .n = n };
  int64_t taken;
  uint8_t *dst;
  int r = write_begin (mapping, iter, &chunk);

  if (r < 0)
    return r;
  dst =
    arena_data (mapping->arena, chunk.folio) + (pos - folio_pos (chunk.folio));
  *copied = mapping->hooks.copy_in (mapping, dst, src, chunk.n);
  taken = (int64_t) write_end (mapping, &chunk, *copied);
  if (chunk.dirtied)
    balance_dirtied (mapping, pacing, chunk.dirtied);
  return taken;
}

static uint32_t
pages_of (uint64_t pos, uint64_t n)
{
  return (uint32_t) (((pos + n - 1) >> PAGE_SHIFT) - (pos >> PAGE_SHIFT) + 1);
}

/* Write n bytes, all in the iterator's mapping.  Returns how many were
 * written, which is less when the mapping changed, or an error.
 */
static int64_t
write_chunks (struct mapping *mapping, const struct iomap_iter *iter,
              struct pacing *pacing, const uint8_t *src, uint64_t n)
{
  uint64_t max = (uint64_t) throttle_max_chunk (mapping) << PAGE_SHIFT;
  uint64_t done = 0, chunk = max, size, copied = 0;
  unsigned stuck = 0;
  uint32_t pages;
  int64_t r;

  while (done < n) {
    /* A chunk ends at a multiple of its size, so that the next is aligned. */
    size = min_u64 (n - done, max - ((iter->pos + done) & (max - 1)));
    size = min_u64 (size, chunk);
    pages = pages_of (iter->pos + done, size);
    r = balance_dirty_pages_ratelimited (mapping, pacing, pages, 0);
    if (r < 0)
      return r;
    r = write_chunk (mapping, iter, pacing, src ? src + done : NULL,
                     iter->pos + done, size, &copied);
    throttle_done (mapping, pages);
    if (r == -ESTALE || r == -EAGAIN)
      break;
    if (r < 0)
      return r;
    /* Take less at a time until it goes on. */
    stuck = copied ? 0 : stuck + 1;
    if (stuck == MAX_STUCK)
      return -EFAULT;
    chunk = r > 0 ? max : copied ? copied : max_u64 (size / 2, 1);
    done += (uint64_t) r;
  }
  return (int64_t) done;
}

/* The same, and have write-back look at it, also after an error. */
static int64_t
write_mapping (struct mapping *mapping, const struct iomap_iter *iter,
               struct pacing *pacing, const uint8_t *src, uint64_t n)
{
  int64_t r = write_chunks (mapping, iter, pacing, src, n);

  writeback_dirtied (mapping);
  return r;
}

int
write_buffered (struct mapping *mapping, struct conn *paced, const void *buf,
                uint64_t count, uint64_t offset)
{
  struct pacing pacing = { .pace = paced ? &paced->pace : NULL,
                           .count = count };
  const uint8_t *src = buf;
  struct iomap_iter iter;
  int64_t n = 0;
  int r;

  iomap_iter_init (&iter, mapping->fs, offset, count, IOMAP_WRITE);
  while ((r = iomap_iter_next (&iter)) > 0) {
    n = write_mapping (mapping, &iter, &pacing, src, iomap_iter_length (&iter));
    if (n < 0)
      break;
    iter.processed = (uint64_t) n;
    if (src)
      src += n;
  }
  iomap_iter_stop (&iter);
  return n < 0 ? (int) n : r;
}

struct conn *
write_paced (struct conn *conn, unsigned flags)
{
  if (flags & CACHE_FUA || conn->mapping->config.mode != CACHE_WRITEBACK)
    return NULL;
  return conn;
}

int
write_allowed (const struct mapping *mapping)
{
  if (mapping->fs->store->geo.readonly)
    return -EROFS;
  return atomic_load_explicit (&mapping->shutdown, memory_order_relaxed)
           ? -ESHUTDOWN
           : 0;
}

int
write_sync (struct mapping *mapping, uint64_t offset, uint64_t count,
            unsigned flags, bool written)
{
  uint64_t first = offset >> PAGE_SHIFT;
  uint64_t last = (offset + count - 1) >> PAGE_SHIFT;
  int r;

  if (flags & CACHE_FUA) {
    r = zeroes_redo (mapping);
    return r < 0 ? r : writeback_sync (mapping, first, last, true);
  }
  if (mapping->config.mode != CACHE_WRITEBACK && !written)
    return writeback_sync (mapping, first, last, false);
  return 0;
}
