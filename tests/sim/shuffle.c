/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * shuffle: the format's operations.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shuffle.h"

#define GRANTED 30 /* places, up to */

static struct shuffle *
shuffle_of (struct fs *fs)
{
  return (struct shuffle *) fs; /* its first member */
}

static uint32_t
block_of (uint64_t pos)
{
  return (uint32_t) (pos / SHUFFLE_BLOCK);
}

/* Is the block overwritten where it is?  Half of them are. */
static bool
stays (const struct shuffle *s, uint32_t block)
{
  return s->map[block] != SHUFFLE_NONE && mix64 (block) & 1;
}

/* How many blocks from b on, n at most, are side by side on the store, or are all
 * nowhere.
 */
static uint32_t
together (const struct shuffle *s, uint32_t b, uint32_t n)
{
  uint32_t i;

  for (i = 1; i < n; i++)
    if (s->map[b] == SHUFFLE_NONE ? s->map[b + i] != SHUFFLE_NONE
                                  : s->map[b + i] != s->map[b] + i)
      break;
  return i;
}

/* --- begin and end --- */

static void
fill_in (struct shuffle *s, uint32_t b, uint32_t n, unsigned flags,
         struct iomap *iomap)
{
  n = together (s, b, n);
  *iomap = (struct iomap) {
    .type = IOMAP_MAPPED,
    .offset = (uint64_t) b * SHUFFLE_BLOCK,
    .length = (uint64_t) n * SHUFFLE_BLOCK,
    .cookie = atomic_load (&s->cookie),
  };
  if (s->map[b] != SHUFFLE_NONE)
    iomap->addr = shuffle_addr (s, s->map[b]);
  else
    iomap->type = flags & IOMAP_WRITE ? IOMAP_DELALLOC : IOMAP_HOLE;
}

static void
fly (struct shuffle *s, uint32_t b, uint32_t place, bool ok)
{
  (void) ok;
  assert (s->flying[b] == SHUFFLE_NONE);
  s->flying[b] = place;
  s->place[place].flying = true;
  s->place[place].dead = false;
  s->place[place].takeoff = store_losses (s->fs.store);
}

/* A direct write goes where the block is, or to a new place that counts when it
 * has ended.
 */
static int
begin_direct_write (struct shuffle *s, uint32_t b, uint32_t n,
                    struct iomap *iomap)
{
  uint32_t i, first, got = 0;

  if (!stays (s, b))
    got = shuffle_take (s, n, &first);
  if (got == 0) {
    if (s->map[b] == SHUFFLE_NONE)
      return -ENOSPC;
    first = s->map[b];
    got = together (s, b, n);
  }
  for (i = 0; i < got; i++)
    fly (s, b + i, first + i, true);
  *iomap = (struct iomap) {
    .type = IOMAP_MAPPED,
    .offset = (uint64_t) b * SHUFFLE_BLOCK,
    .length = (uint64_t) got * SHUFFLE_BLOCK,
    .addr = shuffle_addr (s, first),
  };
  return 0;
}

static int
begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
       struct iomap *iomap)
{
  struct shuffle *s = shuffle_of (fs);
  uint32_t b = block_of (pos), end;
  int r = 0;

  if (pos >= fs->size || length == 0)
    return -EINVAL;
  if (length > fs->size - pos)
    length = fs->size - pos;
  end = block_of (pos + length + SHUFFLE_BLOCK - 1);
  pthread_mutex_lock (&s->lock);
  if (flags & IOMAP_NOWAIT && rng_below (&s->rng, 4) == 0)
    r = -EAGAIN;
  else if (flags & IOMAP_WRITE && flags & IOMAP_DIRECT)
    r = begin_direct_write (s, b, end - b, iomap);
  else
    fill_in (s, b, end - b, flags, iomap);
  pthread_mutex_unlock (&s->lock);
  return r;
}

/* What was written to the place of block b has arrived, or has not. */
static void
land (struct shuffle *s, uint32_t b, uint32_t place, bool ok)
{
  assert (s->flying[b] == place);
  s->flying[b] = SHUFFLE_NONE;
  s->place[place].flying = false;
  if (ok) {
    s->place[place].began = s->place[place].takeoff;
    shuffle_set (s, b, place);
  }
  shuffle_release (s, place);
}

static uint32_t
place_at (const struct shuffle *s, uint64_t addr)
{
  return (uint32_t) ((addr - 2 * s->area) / SHUFFLE_BLOCK);
}

static int
end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
     unsigned flags, const struct iomap *iomap)
{
  struct shuffle *s = shuffle_of (fs);
  uint32_t b = block_of (iomap->offset), place = place_at (s, iomap->addr), i;
  bool kept = true;

  (void) length;
  if (!(flags & IOMAP_WRITE) || !(flags & IOMAP_DIRECT))
    return 0;
  pthread_mutex_lock (&s->lock);
  for (i = 0; i < block_of (iomap->length); i++)
    kept &= !s->place[place + i].dead;
  for (i = 0; i < block_of (iomap->length); i++)
    land (s, b + i, place + i,
          kept && (uint64_t) (b + i + 1) * SHUFFLE_BLOCK <= pos + written);
  pthread_mutex_unlock (&s->lock);
  return kept ? 0 : -ESTALE;
}

static bool
valid (struct fs *fs, const struct iomap *iomap)
{
  return atomic_load (&shuffle_of (fs)->cookie) == iomap->cookie;
}

/* --- write-back --- */

static void
ask_done (struct store_req *req, int error)
{
  struct shuffle *s =
    (struct shuffle *) ((char *) req - offsetof (struct shuffle, ask));

  (void) error;
  atomic_store (&s->asked, true);
  fs_ring (&s->fs);
}

/* Is there no place yet?  Then something is read first, for no reason. */
static bool
not_yet (struct shuffle *s, unsigned takes)
{
  struct store_req *reqs[] = { &s->ask };

  if (s->asking)
    return true;
  if (s->granted >= takes) {
    s->granted -= takes;
    return false;
  }
  s->asking = true;
  s->ask_iov = (struct iovec) { s->ask_buf, sizeof s->ask_buf };
  s->ask = (struct store_req) {
    .op = STORE_READ,
    .length = sizeof s->ask_buf,
    .iov = &s->ask_iov,
    .niov = 1,
    .done = ask_done,
  };
  s->fs.store->ops->submit (s->fs.store, reqs, 1);
  return true;
}

static int
survey (struct fs *fs, uint64_t pos, uint64_t *length)
{
  struct shuffle *s = shuffle_of (fs);
  uint32_t b = block_of (pos), n = block_of (*length), i;
  bool here;

  if (not_yet (s, 0))
    return -EAGAIN;
  pthread_mutex_lock (&s->lock);
  here = stays (s, b);
  if (here)
    n = together (s, b, n);
  for (i = 1; i < n && stays (s, b + i) == here; i++)
    ;
  pthread_mutex_unlock (&s->lock);
  *length = (uint64_t) i * SHUFFLE_BLOCK;
  return here ? IOMAP_HERE : IOMAP_ANYWHERE;
}

static uint32_t
blocks_of (const struct iomap_run *runs, unsigned n)
{
  uint32_t blocks = 0;

  for (; n > 0; n--, runs++)
    blocks += block_of (runs->end - runs->start);
  return blocks;
}

/* Call fn for each block of the place, in order. */
static void
for_each_block (struct shuffle *s, const struct iomap_run *runs,
                const struct iomap_place *where, bool ok,
                void (*fn) (struct shuffle *s, uint32_t b, uint32_t place,
                            bool ok))
{
  uint32_t place = place_at (s, where->addr), left = block_of (where->length);
  uint64_t pos;

  for (; left > 0; runs++)
    for (pos = runs->start; pos < runs->end && left > 0; pos += SHUFFLE_BLOCK) {
      fn (s, block_of (pos), place++, ok);
      left--;
    }
}

static int
map_for_writeback (struct fs *fs, const struct iomap_run *runs, unsigned n,
                   struct iomap_place *where)
{
  struct shuffle *s = shuffle_of (fs);
  uint32_t b = block_of (runs[0].start), first, got = 0;

  if (not_yet (s, n))
    return -EAGAIN;
  pthread_mutex_lock (&s->lock);
  if (!stays (s, b))
    got = shuffle_take (s, blocks_of (runs, n), &first);
  *where = (struct iomap_place) { .cookie = runs[0].start };
  if (got > 0) {
    where->addr = shuffle_addr (s, first);
    where->length = (uint64_t) got * SHUFFLE_BLOCK;
  }
  else if (s->map[b] != SHUFFLE_NONE) {
    where->addr = shuffle_addr (s, s->map[b]);
    where->length =
      (uint64_t) together (s, b, blocks_of (runs, 1)) * SHUFFLE_BLOCK;
  }
  for_each_block (s, runs, where, true, fly);
  pthread_mutex_unlock (&s->lock);
  return where->length > 0 ? 0 : -EAGAIN;
}

static void
ioend_done (struct fs *fs, const struct iomap_run *runs, unsigned n,
            const struct iomap_place *where, int error)
{
  struct shuffle *s = shuffle_of (fs);

  assert (where->cookie == runs[0].start);
  assert ((uint64_t) blocks_of (runs, n) * SHUFFLE_BLOCK == where->length);
  pthread_mutex_lock (&s->lock);
  for_each_block (s, runs, where, error == 0, land);
  pthread_mutex_unlock (&s->lock);
}

/* --- zero --- */

static int
zero (struct fs *fs, struct iomap_range *range, bool keep)
{
  struct shuffle *s = shuffle_of (fs);
  uint32_t b, last = block_of (range->end);

  (void) keep;
  if (range->end > fs->size)
    return -EINVAL;
  pthread_mutex_lock (&s->lock);
  for (b = block_of (range->start); b < last; b++)
    shuffle_set (s, b, SHUFFLE_NONE);
  pthread_mutex_unlock (&s->lock);
  return 0;
}

/* May the store have a map with something there, or get one? */
static bool
unsettled (struct fs *fs, uint64_t start, uint64_t end)
{
  struct shuffle *s = shuffle_of (fs);
  bool written = false, any = false;
  uint32_t b, p;

  pthread_mutex_lock (&s->lock);
  for (p = 0; p < s->places && !written; p++)
    written = s->place[p].pinned || s->place[p].snapped;
  for (b = block_of (start); b < s->blocks && !any; b++) {
    if ((uint64_t) b * SHUFFLE_BLOCK >= end)
      break;
    any =
      s->map[b] == SHUFFLE_NONE && (written || s->durable[b] != SHUFFLE_NONE);
  }
  pthread_mutex_unlock (&s->lock);
  return any;
}

/* --- its life --- */

static bool
step (struct fs *fs, uint64_t now)
{
  struct shuffle *s = shuffle_of (fs);
  bool more = shuffle_flush_step (s);

  (void) now;
  if (atomic_exchange (&s->asked, false)) {
    s->asking = false;
    pthread_mutex_lock (&s->lock);
    s->granted = IOMAP_MAX_RUNS + (unsigned) rng_below (&s->rng, GRANTED);
    pthread_mutex_unlock (&s->lock);
    more = true;
  }
  return more;
}

static bool
idle (struct fs *fs)
{
  struct shuffle *s = shuffle_of (fs);

  return !s->asking && s->state == SHUFFLE_IDLE;
}

static void
lost (struct fs *fs, uint64_t losses)
{
  struct shuffle *s = shuffle_of (fs);

  s->lost = true;
  pthread_mutex_lock (&s->lock);
  shuffle_revert (s, losses);
  pthread_mutex_unlock (&s->lock);
}

static void
close_fs (struct fs *fs)
{
  struct shuffle *s = shuffle_of (fs);

  pthread_mutex_destroy (&s->lock);
  free (s->map);
  free (s->durable);
  free (s->snapshot);
  free (s->flying);
  free (s->place);
  free (s->buf);
  free (s);
}

static const struct iomap_ops shuffle_ops = {
  .name = "shuffle",
  .begin = begin,
  .end = end,
  .valid = valid,
  .survey = survey,
  .map_for_writeback = map_for_writeback,
  .ioend_done = ioend_done,
  .zero = zero,
  .unsettled = unsettled,
  .flush = shuffle_flush,
  .step = step,
  .idle = idle,
  .lost = lost,
  .close = close_fs,
};

static uint64_t
area_size (uint64_t disk_size)
{
  uint64_t map = disk_size / SHUFFLE_BLOCK * sizeof (uint32_t) + 64;

  return (map + SHUFFLE_BLOCK - 1) / SHUFFLE_BLOCK * SHUFFLE_BLOCK;
}

static uint32_t
nr_places (uint64_t disk_size)
{
  return (uint32_t) (disk_size / SHUFFLE_BLOCK) * 6 + 300;
}

uint64_t
shuffle_store_size (uint64_t disk_size)
{
  return 2 * area_size (disk_size) +
         (uint64_t) nr_places (disk_size) * SHUFFLE_BLOCK;
}

static uint32_t *
new_map (const struct shuffle *s)
{
  uint32_t *map = xcalloc (s->blocks, sizeof *map);

  memset (map, 0xff, s->blocks * sizeof *map);
  return map;
}

int
shuffle_open (struct store *store, uint64_t disk_size, uint64_t seed,
              struct fs **fs)
{
  struct shuffle *s = xcalloc (1, sizeof *s);
  int r;

  *s = (struct shuffle) {
    .fs = { .ops = &shuffle_ops,
            .store = store,
            .size = disk_size,
            .block_size = SHUFFLE_BLOCK,
            .max_runs = IOMAP_MAX_RUNS,
            .moves = true,
            .can_trim = true,
            .can_fast_zero = true },
    .rng = { seed },
    .blocks = (uint32_t) (disk_size / SHUFFLE_BLOCK),
    .places = nr_places (disk_size),
    .area = area_size (disk_size),
  };
  pthread_mutex_init (&s->lock, NULL);
  s->map = new_map (s);
  s->durable = new_map (s);
  s->snapshot = new_map (s);
  s->flying = new_map (s);
  s->place = xcalloc (s->places, sizeof *s->place);
  s->buf = xcalloc (1, s->area);
  r = shuffle_read (s);
  if (r < 0) {
    close_fs (&s->fs);
    return r;
  }
  *fs = &s->fs;
  return 0;
}
