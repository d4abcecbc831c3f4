/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Passes.
 */

#include <errno.h>

#include "cache/writeback/failing.h"
#include "cache/writeback/ioend.h"
#include "cache/base/num.h"
#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/base/stats.h"
#include "fs/iomap.h"
#include "cache/writeback/pass.h"

/* A slice of work. */
#define SLICE_IOENDS 16
#define SLICE_FOLIOS 256

/* Retries in flight at once.  Few, so that what was cut last is cut further
 * before others are begun: the list of bad ranges stays short.
 */
#define RETRY_DEPTH 8

/* --- whose turn it is --- */

static bool
sync_at_work (const struct writeback *wb)
{
  return wb->batch_state != BATCH_NONE || wb->draining.head != NULL;
}

/* How many ioends may be in flight that no sync has sent. */
static unsigned
background_share (const struct writeback *wb)
{
  unsigned depth = wb->config.io_depth;
  unsigned share = sync_at_work (wb) ? depth / 8 : depth - (depth + 3) / 4;

  return share > 0 ? share : 1;
}

/* May a pass of this kind send another ioend now? */
static bool
may_send (const struct writeback *wb, enum pass_kind kind)
{
  const struct arena *bounce = wb->bounce;
  unsigned retries = wb->sent[PASS_RETRY];

  if (wb->free == NULL)
    return false;
  if (kind == PASS_SYNC)
    return true;
  if (kind == PASS_RETRY && retries >= RETRY_DEPTH)
    return false;
  return wb->sent[PASS_BACKGROUND] + retries < background_share (wb) &&
         atomic_load (&bounce->nr_free) >= bounce->nr_pages / 4;
}

/* --- finding what to write --- */

/* The sector of the folio where pos is; or, at most, the one after its last. */
static unsigned
sector_at (const struct folio *folio, uint64_t pos)
{
  pos = min_u64 (pos, folio_end (folio));
  return (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
}

static uint64_t
pass_end (const struct writeback *wb, const struct wb_pass *pass)
{
  return pass->end ? pass->end : wb->folios->nr_pages << PAGE_SHIFT;
}

/* Where the next thing to write begins: the first dirty sector from pass->pos
 * on in a folio with the tag.  Returns the folio, referenced, and the sector;
 * NULL at the end.
 */
static struct folio *
next_run (struct writeback *wb, struct wb_pass *pass, unsigned *sector)
{
  uint64_t end = pass_end (wb, pass);
  enum index_tag tag = pass->kind == PASS_SYNC ? TAG_TOWRITE : TAG_DIRTY;
  struct folio *folio;
  unsigned first, last;

  while (pass->pos < end) {
    folio = index_get_tagged (wb->folios->index, pass->pos >> PAGE_SHIFT,
                              (end - 1) >> PAGE_SHIFT, tag);
    if (folio == NULL)
      break;
    first = sector_at (folio, max_u64 (pass->pos, folio_pos (folio)));
    last = sector_at (folio, end);
    *sector = folio_find_sector (wb->folios->arena, folio, first, last,
                                 STATE_DIRTY_SHIFT, true);
    if (*sector < last)
      return folio;
    pass->pos = folio_end (folio);
    folio_put (wb->folios->arena, folio);
  }
  return NULL;
}

/* The end of the dirty run that begins in folio at sector `first', looking into
 * the folios that follow, up to `max' bytes.  A guess: nothing is locked.
 */
static uint64_t
guess_run_end (struct writeback *wb, struct folio *folio, unsigned first,
               uint64_t max)
{
  struct arena *arena = wb->folios->arena;
  uint64_t start = folio_pos (folio) + ((uint64_t) first << SECTOR_SHIFT);
  uint64_t end = start;
  unsigned sector;

  folio_get (folio);
  for (;;) {
    sector = folio_find_sector (arena, folio, first, folio_sectors (folio),
                                STATE_DIRTY_SHIFT, false);
    end = folio_pos (folio) + ((uint64_t) sector << SECTOR_SHIFT);
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
  uint64_t end = min_u64 (pass_end (wb, pass), start + wb->max_io);

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
  uint64_t start = folio_pos (folio) + ((uint64_t) sector << SECTOR_SHIFT);
  struct iomap_run run = { .start = start };
  uint64_t max = max_length (wb, pass, start);
  const struct bad_range *bad = bad_ranges_find (&wb->bad, start);
  bool alone = bad && bad->start <= start;

  if (max == 0)
    return;
  pass->found = true;
  max = min_u64 (max, wb->max_io - g->bytes);
  run.end = guess_run_end (wb, folio, sector, max);
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
  g->full |= g->n == wb->fs->max_runs || g->bytes >= wb->max_io;
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
    ioend = ioend_make (wb, g.runs, g.n, pass->kind, &end, r);
    pass->skipped |= *r == -EBUSY || *r == -EAGAIN;
    if (*r == -EBUSY)
      end = g.next;
    else if (*r == 0 && ioend == NULL)
      end += SECTOR_SIZE; /* it is gone, but there may be more */
    pass->pos = end;
  }
  return ioend;
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
         may_send (wb, pass->kind)) {
    ioend = next_ioend (wb, pass, filter, &budget, &r);
    if (ioend == NULL)
      break;
    ioend_begin (ioend);
    pass->sent = true;
    batch[n++] = &ioend->req;
  }
  if (n > 0)
    stats_submit (store, batch, n);
  return pass->active && may_send (wb, pass->kind) && r != -ENOBUFS;
}
