/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * ioends; after fs/iomap/buffered-io.c in what they are for.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "cache/writeback/failing.h"
#include "cache/writeback/ioend-pool.h"
#include "cache/writeback/ioend.h"
#include "fs/bell.h"
#include "fs/num.h"
#include "cache/folio/folio.h"
#include "cache/folio/range-ops.h"
#include "cache/index/index.h"
#include "cache/pace/balance.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "cache/base/store-io.h"
#include "fs/iomap.h"
#include "cache/writeback/sync-list.h"

/* --- making one --- */

unsigned
ioend_find (const struct writeback *wb, const struct folio *folio,
            unsigned first, unsigned last, bool fua, bool value)
{
  return folio_find_sector (wb->folios->arena, folio, first, last,
                            fua ? IN_DIRTY | IN_UNSTABLE : IN_DIRTY, value);
}

/* Copy the run of the folio that begins at byte *pos, and goes on to
 * `end' at most, into buf; it is in write-back now.  *pos moves on.  Returns true
 * if the run reached the folio's end.
 */
static bool
take_part (struct ioend *ioend, struct folio *folio, uint8_t *buf,
           uint64_t *pos, uint64_t end)
{
  struct writeback *wb = ioend->wb;
  struct arena *arena = wb->folios->arena;
  unsigned first, last;
  size_t length;

  folio_clip (folio, *pos, end, &first, &last);
  last = ioend_find (wb, folio, first, last, ioend->fua, false);
  if (first == last)
    return false;
  length = sector_bytes (last - first);
  folio_copy_out (buf, sector_data (arena, folio, first), length);
  folio_transition (wb->folios, folio, first, last, FOLIO_WB_BEGIN);
  *pos += length;
  return last == folio_sectors (folio);
}

/* Copy what is to be sent from the start of the range on, without a gap, into buf.
 * Returns where that ends; *busy: because a folio is locked.
 */
static uint64_t
take (struct ioend *ioend, const struct range *range, uint8_t *buf, bool *busy)
{
  struct writeback *wb = ioend->wb;
  uint64_t pos = range->start;
  struct folio *folio;
  bool more = true;

  while (more && pos < range->end) {
    folio = index_get (wb->folios->index, pos >> PAGE_SHIFT);
    if (folio == NULL)
      break;
    more = folio_trylock_wanted (folio);
    *busy = !more;
    if (more) {
      more =
        folio_mapped (folio) &&
        take_part (ioend, folio, buf + (pos - range->start), &pos, range->end);
      folio_unlock (wb->folios, folio);
    }
    folio_put (wb->folios->arena, folio);
  }
  return pos;
}

/* Hold a run and take what is dirty of it.  Returns true if that is all of it;
 * *busy: if not, because something is in use.
 */
static bool
take_run (struct ioend *ioend, const struct iomap_run *wanted, bool *busy)
{
  struct writeback *wb = ioend->wb;
  struct range *range = &ioend->ranges[ioend->nr_runs];
  struct iomap_run *run = &ioend->runs[ioend->nr_runs];
  uint64_t start = wanted->start, taken;

  *range = (struct range) { .start = start, .end = wanted->end };
  *busy = !ranges_try_add (&wb->folios->ranges, range);
  if (*busy)
    return false;
  taken = take (ioend, range,
                arena_data (wb->bounce, ioend->buffer) + ioend->length, busy);
  if (taken == start) {
    ranges_cancel (&wb->folios->ranges, range);
    return false;
  }
  if (taken < range->end)
    ranges_shrink (&wb->folios->ranges, range, taken);
  run->start = start;
  run->end = min_u64 (taken, wb->folios->size);
  ioend->length += run->end - start;
  ioend->nr_runs++;
  return taken == wanted->end;
}

/* --- the state of what was taken --- */

/* Call fn for the part of each folio that lies in the range. */
typedef void part_fn (struct ioend *ioend, struct folio *folio, unsigned first,
                      unsigned last);

static unsigned
for_each_part (struct ioend *ioend, uint64_t pos, uint64_t end, part_fn *fn)
{
  struct writeback *wb = ioend->wb;
  struct folio *folio;
  uint64_t next;
  unsigned folios = 0, first, last;

  for (; pos < end; pos = next) {
    folio = index_get (wb->folios->index, pos >> PAGE_SHIFT);
    if (folio == NULL) { /* it was all zeroed */
      next = round_down (pos, PAGE_SIZE) + PAGE_SIZE;
      continue;
    }
    next = folio_end (folio);
    folio_clip (folio, pos, end, &first, &last);
    fn (ioend, folio, first, last);
    folio_put (wb->folios->arena, folio);
    folios++;
  }
  return folios;
}

/* Of all runs.  Returns how many folios there are. */
static unsigned
for_all_parts (struct ioend *ioend, part_fn *fn)
{
  unsigned i, folios = 0;

  for (i = 0; i < ioend->nr_runs; i++)
    folios +=
      for_each_part (ioend, ioend->ranges[i].start, ioend->ranges[i].end, fn);
  return folios;
}

static void
failed (struct ioend *ioend, struct folio *folio, unsigned first, unsigned last)
{
  folio_transition (ioend->wb->folios, folio, first, last, FOLIO_WB_FAILED);
}

/* Its pages are written: which flush makes them clean? */
static void
written (struct ioend *ioend, struct folio *folio, unsigned first,
         unsigned last)
{
  unsigned page;

  for (page = first / SECTORS_PER_PAGE; page * SECTORS_PER_PAGE < last; page++)
    folio[page].unstable_gen = ioend->wb->sync.gen;
  folio_transition (ioend->wb->folios, folio, first, last, FOLIO_WB_DONE);
}

static void
durable (struct ioend *ioend, struct folio *folio, unsigned first,
         unsigned last)
{
  if (folio_transition (ioend->wb->folios, folio, first, last,
                        FOLIO_WB_DURABLE))
    sync_cleaned (ioend->wb, folio);
}

/* It was not seen to: a sync, whose tag has gone, may want it still. */
static void
give_back (struct ioend *ioend, struct folio *folio, unsigned first,
           unsigned last)
{
  struct index *index = ioend->wb->folios->index;

  failed (ioend, folio, first, last);
  index_lock (index);
  if (folio_mapped (folio) && index_has_tag (index, folio, TAG_DIRTY))
    index_set_tag (index, folio, TAG_TOWRITE);
  index_unlock (index);
}

/* Keep the first `length' bytes of the runs; what follows is dirty again, by fn. */
static void
cut (struct ioend *ioend, uint64_t length, part_fn *fn)
{
  struct ranges *ranges = &ioend->wb->folios->ranges;
  struct range *range;
  struct iomap_run *run;
  uint64_t keep;

  while (ioend->length > length) {
    range = &ioend->ranges[ioend->nr_runs - 1];
    run = &ioend->runs[ioend->nr_runs - 1];
    ioend->length -= run->end - run->start;
    keep = length > ioend->length ? length - ioend->length : 0;
    for_each_part (ioend, run->start + keep, range->end, fn);
    if (keep > 0) {
      ranges_shrink (ranges, range, run->start + keep);
      run->end = run->start + keep;
      ioend->length = length;
    }
    else {
      ranges_cancel (ranges, range);
      ioend->nr_runs--;
    }
  }
}

/* --- sending it --- */

static void
ioend_done (struct store_req *req, int error)
{
  struct ioend *ioend = (struct ioend *) req;
  struct writeback *wb = ioend->wb;
  struct inbox *inbox = wb->inbox;
  bool held;

  store_io_done (wb->stats, wb->env, req, error);
  ioend->error = error;
  pthread_mutex_lock (&inbox->lock);
  ioend->next = inbox->done;
  inbox->done = ioend;
  held = inbox->held == ioend;
  if (held)
    inbox->held = NULL;
  pthread_mutex_unlock (&inbox->lock);
  if (!held)
    bell_ring (inbox->bell);
}

static void
prepare_req (struct ioend *ioend)
{
  ioend->iov.iov_base = arena_data (ioend->wb->bounce, ioend->buffer);
  ioend->iov.iov_len = ioend->length;
  ioend->req = (struct store_req) {
    .op = STORE_WRITE,
    .flags = (pass_is_urgent (ioend->kind) ? 0 : STORE_BACKGROUND) |
             (ioend->fua ? STORE_FUA : 0),
    .offset = ioend->place.addr,
    .length = ioend->length,
    .iov = &ioend->iov,
    .niov = 1,
    .done = ioend_done,
  };
}

/* Is it a place for what was taken, and for no more?  What else is there on the store
 * must not be written to, whatever the format's fault is.
 */
static int
check_place (struct ioend *ioend)
{
  struct fs *fs = ioend->wb->fs;

  if (ioend->place.length > 0 && ioend->place.length <= ioend->length)
    return 0;
  env_log (ioend->wb->env, LOG_ERROR,
           "a place of %" PRIu64 " bytes for %" PRIu64
           ", of %u ranges from %" PRIu64 " to %" PRIu64 ", is not used",
           ioend->place.length, ioend->length, ioend->nr_runs,
           ioend->runs[0].start, ioend->runs[0].end);
#ifdef FOLIO_DEBUG
  assert (!"a place that fits");
#endif
  fs->ops->ioend_done (fs, ioend->runs, ioend->nr_runs, &ioend->place, -EIO);
  return -EIO;
}

/* Ask where what was taken goes, and keep what there is a place for; all else is
 * dirty again.
 */
static int
map (struct ioend *ioend)
{
  struct fs *fs = ioend->wb->fs;
  int r;

  ioend->place.no_fua = false;
  r =
    fs->ops->map_for_writeback (fs, ioend->runs, ioend->nr_runs, &ioend->place);
  if (r == 0)
    r = check_place (ioend);
  if (r == -EAGAIN) {
    cut (ioend, 0, give_back);
    return r;
  }
  if (r == 0) {
    cut (ioend, ioend->place.length, give_back);
    ioend->fua &= !ioend->place.no_fua;
  }
  if (r < 0) {
    failing_write_failed (ioend->wb, ioend->ranges, ioend->nr_runs, r);
    cut (ioend, 0, failed);
  }
  return r;
}

/* Take the runs, up to where something is not there or in use.  Returns 1 if
 * anything was taken, 0 if nothing is there, -EBUSY if it is in use.
 */
static int
take_runs (struct ioend *ioend, const struct iomap_run *wanted, unsigned n)
{
  bool busy = false;
  unsigned i;

  for (i = 0; i < n; i++)
    if (!take_run (ioend, &wanted[i], &busy))
      break;
  return ioend->nr_runs > 0 ? 1 : busy ? -EBUSY : 0;
}

/* What is mapped is what was taken, no more: not what a zero has dropped before;
 * and what it drops later it does not let be mapped.
 */
struct ioend *
ioend_make (struct writeback *wb, const struct iomap_run *wanted, unsigned n,
            const struct wb_pass *pass, uint64_t *end, int *r)
{
  struct ioend *ioend;
  uint64_t bytes = 0;
  unsigned i;

  for (i = 0; i < n; i++)
    bytes += wanted[i].end - wanted[i].start;
  *end = wanted[0].start;
  *r = -ENOBUFS;
  ioend = ioend_get (wb, bytes, pass);
  if (ioend == NULL)
    return NULL;
  if (wb->fs->ops->take)
    wb->fs->ops->take (wb->fs);
  *r = take_runs (ioend, wanted, n);
  if (*r > 0) {
    *end = ioend->ranges[ioend->nr_runs - 1].end;
    *r = map (ioend);
  }
  if (ioend->nr_runs > 0) {
    *end = ioend->ranges[ioend->nr_runs - 1].end;
    prepare_req (ioend);
    return ioend;
  }
  ioend_free (wb, ioend);
  return NULL;
}

void
ioend_begin (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;

  ioend->in_flight = true;
  ioend->number = wb->ioends.nr_sent++;
  ioend->doubts = wb->sync.doubts;
  wb->ioends.sent[ioend->kind]++;
  wb->ioends.in_flight++;
}

/* --- when it is over --- */

/* Make the transitions for all that the ioend wrote. */
static void
finish_folios (struct ioend *ioend, part_fn *fn)
{
  unsigned folios = for_all_parts (ioend, fn);

  stats_written (ioend->wb->stats, folios, ioend->length, fn == failed);
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
  finish_folios (ioend, failed);
  /* While a loss settles all syncs begin anew, and need not be told. */
  if (!sync_settling (&wb->sync))
    sync_note_error (wb, ioend->ranges, ioend->nr_runs, -EIO, false);
}

/* Is it durable, and what tells where it is?  A zero that the store has not flushed would
 * be done again over it, if lost, so that the data must not be clean before the zero is
 * durable.
 */
static bool
is_durable (struct ioend *ioend)
{
  unsigned i;

  if (!ioend->fua)
    return false;
  for (i = 0; i < ioend->nr_runs; i++)
    if (fs_unsettled (ioend->wb->fs, ioend->ranges[i].start,
                      ioend->ranges[i].end) ||
        !fs_placed (ioend->wb->fs, ioend->ranges[i].start,
                    ioend->ranges[i].end))
      return false;
  return true;
}

static void
finish_written (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  uint32_t before = atomic_load (&wb->folios->nr_writeback);

  if (is_durable (ioend)) {
    finish_folios (ioend, durable);
    throttle_wake (wb->throttle);
  }
  else {
    inbox_note_unflushed (wb->inbox);
    finish_folios (ioend, written);
  }
  /* This thread alone changes the counter, but for zeroes. */
  balance_written (wb->throttle,
                   before - atomic_load (&wb->folios->nr_writeback));
  failing_write_succeeded (wb, ioend->ranges, ioend->nr_runs);
}

static void
finish (struct ioend *ioend)
{
  struct writeback *wb = ioend->wb;
  bool doubtful = ioend->doubts != wb->sync.doubts;
  unsigned i;

  wb->fs->ops->ioend_done (wb->fs, ioend->runs, ioend->nr_runs, &ioend->place,
                           ioend->error ? ioend->error
                           : doubtful   ? -ECONNRESET
                                        : 0);
  if (ioend->fua && inbox_lost_fua (wb->inbox, ioend->error)) {
    finish_folios (ioend, failed);
    sync_send_again (wb, ioend->ranges, ioend->nr_runs);
  }
  else if (ioend->error) {
    finish_folios (ioend, failed);
    failing_write_failed (wb, ioend->ranges, ioend->nr_runs, ioend->error);
  }
  else if (doubtful)
    finish_doubtful (ioend);
  else
    finish_written (ioend);
  sync_ioend_over (wb, ioend);
  for (i = 0; i < ioend->nr_runs; i++)
    folios_end_range (wb->folios, &ioend->ranges[i]);
  ioend->in_flight = false;
  wb->ioends.sent[ioend->kind]--;
  wb->ioends.in_flight--;
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
