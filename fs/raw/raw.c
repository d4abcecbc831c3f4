/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: the disk is the store, byte for byte.
 *
 * MAPPED is always a safe answer: reading it gives what the store holds.  Only
 * where fs->zeroed knows of a zero that the store may have lost it is not, so
 * that has the last word.  (For a report it is safe there too, and the other is
 * not: what was written over the zero may be unsaved, but no longer dirty.)
 * HOLE and UNWRITTEN are promises that the store's bytes are zero, so they
 * are made only when that is sure, and taken back before and after every store
 * write: before it is submitted, lest a reader skip what is about to be there;
 * after it is done, since the range may have been forgotten meanwhile and
 * asked for again before the bytes arrived.  Hence also:
 *
 *   unknown                  treated as MAPPED, but for a report, which asks;
 *                            a read has it asked for behind its back
 *   HOLE       -> DELALLOC   a write began (nothing has reached the store)
 *   any        -> MAPPED     a store write is about to begin, or has ended
 *   unknown, DELALLOC -> MAPPED  zeroing is about to begin
 *   any        -> HOLE       trimmed, or zeroed giving space back
 *   any        -> UNWRITTEN  zeroed
 *   any        -> unknown    forgotten, for lack of room
 *   MAPPED, DELALLOC -> unknown  zeroing failed (what read as zero still does)
 *
 * What is to be zeroed again reads as zero even before and if that fails: the
 * store may hold what was there before the first time.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/raw/raw-impl.h"
#include "fs/raw/raw.h"

#define MAX_EXTENTS 65536

/* Runs that an answer to a report should hold: so many that the round trip is
 * little beside finding them, and so few that the map keeps several answers.
 */
#define WANTED_RUNS 2048

/* Runs that are looked at for one mapping, and at once. */
#define MAX_LOOKS 512
#define LOOKS 64

static struct raw *
raw_of (struct fs *fs)
{
  return (struct raw *) fs; /* its first member */
}

/* Both only grow, so the sum is the same only if both are. */
static uint64_t
cookie_now (struct raw *raw)
{
  return extents_cookie (raw->extents) + atomic_load (&raw->fs.zeroed_cookie);
}

/* ------------------------------------------------------------ operations */

/* Exactly what is known; this alone waits for an answer.  What could not be kept of
 * that is not used: nobody would be told if it was written meanwhile.
 */
static void
begin_report (struct raw *raw, uint64_t pos, uint64_t length,
              struct iomap *iomap)
{
  struct raw_found found;
  uint64_t n;
  bool known;

  iomap->length = length;
  known = extents_lookup (raw->extents, pos, &iomap->length, &iomap->type);
  if (!known && raw->fs.store->geo.can_extents) {
    /* Should pos still be unknown, it is of no use to ask again before n. */
    raw_ask (raw, &raw->reports, pos, &found);
    n = found.pos_end > pos ? found.pos_end - pos : length;
    iomap->length = n < length ? n : length;
    known = extents_lookup (raw->extents, pos, &iomap->length, &iomap->type);
  }
  if (!known)
    iomap->type = IOMAP_MAPPED;
}

/* A range that is about to be read, as far as it has been looked at. */
struct look {
  uint64_t at;       /* from where on it has not been */
  uint64_t data_end; /* where the last of what has to be read ends */
  uint64_t unknown;  /* the first place that is, or NOWHERE */
};

static void
look_at_run (struct look *look, const struct extents_run *run)
{
  if (!run->known && look->unknown == NOWHERE)
    look->unknown = look->at;
  look->at = run->end;
  if (!run->known || run->type == IOMAP_MAPPED)
    look->data_end = run->end;
}

/* Look on until what is read ends, by zeroes that are worth a request less. */
static void
look_on (struct raw *raw, uint64_t end, struct look *look)
{
  struct extents_run runs[LOOKS];
  unsigned looks;
  size_t i, n;

  for (looks = 0; looks < MAX_LOOKS; looks += LOOKS) {
    if (look->at >= end || look->at - look->data_end >= WORTH_A_CUT)
      return;
    n = extents_lookup_runs (raw->extents, look->at, end, runs, LOOKS);
    for (i = 0; i < n && look->at - look->data_end < WORTH_A_CUT; i++)
      look_at_run (look, &runs[i]);
  }
}

/* Never waits for an answer: a read of what is not known reads the store, where a
 * question would take as long, and longer the more there is to say.  Zeroes that
 * are not worth it are no end, so that who reads in order gets all of his range.
 */
static void
begin_read (struct raw *raw, uint64_t pos, uint64_t length, struct iomap *iomap)
{
  struct look look = { .at = pos, .data_end = pos, .unknown = NOWHERE };
  struct extents_run run;
  uint64_t n = length;

  run.known = extents_lookup (raw->extents, pos, &n, &run.type);
  run.end = pos + n;
  look_at_run (&look, &run);
  look_on (raw, pos + length, &look);
  if (look.data_end > pos) {
    iomap->type = IOMAP_MAPPED;
    if (look.at - look.data_end >= WORTH_A_CUT)
      look.at = look.data_end;
  }
  else
    iomap->type = run.type;
  iomap->length = look.at - pos;
  if (look.unknown != NOWHERE)
    raw_lookahead_hint (raw, look.unknown);
}

/* A write that goes on behind its mapping goes on in another step, and what it
 * wrote before may be written back between the two.  So mappings do not end in the
 * middle of a block, lest a sector be torn; what is known of the disk may.  A
 * block of which it is not all the same counts as MAPPED.
 */
static void
end_with_block (const struct raw *raw, uint64_t pos, uint64_t length,
                struct iomap *iomap)
{
  uint64_t bs = raw->fs.block_size, end = pos + iomap->length;
  uint64_t block = end & ~(bs - 1);

  if (iomap->length == length || block == end)
    return;
  if (block > pos) {
    iomap->length = block - pos;
    return;
  }
  iomap->length = block + bs - pos < length ? block + bs - pos : length;
  iomap->type = IOMAP_MAPPED;
  extents_reserve (raw->extents, pos, iomap->length);
}

static void
begin_write (struct raw *raw, uint64_t pos, uint64_t length,
             struct iomap *iomap)
{
  iomap->length = length;
  if (!extents_lookup (raw->extents, pos, &iomap->length, &iomap->type))
    iomap->type = IOMAP_MAPPED;
  if (iomap->length > length)
    iomap->length = length;
  end_with_block (raw, pos, length, iomap);
  if (iomap->type == IOMAP_HOLE) {
    extents_reserve (raw->extents, pos, iomap->length);
    iomap->type = IOMAP_DELALLOC;
  }
}

static void
begin_direct_write (struct raw *raw, uint64_t pos, uint64_t length,
                    struct iomap *iomap)
{
  extents_set (raw->extents, pos, length, IOMAP_MAPPED);
  iomap->length = length;
  iomap->type = IOMAP_MAPPED;
  iomap->cookie = cookie_now (raw);
}

static bool
is_direct_write (unsigned flags)
{
  return (flags & IOMAP_WRITE) && (flags & IOMAP_DIRECT);
}

/* What is MAPPED reads as zero if the fs's user knows that it does. */
static void
begin_zeroed (struct raw *raw, uint64_t pos, struct iomap *iomap)
{
  struct fs *fs = &raw->fs;

  if (iomap->type != IOMAP_MAPPED || fs->zeroed == NULL)
    return;
  iomap->zeroed = fs->zeroed (fs->zeroed_opaque, pos, &iomap->length);
  if (iomap->zeroed)
    iomap->type = IOMAP_UNWRITTEN;
}

static int
raw_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
           struct iomap *iomap)
{
  struct raw *raw = raw_of (fs);

  if (pos >= fs->size || length == 0)
    return -EINVAL;
  if (length > fs->size - pos)
    length = fs->size - pos;

  /* Before anything is looked up: a change from here on is seen. */
  iomap->cookie = cookie_now (raw);
  iomap->zeroed = false;
  if (is_direct_write (flags))
    begin_direct_write (raw, pos, length, iomap);
  else if (flags & IOMAP_WRITE)
    begin_write (raw, pos, length, iomap);
  else if (flags & IOMAP_REPORT)
    begin_report (raw, pos, length, iomap);
  else
    begin_read (raw, pos, length, iomap);
  if (!is_direct_write (flags) && !(flags & IOMAP_REPORT))
    begin_zeroed (raw, pos, iomap);
  iomap->offset = pos;
  iomap->addr = pos;
  return 0;
}

static int
raw_end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
         unsigned flags, const struct iomap *iomap)
{
  (void) written; /* what failed half way may have reached the store too */
  (void) iomap;
  if (is_direct_write (flags))
    extents_set (raw_of (fs)->extents, pos, length, IOMAP_MAPPED);
  return 0;
}

/* Does the fs's user still say so of all of the mapping? */
static bool
still_zeroed (struct fs *fs, const struct iomap *iomap)
{
  uint64_t pos = iomap->offset, end = pos + iomap->length, n;

  for (; pos < end; pos += n) {
    n = end - pos;
    if (!fs->zeroed (fs->zeroed_opaque, pos, &n))
      return false;
  }
  return true;
}

/* What was written over a zero, and written back, before begin has changed no
 * cookie since.  It may have left the cache before it was looked for there, but
 * not before the zero was flushed.
 */
static bool
raw_valid (struct fs *fs, const struct iomap *iomap)
{
  return cookie_now (raw_of (fs)) == iomap->cookie &&
         (!iomap->zeroed || still_zeroed (fs, iomap));
}

static int
raw_map_for_writeback (struct fs *fs, const struct iomap_run *runs, unsigned n,
                       struct iomap_place *place)
{
  struct raw *raw = raw_of (fs);
  uint64_t length = runs[0].end - runs[0].start;

  (void) n; /* the others are elsewhere */
  if (runs[0].end > fs->size || length == 0)
    return -EINVAL;
  extents_set (raw->extents, runs[0].start, length, IOMAP_MAPPED);
  *place = (struct iomap_place) { .addr = runs[0].start, .length = length };
  return 0;
}

static void
raw_ioend_done (struct fs *fs, const struct iomap_run *runs, unsigned n,
                const struct iomap_place *place, int error)
{
  (void) runs;
  (void) n;
  (void) error; /* a failed write may have written a part */
  extents_set (raw_of (fs)->extents, place->addr, place->length, IOMAP_MAPPED);
}

/* Is all of the range a hole already? */
static bool
is_hole (struct raw *raw, uint64_t offset, uint64_t length)
{
  enum iomap_type type;
  uint64_t known = length;

  return extents_lookup (raw->extents, offset, &known, &type) &&
         type == IOMAP_HOLE && known >= length;
}

/* Of the range, what is not known to read as zero in the store is MAPPED, if
 * the range is about to be zeroed: nothing is to be learned of it before that
 * is over, for the store may still lose it.  If zeroing has failed, half way
 * perhaps, it is unknown.  What read as zero before still does, and must: the
 * store may have lost what made it so.
 */
static void
mark_data (struct raw *raw, uint64_t offset, uint64_t length, bool failed)
{
  enum iomap_type type;
  uint64_t n;

  for (; length > 0; offset += n, length -= n) {
    uint64_t known = length;
    bool found = extents_lookup (raw->extents, offset, &known, &type);

    n = known < length ? known : length;
    if (found && (type == IOMAP_HOLE || type == IOMAP_UNWRITTEN))
      continue;
    if (failed)
      extents_forget (raw->extents, offset, n);
    else
      extents_set (raw->extents, offset, n, IOMAP_MAPPED);
  }
}

static int
raw_zero (struct fs *fs, uint64_t offset, uint64_t length, unsigned flags,
          bool trim)
{
  struct raw *raw = raw_of (fs);
  const struct store_geometry *geo = &fs->store->geo;
  bool give_back = trim || (flags & STORE_MAY_TRIM);
  bool again = flags & IOMAP_ZERO_AGAIN;
  struct store_req req = {
    .op = trim ? STORE_TRIM : STORE_ZERO,
    .flags = flags & ~IOMAP_ZERO_AGAIN,
    .offset = offset,
    .length = length,
  };
  int r;

  if (offset > fs->size || length > fs->size - offset)
    return -EINVAL;
  if (length == 0)
    return 0;
  if (again)
    extents_set (raw->extents, offset, length, IOMAP_UNWRITTEN);
  else if (give_back && is_hole (raw, offset, length))
    return 0;
  else
    mark_data (raw, offset, length, false);
  r = store_submit_wait (fs->store, &req);
  if (r < 0) {
    mark_data (raw, offset, length, true);
    return r;
  }
  extents_set (raw->extents, offset, length,
               give_back && geo->can_trim && geo->can_extents
                 ? IOMAP_HOLE
                 : IOMAP_UNWRITTEN);
  return 0;
}

static void
raw_flush (struct fs *fs, struct store_req *req)
{
  req->op = STORE_FLUSH;
  fs->store->ops->submit (fs->store, &req, 1);
}

static void
raw_work (struct fs *fs)
{
  raw_lookahead (raw_of (fs));
}

static void
raw_stop_work (struct fs *fs)
{
  raw_lookahead_stop (raw_of (fs));
}

static void
raw_close (struct fs *fs)
{
  struct raw *raw = raw_of (fs);

  extents_destroy (raw->extents);
  free (raw);
}

static const struct iomap_ops raw_ops = {
  .name = "raw",
  .begin = raw_begin,
  .end = raw_end,
  .valid = raw_valid,
  .map_for_writeback = raw_map_for_writeback,
  .ioend_done = raw_ioend_done,
  .zero = raw_zero,
  .flush = raw_flush,
  .work = raw_work,
  .stop_work = raw_stop_work,
  .close = raw_close,
};

int
raw_open (struct store *store, struct fs **fs)
{
  struct raw *raw = calloc (1, sizeof *raw);

  if (raw == NULL)
    return -ENOMEM;
  raw->extents = extents_create (MAX_EXTENTS);
  if (raw->extents == NULL) {
    free (raw);
    return -ENOMEM;
  }
  atomic_init (&raw->reports.window, RAW_FIRST_WINDOW);
  raw->reports.wanted = WANTED_RUNS;
  raw->fs.ops = &raw_ops;
  raw->fs.store = store;
  raw->fs.size = store->geo.size;
  raw->fs.block_size = store->geo.min_io;
  raw->fs.max_runs = 1;
  raw->fs.readonly = store->geo.readonly;
  raw->fs.rotational = store->geo.rotational;
  raw->fs.can_fua = store->geo.can_fua;
  raw->fs.can_trim = store->geo.can_trim;
  raw->fs.can_fast_zero = store->geo.can_fast_zero;
  raw_lookahead_init (raw);
  *fs = &raw->fs;
  return 0;
}
