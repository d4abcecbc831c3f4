/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writing.  After generic_perform_write (mm/filemap.c) and iomap_write_iter
 * (fs/iomap/buffered-io.c): the iterator gives one iomap at a time; inside
 * it, chunks as large as a folio can be are prepared (write_begin), copied in
 * and taken (write_end), which may take less than was copied.
 */

#include <errno.h>

#include "cache/index/index.h"
#include "cache/request/fill.h"
#include "cache/request/grab.h"
#include "cache/request/mapping.h"
#include "cache/request/write.h"

/* How often in a row nothing at all may be copied. */
#define MAX_STUCK 64

/* A write under way. */
struct write {
  struct mapping *mapping;
  struct iomap_iter iter;
  struct pacing pacing;
  const uint8_t *src;  /* what goes to iter.pos; NULL: zeroes */
  struct folio *found; /* the folio of iter.pos, if it has been looked up: not
                        * locked, with a reference */
};

/* A chunk: part of a write that goes into one folio. */
struct chunk {
  struct folio *folio; /* locked */
  uint64_t pos;        /* bytes */
  uint64_t n;
  uint32_t dirtied; /* pages to be charged for */
};

/* Make the block at pos uptodate, of which only a part will be written. */
static int
prepare_block (const struct write *w, struct folio *folio, uint64_t pos)
{
  struct mapping *mapping = w->mapping;
  struct arena *arena = mapping->folios.arena;
  uint32_t bs = mapping->fs->block_size;
  unsigned first = folio_sector (folio, round_down (pos, bs));
  unsigned last = first + (bs >> SECTOR_SHIFT);

  if (folio_uptodate (arena, folio, first, last))
    return 0;
  if (w->iter.iomap.type == IOMAP_MAPPED) {
    origin_waited (w->pacing.origin);
    return fill_sectors (mapping, &w->iter, folio, first, last);
  }
  folio_zero (sector_data (arena, folio, first), bs);
  folio_transition (&mapping->folios, folio, first, last, FOLIO_FILLED);
  return 0;
}

/* Prepare what the chunk's ends leave of their blocks.  Where the chunk ends
 * with the disk there is nothing to keep.
 */
static int
prepare_ends (const struct write *w, const struct chunk *chunk)
{
  uint32_t bs = w->mapping->fs->block_size;
  uint64_t end = chunk->pos + chunk->n;
  int r = 0;

  if (chunk->pos & (bs - 1))
    r = prepare_block (w, chunk->folio, chunk->pos);
  if (r == 0 && (end & (bs - 1)) && end != w->mapping->folios.size)
    r = prepare_block (w, chunk->folio, end);
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

static void
forget_found (struct write *w)
{
  if (w->found)
    folio_put (w->mapping->folios.arena, w->found);
  w->found = NULL;
}

/* Lock w->found.  False if there is none, or if it has left the index. */
static bool
lock_found (struct write *w)
{
  if (w->found == NULL)
    return false;
  if (folio_lock (w->mapping->env, w->found))
    origin_waited (w->pacing.origin);
  if (folio_mapped (w->found))
    return true;
  folio_unlock (&w->mapping->folios, w->found);
  forget_found (w);
  return false;
}

/* The folio of the chunk, found or made, locked. */
static struct folio *
grab (struct write *w, const struct chunk *chunk, int *r)
{
  uint64_t first = chunk->pos >> PAGE_SHIFT;
  uint64_t last = (chunk->pos + chunk->n - 1) >> PAGE_SHIFT;
  struct folio *folio = w->found;

  if (lock_found (w)) {
    w->found = NULL;
    return folio;
  }
  folio = mapping_grab_folio (w->mapping, first, last,
                              wanted_order (w->mapping, chunk->n), false,
                              GRAB_WAIT_LOCK | GRAB_WAIT_MEMORY, r);
  if (*r > 0)
    origin_waited (w->pacing.origin);
  return folio;
}

/* Find or make the folio for the chunk, locked, clip the chunk to it, and
 * prepare it, unless its client is gone.  -ESTALE: the iterator must ask again.
 */
static int
write_begin (struct write *w, struct chunk *chunk)
{
  int r = 0;

  chunk->folio = grab (w, chunk, &r);
  if (chunk->folio == NULL)
    return r;
  chunk->n = min_u64 (chunk->n, folio_end (chunk->folio) - chunk->pos);

  /* The iomap must hold now that nobody can change it for this folio. */
  if (!iomap_iter_valid (&w->iter))
    r = -ESTALE;
  else
    r = prepare_ends (w, chunk);
  if (r == 0 && origin_gone (w->pacing.origin))
    r = -ECONNABORTED;
  if (r < 0) {
    folio_unlock (&w->mapping->folios, chunk->folio);
    folio_put (w->mapping->folios.arena, chunk->folio);
  }
  return r;
}

/* The chunk is written up to end, by blocks.  False: a part of a block that it
 * leaves has been zeroed meanwhile.
 */
static bool
set_written (struct mapping *mapping, struct chunk *chunk, uint64_t end)
{
  uint32_t bs = mapping->fs->block_size;
  unsigned block = bs >> SECTOR_SHIFT;
  unsigned first = folio_sector (chunk->folio, round_down (chunk->pos, bs));
  unsigned last = folio_sector (chunk->folio, round_up (end, bs));
  bool head = (chunk->pos & (bs - 1)) != 0;
  bool tail = (end & (bs - 1)) != 0 && end != mapping->folios.size;

  if (balance_active (&mapping->throttle))
    chunk->dirtied =
      folio_pages_not_dirty (mapping->folios.arena, chunk->folio, first, last);
  if (!folio_written (&mapping->folios, chunk->folio, first, last,
                      head ? block : 0, tail ? block : 0))
    return false;
  reclaim_used (chunk->folio, first, last);
  return true;
}

/* Of the chunk, `copied' bytes were copied.  Take what makes whole blocks, or
 * parts of blocks that are uptodate.  Returns how many bytes were taken.
 */
static uint64_t
write_end (struct mapping *mapping, struct chunk *chunk, uint64_t copied)
{
  struct folio *folio = chunk->folio;
  uint32_t bs = mapping->fs->block_size;
  uint64_t end = chunk->pos + copied;
  unsigned block;

  if (copied < chunk->n && (end & (bs - 1))) {
    block = folio_sector (folio, round_down (end, bs));
    if (!folio_uptodate (mapping->folios.arena, folio, block,
                         block + (bs >> SECTOR_SHIFT)))
      end = round_down (end, bs);
  }
  if (copied == 0 || end <= chunk->pos || !set_written (mapping, chunk, end))
    end = chunk->pos;
  folio_unlock (&mapping->folios, folio);
  folio_put (mapping->folios.arena, folio);
  return end - chunk->pos;
}

/* Write one chunk of up to n bytes, `done' bytes from the iterator's place on.
 * Returns how many were taken; in *copied, how many it was possible to copy.
 */
static int64_t
write_chunk (struct write *w, uint64_t done, uint64_t n, uint64_t *copied)
{
  struct chunk chunk = { .pos = w->iter.pos + done, .n = n };
  struct mapping *mapping = w->mapping;
  int64_t taken;
  uint8_t *dst;
  int r = write_begin (w, &chunk);

  if (r < 0)
    return r;
  dst = arena_data (mapping->folios.arena, chunk.folio) +
        (chunk.pos - folio_pos (chunk.folio));
  *copied = mapping->hooks.copy_in (mapping, dst, w->src ? w->src + done : NULL,
                                    chunk.n);
  taken = (int64_t) write_end (mapping, &chunk, *copied);
  if (chunk.dirtied)
    balance_dirtied (&mapping->throttle, &w->pacing, chunk.dirtied);
  return taken;
}

static uint32_t
pages_of (uint64_t pos, uint64_t n)
{
  return (uint32_t) (((pos + n - 1) >> PAGE_SHIFT) - (pos >> PAGE_SHIFT) + 1);
}

/* Write n bytes, all in the iterator's iomap.  Returns how many were
 * written, which is less when the iomap changed, or something failed, which it will
 * again; or an error if none were.
 */
static int64_t
write_chunks (struct write *w, uint64_t n)
{
  struct mapping *mapping = w->mapping;
  uint64_t done = 0, chunk = UINT64_MAX, max, size, copied = 0;
  unsigned stuck = 0;
  uint32_t pages;
  int64_t r = 0;

  while (done < n) {
    max = (uint64_t) throttle_max_chunk (&mapping->throttle) << PAGE_SHIFT;
    /* A chunk ends at a multiple of its size, so that the next is aligned. */
    size = min_u64 (n - done, max - ((w->iter.pos + done) & (max - 1)));
    size = min_u64 (size, chunk);
    pages = pages_of (w->iter.pos + done, size);
    r = balance_dirty_pages_ratelimited (&mapping->throttle, &w->pacing, pages);
    if (r < 0)
      break;
    r = write_chunk (w, done, size, &copied);
    throttle_done (&mapping->throttle, pages);
    if (r < 0)
      break;
    /* Take less at a time until it goes on. */
    stuck = copied ? 0 : stuck + 1;
    if (stuck == MAX_STUCK) {
      r = -EFAULT;
      break;
    }
    chunk = r > 0 ? UINT64_MAX : copied ? copied : max_u64 (size / 2, 1);
    done += (uint64_t) r;
    if (done < n)
      origin_progress (w->pacing.origin, (uint64_t) r);
  }
  return done > 0 || r == -ESTALE || r == -EAGAIN ? (int64_t) done : r;
}

/* Write all, and after each iomap, also after an error, have write-back look
 * at it.
 */
static int
perform_write (struct write *w)
{
  int64_t n;
  int r;

  while ((r = iomap_iter_next (&w->iter)) > 0) {
    n = write_chunks (w, iomap_iter_length (&w->iter));
    throttle_dirtied (&w->mapping->throttle);
    if (n < 0) {
      r = (int) n;
      break;
    }
    w->iter.processed = (uint64_t) n;
    if (w->src)
      w->src += n;
  }
  iomap_iter_stop (&w->iter);
  return r;
}

/* The pace that it is to keep: none if it waits for the store anyway. */
static struct pace *
pace_of (const struct mapping *mapping, const struct origin *origin)
{
  if (origin == NULL || mapping->config.mode != CACHE_WRITEBACK)
    return NULL;
  return origin->pace;
}

/* Write what is not all dirty already.  Takes the reference to found, the folio
 * of offset, if it is not NULL.
 */
static __attribute__ ((noinline)) int
write_rest (struct mapping *mapping, struct origin *origin, const uint8_t *src,
            uint64_t count, uint64_t offset, struct folio *found)
{
  struct write w = {
    .mapping = mapping,
    .pacing = { .origin = origin,
                .pace = pace_of (mapping, origin),
                .count = count },
    .src = src,
    .found = found,
  };
  int r;

  iomap_iter_init (&w.iter, mapping->fs, offset, count, IOMAP_WRITE);
  r = perform_write (&w);
  forget_found (&w);
  return r;
}

/* What is dirty already needs nothing but the copy: its space is reserved, it is
 * counted and tagged, and under the folio lock none of that is taken away.
 * Returns how many of the count bytes from pos on, which lie in the folio, were
 * written so; none if the client is gone.
 */
static uint64_t
overwrite_dirty (struct mapping *mapping, struct origin *origin,
                 struct folio *folio, const uint8_t *src, uint64_t pos,
                 uint64_t count)
{
  struct arena *arena = mapping->folios.arena;
  unsigned first = folio_sector (folio, pos);
  unsigned last = folio_sector (folio, pos + count - 1) + 1;
  uint64_t n = 0;

  /* Without the lock a guess, that saves taking it. */
  if (!folio_dirty (arena, folio, first, last))
    return 0;
  if (!folio_trylock (folio)) {
    folio_lock (mapping->env, folio);
    origin_waited (origin);
  }
  if (folio_mapped (folio) && folio_dirty (arena, folio, first, last) &&
      !origin_gone (origin))
    n = mapping->hooks.copy_in (
      mapping, arena_data (arena, folio) + (pos - folio_pos (folio)), src,
      count);
  folio_unlock (&mapping->folios, folio);
  if (n > 0)
    reclaim_used (folio, first, last);
  return n;
}

int
write_buffered (struct mapping *mapping, struct origin *origin, const void *buf,
                uint64_t count, uint64_t offset)
{
  const uint8_t *src = buf;
  struct folio *folio;
  uint64_t n;

  /* Above freerun a connection that owes something pays, whatever it writes. */
  while (!balance_active (&mapping->throttle) &&
         (folio = index_get (mapping->folios.index, offset >> PAGE_SHIFT)) !=
           NULL) {
    n = overwrite_dirty (mapping, origin, folio, src, offset,
                         min_u64 (count, folio_end (folio) - offset));
    if (n == 0)
      return write_rest (mapping, origin, src, count, offset, folio);
    folio_put (mapping->folios.arena, folio);
    if (n == count)
      return 0;
    src = src ? src + n : NULL;
    offset += n;
    count -= n;
    origin_progress (origin, n);
  }
  return write_rest (mapping, origin, src, count, offset, NULL);
}

int
write_allowed (const struct mapping *mapping)
{
  if (mapping->readonly)
    return -EROFS;
  return atomic_load_explicit (&mapping->outbox.shutdown, memory_order_relaxed)
           ? -ESHUTDOWN
           : 0;
}

/* Have the store do what is zeroed of the range, and get its data; and then what has
 * been zeroed on its way, so that the data never came.  Returns why a zero failed.
 */
static int
send_all (struct mapping *mapping, uint64_t start, uint64_t end)
{
  struct sync_req data = { .start = start, .end = end, .kind = SYNC_WRITE };
  int r;

  inbox_queue (&mapping->inbox, &data); /* meanwhile */
  r = fs_settle_wait (mapping->fs, start, end);
  completion_wait (mapping->env, &data.done);
  return r < 0 ? r : fs_settle_wait (mapping->fs, start, end);
}

/* What is zeroed comes first, so that all of it shares the flush; but before data with
 * FUA only if need be, since that goes in a zero's place as well.  Once more if
 * something has been zeroed that nobody has waited for, or may be undone.  (It need not
 * be there any more: newer data may have gone in its place, and not be durable.)  If a
 * zero fails the data is made durable all the same.
 */
int
write_sync_durable (struct mapping *mapping, uint64_t start, uint64_t end,
                    enum sync_kind kind)
{
  struct fs *fs = mapping->fs;
  bool sent = kind == SYNC_FLUSH && fs_unsettled (fs, start, end);
  uint32_t undone, zeroes;
  int r, zeroed;

  for (;; sent = true) {
    undone = atomic_load (&fs->undone);
    zeroes = atomic_load (&mapping->folios.zeroes);
    zeroed = sent ? send_all (mapping, start, end) : 0;
    r = inbox_sync (&mapping->inbox, start, end, kind);
    if (zeroed < 0 || r < 0)
      return zeroed ? zeroed : r;
    /* In this order: what is undone may not be known of any more. */
    if ((sent || (!fs_unsettled (fs, start, end) &&
                  atomic_load (&mapping->folios.zeroes) == zeroes)) &&
        atomic_load (&fs->undone) == undone)
      return 0;
  }
}

int
write_sync (struct mapping *mapping, uint32_t lost, uint64_t offset,
            uint64_t count, unsigned flags, enum sync_kind fua)
{
  uint64_t end = offset + count;
  int r = 0, tries = 2;

  while (tries-- > 0) {
    if (flags & CACHE_FUA)
      r = write_sync_durable (mapping, offset, end, fua);
    else if (mapping->config.mode != CACHE_WRITEBACK)
      r = inbox_sync (&mapping->inbox, offset, end, SYNC_WRITE);
    /* What is still to be trimmed may make room. */
    if (r != -ENOSPC || fs_settle_wait (mapping->fs, 0, UINT64_MAX) < 0)
      break;
  }
  if (r == 0 && flags & CACHE_FUA && lost_count (&mapping->outbox) != lost)
    r = -EIO;
  return r;
}
