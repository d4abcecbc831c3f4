/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * ioends; after fs/iomap/buffered-io.c in what they are for.
 */

#include <assert.h>
#include <errno.h>

#include "cache/writeback/failing.h"
#include "cache/writeback/ioend.h"
#include "cache/base/bell.h"
#include "cache/base/num.h"
#include "cache/folio/folio.h"
#include "cache/folio/range-ops.h"
#include "cache/index/index.h"
#include "cache/pace/balance.h"
#include "cache/post/inbox.h"
#include "cache/base/stats.h"
#include "fs/iomap.h"
#include "cache/writeback/sync.h"

/* --- making one --- */

/* Lock the folio for a moment; if it is locked by another, have us told. */
static bool
try_lock_wanted (struct folio *folio)
{
  if (folio_trylock (folio))
    return true;
  atomic_fetch_or (&folio->flags, FOLIO_WANTED);
  if (!folio_trylock (folio))
    return false;
  atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_WANTED);
  return true;
}

void
ioend_clear_towrite (struct writeback *wb, struct folio *folio, unsigned last)
{
  if (folio_find_sector (wb->folios->arena, folio, last, folio_sectors (folio),
                         STATE_DIRTY_SHIFT, true) < folio_sectors (folio))
    return;
  index_lock (wb->folios->index);
  if (folio_mapped (folio))
    index_clear_tag (wb->folios->index, folio, TAG_TOWRITE);
  index_unlock (wb->folios->index);
}

/* Copy the dirty run of the folio that begins at byte *pos, and goes on to
 * `end' at most, into the ioend's buffer; it is in write-back now.  *pos moves
 * on.  Returns true if the run reached the folio's end.
 */
static bool
take_run (struct ioend *ioend, struct folio *folio, uint64_t *pos, uint64_t end)
{
  struct writeback *wb = ioend->wb;
  struct arena *arena = wb->folios->arena;
  uint64_t base = folio_pos (folio);
  unsigned first = (unsigned) ((*pos - base) >> SECTOR_SHIFT);
  unsigned last =
    (unsigned) ((min_u64 (end, folio_end (folio)) - base) >> SECTOR_SHIFT);
  size_t length;

  last =
    folio_find_sector (arena, folio, first, last, STATE_DIRTY_SHIFT, false);
  if (first == last)
    return false;
  length = (size_t) (last - first) << SECTOR_SHIFT;
  folio_copy_out (
    arena_data (wb->bounce, ioend->buffer) + (*pos - ioend->range.start),
    arena_data (arena, folio) + ((size_t) first << SECTOR_SHIFT), length);
  folio_transition (wb->folios, folio, first, last, FOLIO_WB_BEGIN);
  if (ioend->kind == PASS_SYNC)
    ioend_clear_towrite (wb, folio, last);
  *pos += length;
  return last == folio_sectors (folio);
}

/* Fill the ioend's range with what is dirty from its start on, without a gap.
 * Returns where that ends; *busy: because a folio is locked.
 */
static uint64_t
take_runs (struct ioend *ioend, bool *busy)
{
  struct writeback *wb = ioend->wb;
  uint64_t pos = ioend->range.start, end = ioend->range.end;
  struct folio *folio;
  bool more = true;

  while (more && pos < end) {
    folio = index_get (wb->folios->index, pos >> PAGE_SHIFT);
    if (folio == NULL)
      break;
    more = try_lock_wanted (folio);
    *busy = !more;
    if (more) {
      more = folio_mapped (folio) && take_run (ioend, folio, &pos, end);
      folio_unlock (wb->folios, folio);
    }
    folio_put (wb->folios->arena, folio);
  }
  return pos;
}

static void
ioend_done (struct store_req *req, int error)
{
  struct ioend *ioend = (struct ioend *) req;
  struct writeback *wb = ioend->wb;
  bool first;

  stats_store_done (wb->stats, wb->env, req, error);
  ioend->error = error;
  pthread_mutex_lock (&wb->inbox->lock);
  first = wb->inbox->done == NULL;
  ioend->next = wb->inbox->done;
  wb->inbox->done = ioend;
  pthread_mutex_unlock (&wb->inbox->lock);
  if (first)
    bell_ring (wb->inbox->bell);
}

/* The write is for the store's addr on; the disk may end inside the last
 * sector.
 */
static void
prepare_req (struct ioend *ioend, uint64_t addr)
{
  struct writeback *wb = ioend->wb;
  uint64_t end = min_u64 (ioend->range.end, wb->folios->size);

  ioend->iov.iov_base = arena_data (wb->bounce, ioend->buffer);
  ioend->iov.iov_len = end - ioend->range.start;
  ioend->req = (struct store_req) {
    .op = STORE_WRITE,
    .flags = ioend->kind == PASS_SYNC ? 0 : STORE_BACKGROUND,
    .offset = addr,
    .length = ioend->iov.iov_len,
    .iov = &ioend->iov,
    .niov = 1,
    .done = ioend_done,
  };
}

static void
ioend_free (struct writeback *wb, struct ioend *ioend)
{
  struct arena *bounce = ioend->wb->bounce;

  if (ioend->buffer)
    folio_put (bounce, ioend->buffer);
  ioend->buffer = NULL;
  ioend->next = wb->free;
  wb->free = ioend;
}

/* Cut the range to the dirty run at its start, as it is now: what is dirty stays
 * so while the range is held, and what a zero has dropped before is not to be
 * mapped.
 */
static void
trim_range (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  uint64_t pos = ioend->range.start, end = ioend->range.end, base;
  unsigned sector, last;
  struct folio *folio;
  bool more = true;

  while (more && pos < end &&
         (folio = index_get (wb->folios->index, pos >> PAGE_SHIFT)) != NULL) {
    base = folio_pos (folio);
    last =
      (unsigned) ((min_u64 (end, folio_end (folio)) - base) >> SECTOR_SHIFT);
    sector = folio_find_sector (wb->folios->arena, folio,
                                (unsigned) ((pos - base) >> SECTOR_SHIFT), last,
                                STATE_DIRTY_SHIFT, false);
    pos = base + ((uint64_t) sector << SECTOR_SHIFT);
    more = sector == last;
    folio_put (wb->folios->arena, folio);
  }
  if (pos < end)
    ranges_shrink (&wb->folios->ranges, &ioend->range, pos);
}

/* Ask where the ioend's range goes, and cut it to what the answer covers. */
static int
map_range (struct ioend *ioend, struct iomap *iomap)
{
  struct writeback *wb = ioend->wb;
  uint64_t start = ioend->range.start, end = ioend->range.end;
  int r = wb->fs->ops->map_for_writeback (wb->fs, start, end - start, iomap);

  /* The disk, and so the iomap, may end inside the last block. */
  if (r == 0 && start + iomap->length < wb->folios->size &&
      start + iomap->length < end)
    ranges_shrink (&wb->folios->ranges, &ioend->range, start + iomap->length);
  return r;
}

/* Fill an ioend that has a buffer and a range, held by now.  Returns 1 if there
 * is something to send, 0 if not, -EBUSY or the mapping's error.
 */
static int
fill (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  uint64_t start = ioend->range.start, end;
  struct iomap iomap;
  bool busy = false;
  int r;

  trim_range (ioend);
  if (ioend->range.end == start)
    return 0;
  r = map_range (ioend, &iomap);
  if (r < 0)
    return r;
  end = take_runs (ioend, &busy);
  if (end == start)
    return busy ? -EBUSY : 0;
  if (end < ioend->range.end)
    ranges_shrink (&wb->folios->ranges, &ioend->range, end);
  prepare_req (ioend, iomap.addr + (start - iomap.offset));
  return 1;
}

/* The mapping is asked for, and so changed, only while the range is held: a
 * zero that holds it may have to be done again, and until then nothing but the
 * mapping knows that these bytes are zero.
 */
struct ioend *
ioend_make (struct writeback *wb, uint64_t start, uint64_t end,
            enum pass_kind kind, int *r)
{
  struct ioend *ioend = wb->free;

  ioend->kind = kind;
  ioend->range.start = start;
  ioend->range.end = end;
  ioend->buffer = arena_alloc (wb->bounce, arena_order (end - start));
  if (ioend->buffer == NULL) {
    *r = -ENOBUFS;
    return NULL;
  }
  wb->free = ioend->next;
  *r = -EBUSY;
  if (ranges_try_add (&wb->folios->ranges, &ioend->range)) {
    *r = fill (ioend);
    if (*r > 0)
      return ioend;
    ranges_cancel (&wb->folios->ranges, &ioend->range);
  }
  ioend_free (wb, ioend);
  return NULL;
}

void
ioend_begin (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;

  ioend->in_flight = true;
  ioend->number = wb->nr_sent++;
  ioend->doubts = wb->doubts;
  wb->sent[ioend->kind]++;
  wb->in_flight++;
}

/* --- when it is over --- */

/* Pages first to last of the folio are written: which flush makes them clean? */
static void
set_gen (struct folio *folio, uint64_t first, uint64_t last, uint8_t gen)
{
  for (; first <= last; first++)
    folio[first].unstable_gen = gen;
}

/* Make the transition for the part of each folio that the ioend wrote. */
static void
finish_folios (struct ioend *ioend, enum folio_transition transition)
{
  struct writeback *wb = ioend->wb;
  uint64_t pos = ioend->range.start, end, base;
  struct folio *folio;
  unsigned folios = 0;

  while (pos < ioend->range.end) {
    folio = index_get (wb->folios->index, pos >> PAGE_SHIFT);
    assert (folio);
    base = folio_pos (folio);
    end = min_u64 (ioend->range.end, folio_end (folio));
    if (transition == FOLIO_WB_DONE)
      set_gen (folio, (pos - base) >> PAGE_SHIFT,
               (end - 1 - base) >> PAGE_SHIFT, wb->gen);
    folio_transition (wb->folios, folio,
                      (unsigned) ((pos - base) >> SECTOR_SHIFT),
                      (unsigned) ((end - base) >> SECTOR_SHIFT), transition);
    folio_put (wb->folios->arena, folio);
    pos = end;
    folios++;
  }
  stats_written (wb->stats, folios, ioend->req.length,
                 transition == FOLIO_WB_FAILED);
}

/* The store has written it, but may have forgotten it, since a flush has failed
 * since it was sent or the store has lost something: to be written again, like
 * what was unstable then.
 */
static void
finish_doubtful (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;

  inbox_note_unflushed (wb->inbox);
  finish_folios (ioend, FOLIO_WB_FAILED);
  /* While a loss settles all syncs begin anew, and need not be told. */
  if (!wb->settling)
    sync_note_error (wb, ioend->range.start, ioend->range.end, -EIO, false);
}

static void
finish_written (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  uint32_t before = atomic_load (&wb->folios->nr_writeback);

  inbox_note_unflushed (wb->inbox);
  finish_folios (ioend, FOLIO_WB_DONE);
  /* This thread alone changes the counter. */
  balance_written (wb->throttle,
                   before - atomic_load (&wb->folios->nr_writeback));
  writeback_written (wb, ioend->range.start, ioend->range.end);
}

static void
finish (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  uint64_t start = ioend->range.start, end = ioend->range.end;

  wb->fs->ops->ioend_done (wb->fs, start, ioend->req.length, ioend->error);
  if (ioend->error) {
    finish_folios (ioend, FOLIO_WB_FAILED);
    writeback_failed (wb, start, end, ioend->error);
  }
  else if (ioend->doubts != wb->doubts)
    finish_doubtful (ioend);
  else
    finish_written (ioend);
  sync_ioend_over (wb, ioend);
  folios_end_range (wb->folios, &ioend->range);
  ioend->in_flight = false;
  wb->sent[ioend->kind]--;
  wb->in_flight--;
  ioend_free (wb, ioend);
}

bool
ioend_reap (struct writeback *wb)
{
  struct ioend *done, *next;
  bool any;

  pthread_mutex_lock (&wb->inbox->lock);
  done = wb->inbox->done;
  wb->inbox->done = NULL;
  pthread_mutex_unlock (&wb->inbox->lock);

  any = done != NULL;
  for (; done; done = next) {
    next = done->next;
    finish (done);
  }
  return any;
}
