/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: zeroes and trims.  They are acknowledged at once, and pending (pending.h)
 * until the store has done (send.c) and flushed them.
 */

#include <errno.h>

#include "fs/num.h"
#include "fs/raw/raw-impl.h"

/* Zeroes that are not durable: that many ranges. */
#define MAX_PENDING 32768

#define PAGE_BYTES 4096

bool
raw_zeroes_init (struct raw *raw)
{
  struct raw_zeroes *z = &raw->zeroes;
  unsigned i;

  pthread_mutex_init (&z->lock, NULL);
  STAILQ_INIT (&z->idle);
  STAILQ_INIT (&z->finished);
  STAILQ_INIT (&z->again);
  z->expire = ENV_FOREVER;
  z->size = (struct zero_size) ZERO_SIZE_INIT;
  for (i = 0; i < RAW_SENDS; i++) {
    z->sends[i].raw = raw;
    STAILQ_INSERT_TAIL (&z->idle, &z->sends[i], link);
  }
  return pending_init (&z->pending, MAX_PENDING);
}

void
raw_zeroes_destroy (struct raw *raw)
{
  pending_destroy (&raw->zeroes.pending);
  pthread_mutex_destroy (&raw->zeroes.lock);
}

uint32_t
raw_pages (uint64_t bytes)
{
  uint64_t pages = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;

  return (uint32_t) min_u64 (pages, INT32_MAX);
}

/* ------------------------------ below this line: the lock is held ---------- */

static uint32_t
cost_of (const struct raw *raw, size_t count, uint64_t bytes)
{
  return atomic_load (&raw->fs.can_fast_zero) ? (uint32_t) count
                                              : raw_pages (bytes);
}

void
raw_zeroes_changed (struct raw *raw)
{
  struct pending *p = &raw->zeroes.pending;
  struct fs *fs = &raw->fs;

  /* First: who finds nothing looks at that then. */
  atomic_store (&fs->undone, p->doubts);
  atomic_store (&raw->zeroes.count, p->count + p->written + p->flushing);
  atomic_store (&fs->unstable, cost_of (raw, p->nr_done, p->done_bytes));
  atomic_store (&fs->unsaved, cost_of (raw, p->count, p->bytes));
}

/* -------------------- above this line: the lock is held -------------------- */

/* ------------------------------------------------------------- any thread */

int
raw_zero (struct fs *fs, struct iomap_range *range, bool keep)
{
  struct raw *raw = raw_of (fs);
  struct raw_zeroes *z = &raw->zeroes;
  struct env *env = fs->store->env;
  bool ok;

  if (range->start >= range->end || range->end > fs->size)
    return -EINVAL;
  pthread_mutex_lock (&z->lock);
  ok = pending_add (&z->pending, range, keep, env->now (env));
  if (ok) {
    raw_zeroes_changed (raw);
    atomic_fetch_add (&z->cookie, 1);
  }
  pthread_mutex_unlock (&z->lock);
  return ok ? 0 : -EAGAIN;
}

void
raw_zero_end (struct fs *fs, struct iomap_range *range)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  bool refused, first;

  pthread_mutex_lock (&z->lock);
  refused = pending_added (&z->pending, range);
  first = !z->armed;
  z->armed = true;
  pthread_mutex_unlock (&z->lock);
  if (refused || first)
    fs_ring (fs);
}

bool
raw_zeroes_at (struct raw *raw, uint64_t pos, uint64_t *length, bool *keep)
{
  struct raw_zeroes *z = &raw->zeroes;
  bool in;

  if (atomic_load (&z->count) == 0)
    return false;
  pthread_mutex_lock (&z->lock);
  in = pending_at (&z->pending, pos, length, keep);
  pthread_mutex_unlock (&z->lock);
  return in;
}

int
raw_zeroes_map (struct raw *raw, uint64_t start, uint64_t end, bool direct)
{
  struct raw_zeroes *z = &raw->zeroes;
  bool ok, again;
  int r;

  pthread_mutex_lock (&z->lock);
  ok = pending_map (&z->pending, start, end, !direct);
  r = ok ? 0 : z->pending.starved ? -ENOMEM : -EAGAIN;
  if (ok) {
    extents_set (raw->extents, start, end - start, IOMAP_MAPPED);
    raw_zeroes_changed (raw);
    atomic_fetch_add (&z->cookie, 1);
  }
  else if (direct)
    pending_want (&z->pending, start, end);
  again = z->pending.overtaken || (direct && !ok);
  if (z->pending.full && z->pending.nr_done > 0)
    atomic_store (&raw->fs.wants_flush, true);
  if (z->pending.full && pending_stuck (&z->pending))
    r = pending_stuck (&z->pending);
  pthread_mutex_unlock (&z->lock);
  if (again)
    fs_ring (&raw->fs);
  return r;
}

bool
raw_zeroes_written (struct raw *raw, uint64_t start, uint64_t end, int error)
{
  struct raw_zeroes *z = &raw->zeroes;
  bool any, again;

  extents_set (raw->extents, start, end - start, IOMAP_MAPPED);
  pthread_mutex_lock (&z->lock);
  any = z->pending.count > 0;
  /* Of a loss that is still to be told of, too: both may be gone. */
  if (error == 0 && store_losses (raw->fs.store) != z->losses)
    error = -ECONNRESET;
  again = pending_written (&z->pending, start, end, error);
  atomic_fetch_add (&z->cookie, 1);
  raw_zeroes_changed (raw);
  pthread_mutex_unlock (&z->lock);
  if (any) {
    fs_changed (&raw->fs);
    fs_ring (&raw->fs);
  }
  return again;
}

void
raw_take (struct fs *fs)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;

  pthread_mutex_lock (&z->lock);
  pending_take (&z->pending);
  pthread_mutex_unlock (&z->lock);
}

/* To whole blocks; all of the disk is up to UINT64_MAX. */
static void
round_out (const struct fs *fs, uint64_t *start, uint64_t *end)
{
  uint64_t bs = fs->block_size;

  *start = round_down (*start, bs);
  *end = *end > fs->size - bs ? UINT64_MAX : round_up (*end, bs);
}

uint64_t
raw_settle (struct fs *fs, uint64_t start, uint64_t end)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  uint64_t ticket;

  round_out (fs, &start, &end);
  pthread_mutex_lock (&z->lock);
  ticket = pending_want (&z->pending, start, end);
  z->failed_in_row = 0;
  pthread_mutex_unlock (&z->lock);
  return ticket;
}

int
raw_settled (struct fs *fs, uint64_t start, uint64_t end, uint64_t ticket)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  int r;

  round_out (fs, &start, &end);
  pthread_mutex_lock (&z->lock);
  r = pending_settled (&z->pending, start, end, ticket);
  pthread_mutex_unlock (&z->lock);
  return r;
}

void
raw_hurry (struct fs *fs)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;

  pthread_mutex_lock (&z->lock);
  pending_want_all (&z->pending);
  pthread_mutex_unlock (&z->lock);
}

bool
raw_unsettled (struct fs *fs, uint64_t start, uint64_t end)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  bool any;

  if (atomic_load (&z->count) == 0)
    return false;
  pthread_mutex_lock (&z->lock);
  any = pending_in (&z->pending, start, end);
  pthread_mutex_unlock (&z->lock);
  return any;
}

/* Not under the lock, but range by range: fn may take its time. */
void
raw_unsaved (struct fs *fs, iomap_range_fn *fn, void *opaque)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  const struct pending_zero *x;
  uint64_t pos = 0, start = 0;
  bool any;

  do {
    pthread_mutex_lock (&z->lock);
    x = pending_from (&z->pending, pos);
    any = x != NULL;
    if (any) {
      start = max_u64 (x->start, pos);
      pos = x->end;
    }
    pthread_mutex_unlock (&z->lock);
    if (any)
      fn (opaque, start, pos - start);
  } while (any);
}
