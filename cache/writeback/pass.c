/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Passes.
 */

#include <errno.h>

#include "cache/writeback/failing.h"
#include "cache/writeback/ioend.h"
#include "fs/num.h"
#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/base/store-io.h"
#include "fs/iomap.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync-list.h"

/* A slice of work. */
#define SLICE_IOENDS 16
#define SLICE_FOLIOS 256

/* Of the buffers, pages that are kept for syncs that need no more. */
#define KEPT_PAGES 16

/* Retries in flight at once.  Few, so that what was cut last is cut further
 * before others are begun: the list of bad ranges stays short.
 */
#define RETRY_DEPTH 8

/* --- whose turn it is --- */

/* How many ioends may be in flight that no sync has sent. */
static unsigned
background_share (const struct writeback *wb)
{
  unsigned depth = wb->config.io_depth;
  unsigned share =
    sync_writing (&wb->sync) ? depth / 8 : depth - (depth + 3) / 4;

  return share > 0 ? share : 1;
}

/* Does it need a single ioend? */
static bool
is_small (const struct writeback *wb, const struct wb_pass *pass)
{
  return pass->end - pass->start <= wb->ioends.max_io;
}

/* How many ioends are kept for small syncs: of few, none. */
static unsigned
nr_kept (const struct writeback *wb)
{
  return wb->config.io_depth / 4 > 0;
}

/* May the pass send another ioend now? */
static bool
may_send (const struct writeback *wb, const struct wb_pass *pass)
{
  const struct arena *bounce = wb->bounce;
  unsigned retries = wb->ioends.sent[PASS_RETRY];

  if (wb->ioends.free == NULL || wb->ioends.in_flight >= wb->config.io_depth)
    return false;
  if (pass_is_urgent (pass->kind))
    return is_small (wb, pass) ||
           wb->ioends.in_flight + nr_kept (wb) < wb->config.io_depth;
  if (pass->kind == PASS_RETRY && retries >= RETRY_DEPTH)
    return false;
  return wb->ioends.sent[PASS_BACKGROUND] + retries < background_share (wb) &&
         atomic_load (&bounce->nr_free) >= bounce->nr_pages / 4;
}

/* --- finding what to write --- */

static uint64_t
pass_end (const struct writeback *wb, const struct wb_pass *pass)
{
  return pass->end ? pass->end : wb->folios->nr_pages << PAGE_SHIFT;
}

/* The next folio, referenced, that holds something for the pass from pos on. */
static struct folio *
next_folio (struct writeback *wb, const struct wb_pass *pass, uint64_t end)
{
  uint64_t page = pass->pos >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
  struct folio *folio, *unstable;

  if (pass->kind == PASS_SYNC)
    return index_get_tagged (wb->folios->index, page, last, TAG_TOWRITE);
  folio = index_get_tagged (wb->folios->index, page, last, TAG_DIRTY);
  if (pass->kind != PASS_FUA)
    return folio;
  unstable = index_get_tagged (
    wb->folios->index, page, folio ? folio_index (folio) : last, TAG_UNSTABLE);
  if (unstable == NULL)
    return folio;
  if (folio)
    folio_put (wb->folios->arena, folio);
  return unstable;
}

/* Where the next thing to write begins: the first sector from pass->pos on that is
 * for the pass.  Returns the folio, referenced, and the sector; NULL at the end.
 */
static struct folio *
next_run (struct writeback *wb, struct wb_pass *pass, unsigned *sector)
{
  uint64_t end = pass_end (wb, pass);
  struct folio *folio;
  unsigned first, last;

  while (pass->pos < end) {
    folio = next_folio (wb, pass, end);
    if (folio == NULL)
      break;
    folio_clip (folio, pass->pos, end, &first, &last);
    *sector = ioend_find (wb, folio, first, last, pass->fua, true);
    if (*sector < last)
      return folio;
    pass->pos = folio_end (folio);
    folio_put (wb->folios->arena, folio);
  }
  return NULL;
}

/* The end of the run that begins in folio at sector `first', looking into the
 * folios that follow, up to `max' bytes.  A guess: nothing is locked.
 */
static uint64_t
guess_run_end (struct writeback *wb, struct folio *folio, unsigned first,
               uint64_t max, bool fua)
{
  struct arena *arena = wb->folios->arena;
  uint64_t start = sector_pos (folio, first);
  uint64_t end = start;
  unsigned sector;

  folio_get (folio);
  for (;;) {
    sector = ioend_find (wb, folio, first, folio_sectors (folio), fua, false);
    end = sector_pos (folio, sector);
    if (end < folio_end (folio) || end - start >= max)
      break;
    folio_put (arena, folio);
    folio = index_get (wb->folios->index, end >> PAGE_SHIFT);
    if (folio == NULL)
      return end;
    first = 0;
  }
  folio_put (arena, folio);
  return min_u64 (end, start + max);
}

/* How much at start may be sent as one: not past the end of a bad range, nor of
 * the pass.  0: what is there is left to retries; then the pass goes on behind
 * it.
 */
static uint64_t
max_length (struct writeback *wb, struct wb_pass *pass, uint64_t start)
{
  const struct bad_range *bad = bad_ranges_find (&wb->failing.bad, start);
  uint64_t end = min_u64 (pass_end (wb, pass), start + wb->ioends.max_io);

  if (bad && bad->start <= start && pass->kind == PASS_BACKGROUND) {
    pass->pos = bad->end;
    return 0;
  }
  if (bad)
    end = min_u64 (end, bad->start <= start ? bad->end : bad->start);
  return end - start;
}

/* Dirty runs that are to be sent together. */
struct gathered {
  struct iomap_run runs[IOMAP_MAX_RUNS];
  unsigned n;
  uint64_t bytes;
  uint64_t next; /* where the folio of the first ends */
  bool full;     /* no other can go with them */
};

/* Does the run go to one place, and may others go with it?  Cuts it to what does.
 * False if it has no place yet.
 */
static bool
survey (struct writeback *wb, struct iomap_run *run, bool *alone)
{
  uint64_t length = run->end - run->start;
  struct fs *fs = wb->fs;
  int r = IOMAP_ANYWHERE;

  if (fs->ops->survey)
    r = fs->ops->survey (fs, run->start, &length);
  run->end = min_u64 (run->end, run->start + length);
  *alone |= r != IOMAP_ANYWHERE;
  return r >= 0;
}

/* Add the folio's dirty run that begins at sector, if it can go with the others,
 * and set pass->pos behind what was looked at.
 */
static void
add_run (struct writeback *wb, struct wb_pass *pass, struct folio *folio,
         unsigned sector, struct gathered *g)
{
  uint64_t start = sector_pos (folio, sector);
  struct iomap_run run = { .start = start };
  uint64_t max = max_length (wb, pass, start);
  const struct bad_range *bad = bad_ranges_find (&wb->failing.bad, start);
  bool alone = bad && bad->start <= start;

  if (max == 0)
    return;
  pass->found = true;
  max = min_u64 (max, wb->ioends.max_io - g->bytes);
  run.end = guess_run_end (wb, folio, sector, max, pass->fua);
  pass->pos = start + SECTOR_SIZE; /* if it is gone, there may be more */
  if (run.end == start)
    return;
  if (!survey (wb, &run, &alone)) {
    pass->skipped = true;
    pass->pos = run.end;
    return;
  }
  g->full = alone;
  pass->pos = start;
  if (alone && g->n > 0)
    return;
  if (g->n == 0)
    g->next = folio_end (folio);
  pass->pos = run.end;
  g->bytes += run.end - start;
  g->runs[g->n++] = run;
  g->full |= g->n == wb->fs->max_runs || g->bytes >= wb->ioends.max_io;
}

/* Find what can be sent together, from pass->pos on.  Nothing if the pass is over,
 * or the budget of folios to look at.
 */
static void
gather (struct writeback *wb, struct wb_pass *pass, pass_filter_fn *filter,
        unsigned *budget, struct gathered *g)
{
  struct folio *folio;
  unsigned sector;

  g->n = 0;
  g->bytes = 0;
  g->full = false;
  while (!g->full && *budget > 0) {
    --*budget;
    folio = next_run (wb, pass, &sector);
    if (folio == NULL)
      break;
    if (filter == NULL || filter (wb, folio))
      add_run (wb, pass, folio, sector, g);
    else
      pass->pos = folio_end (folio);
    folio_put (wb->folios->arena, folio);
  }
}

/* --- sending it --- */

/* Are there buffers for n bytes, and what is kept besides? */
static bool
has_buffers (const struct writeback *wb, const struct wb_pass *pass, uint64_t n)
{
  uint32_t pages = UINT32_C (1) << arena_order (n);

  return is_small (wb, pass) ||
         atomic_load (&wb->bounce->nr_free) >= pages + KEPT_PAGES;
}

/* Make the next ioend of the pass, and set pass->pos behind it.  NULL when the
 * slice should end: the pass is over, the budget is, or (*r is -ENOBUFS) buffers
 * are.
 */
static struct ioend *
next_ioend (struct writeback *wb, struct wb_pass *pass, pass_filter_fn *filter,
            unsigned *budget, int *r)
{
  struct ioend *ioend = NULL;
  struct gathered g;
  uint64_t end;

  *r = 0;
  while (ioend == NULL && *r != -ENOBUFS) {
    gather (wb, pass, filter, budget, &g);
    if (g.n == 0) {
      pass->active = *budget == 0;
      break;
    }
    end = g.runs[0].start;
    if (has_buffers (wb, pass, g.bytes))
      ioend = ioend_make (wb, g.runs, g.n, pass, &end, r);
    else
      *r = -ENOBUFS;
    pass->skipped |= *r == -EBUSY || *r == -EAGAIN;
    if (*r == -EBUSY)
      end = g.next;
    else if (*r == 0 && ioend == NULL)
      end += SECTOR_SIZE; /* it is gone, but there may be more */
    pass->pos = end;
  }
  return ioend;
}

/* Is it all that is to be sent for somebody who waits, and takes this step?  Then he
 * submits it.
 */
static bool
leave_to_helper (struct writeback *wb, const struct wb_pass *pass,
                 struct store_req *req)
{
  struct wb_helper *helper = &wb->helper;

  if (!helper->here || helper->own || pass->active ||
      !pass_is_urgent (pass->kind))
    return false;
  helper->own = req;
  return true;
}

bool
pass_run (struct writeback *wb, struct wb_pass *pass, pass_filter_fn *filter)
{
  struct store *store = wb->fs->store;
  struct store_req *batch[SLICE_IOENDS];
  struct ioend *ioend;
  unsigned n = 0, budget = SLICE_FOLIOS;
  int r = 0;

  while (n < SLICE_IOENDS && pass->active && budget > 0 &&
         may_send (wb, pass)) {
    ioend = next_ioend (wb, pass, filter, &budget, &r);
    if (ioend == NULL)
      break;
    ioend_begin (ioend);
    pass->sent = true;
    batch[n++] = &ioend->req;
  }
  if (n > 1 || (n == 1 && !leave_to_helper (wb, pass, batch[0])))
    store_io_submit (store, batch, n);
  return pass->active && may_send (wb, pass) && r != -ENOBUFS;
}
