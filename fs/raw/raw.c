/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: the disk is the store, byte for byte.
 *
 * MAPPED is always a safe answer: reading it gives what the store holds.  Only
 * where a zero is pending (zeroes.c) it is not, so that has the last word.
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
 *   any        -> HOLE       the store has trimmed it, or zeroed it giving space
 *                            back
 *   any        -> UNWRITTEN  the store has zeroed it
 *   any        -> unknown    forgotten, for lack of room
 *
 * What is pending covers all of these: it is HOLE or UNWRITTEN from when it is
 * asked for until the store has done and flushed it, whatever else is known.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/num.h"
#include "fs/raw/raw-impl.h"
#include "fs/raw/raw.h"

#define MAX_EXTENTS 65536

/* Runs that an answer to a report should hold: so many that the round trip is
 * little beside finding them, and so few that the map keeps several answers.
 */
#define WANTED_RUNS 2048

/* Runs that are looked at for one iomap, and at once. */
#define MAX_LOOKS 512
#define LOOKS 64

/* Both only grow, so the sum is the same only if both are. */
static uint64_t
cookie_now (struct raw *raw)
{
  return extents_cookie (raw->extents) + atomic_load (&raw->zeroes.cookie);
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
    iomap->length = min_u64 (n, length);
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

/* A write that goes on behind its iomap goes on in another step, and what it
 * wrote before may be written back between the two.  So iomaps do not end in the
 * middle of a block, lest a sector be torn; what is known of the disk may.  A
 * block of which it is not all the same counts as MAPPED.
 */
static void
end_with_block (const struct raw *raw, uint64_t pos, uint64_t length,
                struct iomap *iomap)
{
  uint64_t bs = raw->fs.block_size, end = pos + iomap->length;
  uint64_t block = round_down (end, bs);

  if (iomap->length == length || block == end)
    return;
  if (block > pos) {
    iomap->length = block - pos;
    return;
  }
  iomap->length = min_u64 (block + bs - pos, length);
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
  iomap->length = min_u64 (iomap->length, length);
  end_with_block (raw, pos, length, iomap);
  if (iomap->type == IOMAP_HOLE) {
    extents_reserve (raw->extents, pos, iomap->length);
    iomap->type = IOMAP_DELALLOC;
  }
}

static int
begin_direct_write (struct raw *raw, uint64_t pos, uint64_t length,
                    struct iomap *iomap)
{
  int r = raw_zeroes_map (raw, pos, pos + length, true);

  if (r < 0)
    return r;
  *iomap = (struct iomap) {
    .type = IOMAP_MAPPED,
    .offset = pos,
    .length = length,
    .addr = pos,
    .cookie = cookie_now (raw),
  };
  return 0;
}

static bool
is_direct_write (unsigned flags)
{
  return (flags & IOMAP_WRITE) && (flags & IOMAP_DIRECT);
}

static int
raw_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
           struct iomap *iomap)
{
  struct raw *raw = raw_of (fs);
  bool keep;

  if (pos >= fs->size || length == 0)
    return -EINVAL;
  length = min_u64 (length, fs->size - pos);
  if (is_direct_write (flags))
    return begin_direct_write (raw, pos, length, iomap);

  /* Before anything is looked up: a change from here on is seen. */
  iomap->cookie = cookie_now (raw);
  if (raw_zeroes_at (raw, pos, &length, &keep)) {
    iomap->type =
      flags & IOMAP_WRITE ? IOMAP_UNWRITTEN : raw_zero_type (raw, keep);
    iomap->length = length;
  }
  else if (flags & IOMAP_WRITE)
    begin_write (raw, pos, length, iomap);
  else if (flags & IOMAP_REPORT)
    begin_report (raw, pos, length, iomap);
  else
    begin_read (raw, pos, length, iomap);
  /* What is on the store may reach into what is pending. */
  if (iomap->type == IOMAP_MAPPED && iomap->length > length &&
      atomic_load (&raw->zeroes.count) > 0)
    iomap->length = length;
  iomap->offset = pos;
  iomap->addr = pos;
  return 0;
}

static int
raw_end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
         unsigned flags, const struct iomap *iomap)
{
  bool ok = written == length;

  (void) iomap;
  /* What is to be zeroed after it would take it along, of which there is no copy. */
  return is_direct_write (flags) &&
             raw_zeroes_written (raw_of (fs), pos, pos + length,
                                 ok ? 0 : -EIO) &&
             ok
           ? -ESTALE
           : 0;
}

/* Ranges that are looked at for one iomap that may have changed. */
#define MAX_CHECKS 16

/* Does [pos, pos+*length) still begin with zeroes, at least where it is not in
 * memory?  Clips *length to these.
 */
static bool
still_zero (struct raw *raw, uint64_t pos, uint64_t *length)
{
  enum iomap_type type;
  uint64_t most;
  bool keep;

  if (raw_zeroes_at (raw, pos, length, &keep))
    return true;
  most = *length;
  if (!extents_lookup (raw->extents, pos, length, &type))
    return false;
  *length = min_u64 (*length, most);
  return type != IOMAP_MAPPED;
}

/* MAPPED is safe unless a zero has become pending. */
static bool
raw_valid (struct fs *fs, const struct iomap *iomap)
{
  struct raw *raw = raw_of (fs);
  uint64_t pos = iomap->offset, end = pos + iomap->length, n = iomap->length;
  unsigned i;
  bool keep;

  if (cookie_now (raw) == iomap->cookie)
    return true;
  if (iomap->type == IOMAP_MAPPED)
    return !raw_zeroes_at (raw, pos, &n, &keep) && n == iomap->length;
  for (i = 0; pos < end && i < MAX_CHECKS; i++, pos += n) {
    n = end - pos;
    if (!still_zero (raw, pos, &n))
      return false;
  }
  return pos >= end;
}

static int
raw_map_for_writeback (struct fs *fs, const struct iomap_run *runs, unsigned n,
                       struct iomap_place *place)
{
  struct raw *raw = raw_of (fs);
  uint64_t length = runs[0].end - runs[0].start;
  int r;

  (void) n; /* the others are elsewhere */
  if (runs[0].end > fs->size || length == 0)
    return -EINVAL;
  r = raw_zeroes_map (raw, runs[0].start, runs[0].end, false);
  if (r < 0)
    return r;
  *place = (struct iomap_place) { .addr = runs[0].start, .length = length };
  return 0;
}

static void
raw_ioend_done (struct fs *fs, const struct iomap_run *runs, unsigned n,
                const struct iomap_place *place, int error)
{
  (void) runs;
  (void) n;
  raw_zeroes_written (raw_of (fs), place->addr, place->addr + place->length,
                      error);
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

  raw_zeroes_destroy (raw);
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
  .take = raw_take,
  .zero = raw_zero,
  .zero_end = raw_zero_end,
  .settle = raw_settle,
  .settled = raw_settled,
  .hurry = raw_hurry,
  .unsettled = raw_unsettled,
  .unsaved = raw_unsaved,
  .flush = raw_flush,
  .attach = raw_attach,
  .expire = raw_expire,
  .step = raw_step,
  .deadline = raw_deadline,
  .idle = raw_idle,
  .lost = raw_lost,
  .retry = raw_retry,
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
  raw->fs.ops = &raw_ops;
  raw->fs.store = store;
  raw->fs.size = store->geo.size;
  raw->fs.block_size = store->geo.min_io;
  raw->fs.max_runs = 1;
  raw->fs.readonly = store->geo.readonly;
  raw->fs.rotational = store->geo.rotational;
  raw->fs.can_fua = store->geo.can_fua;
  raw->fs.can_trim = store->geo.can_trim;
  raw->fs.can_fast_zero = store->geo.can_zero;
  raw->extents = extents_create (MAX_EXTENTS);
  if (!raw_zeroes_init (raw) || raw->extents == NULL) {
    raw_close (&raw->fs);
    return -ENOMEM;
  }
  atomic_init (&raw->reports.window, RAW_FIRST_WINDOW);
  raw->reports.wanted = WANTED_RUNS;
  raw_lookahead_init (raw);
  *fs = &raw->fs;
  return 0;
}
