/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Fills.  A fill gathers the missing runs of several folios, which it holds
 * locked, into as few store requests as their places allow.  The last of its
 * requests to complete marks the folios uptodate and unlocks them, on whatever
 * thread that is; so nobody who waits for memory, or for another lock, sits on
 * a lock meanwhile.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cache/mapping.h"

#define FILL_FOLIOS 32
#define FILL_RUNS 32
#define FILL_REQS 16
#define POOL_FILLS 32

/* A run of missing sectors of one folio. */
struct fill_run {
  struct folio *folio;
  unsigned first, last;
  int req; /* by which request it is read */
};

struct fill {
  struct mapping *mapping;
  struct fill_pool *pool; /* to go back to; NULL: someone waits */
  struct fill *next;
  struct completion done;
  _Atomic unsigned pending; /* requests, and one while being built */
  _Atomic int error;
  unsigned nr_folios, nr_runs, nr_reqs;
  struct folio *folios[FILL_FOLIOS];
  struct fill_run runs[FILL_RUNS];
  struct iovec iov[FILL_RUNS]; /* of the same run */
  struct fill_req {
    struct store_req req; /* first */
    struct fill *fill;
    int error;
  } reqs[FILL_REQS];
};

/* --- the pool --- */

int
fill_pool_init (struct fill_pool *pool)
{
  unsigned i;

  pthread_mutex_init (&pool->lock, NULL);
  pool->all = calloc (POOL_FILLS, sizeof *pool->all);
  if (pool->all == NULL)
    return -ENOMEM;
  for (i = 0; i < POOL_FILLS; i++) {
    pool->all[i].next = pool->free;
    pool->free = &pool->all[i];
  }
  return 0;
}

void
fill_pool_destroy (struct fill_pool *pool)
{
  free (pool->all);
  pthread_mutex_destroy (&pool->lock);
}

static struct fill *
pool_get (struct fill_pool *pool)
{
  struct fill *fill;

  pthread_mutex_lock (&pool->lock);
  fill = pool->free;
  if (fill) {
    pool->free = fill->next;
    atomic_fetch_add (&pool->busy, 1);
  }
  pthread_mutex_unlock (&pool->lock);
  return fill;
}

static void
pool_put (struct env *env, struct fill_pool *pool, struct fill *fill)
{
  pthread_mutex_lock (&pool->lock);
  fill->next = pool->free;
  pool->free = fill;
  atomic_fetch_sub (&pool->busy, 1);
  env->wake (env, &pool->busy);
  pthread_mutex_unlock (&pool->lock);
}

void
fill_pool_drain (struct mapping *mapping)
{
  struct fill_pool *pool = &mapping->fills;
  uint32_t busy;

  while ((busy = atomic_load (&pool->busy)) != 0)
    mapping->env->wait (mapping->env, &pool->busy, busy, ENV_FOREVER);
  /* pool_put may still hold the lock. */
  pthread_mutex_lock (&pool->lock);
  pthread_mutex_unlock (&pool->lock);
}

/* --- one fill --- */

static void
fill_start (struct fill *fill, struct mapping *mapping, struct fill_pool *pool)
{
  fill->mapping = mapping;
  fill->pool = pool;
  fill->nr_folios = fill->nr_runs = fill->nr_reqs = 0;
  atomic_store (&fill->done.word, 0);
  atomic_store (&fill->pending, 1);
  atomic_store (&fill->error, 0);
}

static bool
fill_full (const struct fill *fill)
{
  return fill->nr_folios == FILL_FOLIOS || fill->nr_runs == FILL_RUNS ||
         fill->nr_reqs == FILL_REQS;
}

/* All requests are complete. */
static void
fill_finish (struct fill *fill)
{
  struct mapping *mapping = fill->mapping;
  unsigned i;

  for (i = 0; i < fill->nr_runs; i++) {
    struct fill_run *run = &fill->runs[i];

    if (fill->reqs[run->req].error == 0)
      folio_transition (mapping, run->folio, run->first, run->last,
                        FOLIO_FILLED);
  }
  for (i = 0; i < fill->nr_folios; i++) {
    folio_unlock (mapping, fill->folios[i]);
    folio_put (mapping->arena, fill->folios[i]);
  }
  if (fill->pool)
    pool_put (mapping->env, fill->pool, fill);
  else
    completion_signal (mapping->env, &fill->done);
}

static void
fill_release (struct fill *fill)
{
  if (atomic_fetch_sub (&fill->pending, 1) == 1)
    fill_finish (fill);
}

static void
fill_req_done (struct store_req *store_req, int error)
{
  struct fill_req *req = (struct fill_req *) store_req;
  struct mapping *mapping = req->fill->mapping;

  stats_store_done (mapping->stats, mapping->env, store_req, error);
  req->error = error;
  if (error)
    atomic_store (&req->fill->error, error);
  fill_release (req->fill);
}

/* Send it.  The fill may be gone afterwards, if nobody waits for it. */
static void
fill_submit (struct fill *fill)
{
  struct store *store = fill->mapping->fs->store;
  struct store_req *batch[FILL_REQS];
  unsigned i, n = fill->nr_reqs;

  for (i = 0; i < n; i++)
    batch[i] = &fill->reqs[i].req;
  atomic_fetch_add (&fill->pending, n);
  if (n > 0)
    stats_submit (store, batch, n);
  fill_release (fill);
}

/* Send it and wait. */
static int
fill_submit_wait (struct fill *fill)
{
  fill_submit (fill);
  completion_wait (fill->mapping->env, &fill->done);
  return atomic_load (&fill->error);
}

/* Can the run at addr be part of the last request? */
static bool
follows (const struct fill *fill, uint64_t addr, uint64_t length)
{
  const struct store_req *req;

  if (fill->nr_reqs == 0)
    return false;
  req = &fill->reqs[fill->nr_reqs - 1].req;
  return req->offset + req->length == addr &&
         req->length + length <= fill->mapping->fs->store->geo.max_io;
}

static void
add_run (struct fill *fill, struct folio *folio, unsigned first, unsigned last,
         uint64_t addr)
{
  unsigned i = fill->nr_runs++;
  uint64_t length = (uint64_t) (last - first) << SECTOR_SHIFT;
  struct store_req *req;

  fill->iov[i].iov_base =
    arena_data (fill->mapping->arena, folio) + ((size_t) first << SECTOR_SHIFT);
  fill->iov[i].iov_len = length;
  if (!follows (fill, addr, length)) {
    struct fill_req *new = &fill->reqs[fill->nr_reqs++];

    new->fill = fill;
    new->error = 0;
    new->req = (struct store_req) {
      .op = STORE_READ,
      .offset = addr,
      .iov = &fill->iov[i],
      .done = fill_req_done,
    };
  }
  req = &fill->reqs[fill->nr_reqs - 1].req;
  req->length += length;
  req->niov++;
  fill->runs[i] = (struct fill_run) {
    .folio = folio,
    .first = first,
    .last = last,
    .req = (int) fill->nr_reqs - 1,
  };
}

static uint64_t
store_addr (const struct iomap_iter *iter, uint64_t pos)
{
  return iter->iomap.addr + (pos - iter->iomap.offset);
}

/* Add what the folio, locked, misses of sectors [first, last).  Returns the
 * sector up to which that was possible.
 */
static unsigned
add_missing (struct fill *fill, const struct iomap_iter *iter,
             struct folio *folio, unsigned first, unsigned last)
{
  struct arena *arena = fill->mapping->arena;
  uint64_t max = fill->mapping->fs->store->geo.max_io >> SECTOR_SHIFT;
  unsigned end;

  for (; first < last; first = end) {
    first = folio_find_sector (arena, folio, first, last, STATE_UPTODATE_SHIFT,
                               false);
    if (first == last || fill_full (fill))
      break;
    end =
      folio_find_sector (arena, folio, first, last, STATE_UPTODATE_SHIFT, true);
    end = (unsigned) min_u64 (end, first + max);
    add_run (fill, folio, first, end,
             store_addr (
               iter, folio_pos (folio) + ((uint64_t) first << SECTOR_SHIFT)));
  }
  return first;
}

/* The sectors of the folio's pages [first_page, last_page] that lie in the
 * iterator's mapping (its ends rounded to blocks).
 */
static void
clip (const struct mapping *mapping, const struct iomap_iter *iter,
      const struct folio *folio, uint64_t first_page, uint64_t last_page,
      unsigned *first, unsigned *last)
{
  uint64_t bs = mapping->fs->block_size;
  uint64_t pos = folio_pos (folio);
  uint64_t start = max_u64 (pos, iter->iomap.offset / bs * bs);
  uint64_t end = iter->iomap.offset + iter->iomap.length;

  end = min_u64 (folio_end (folio), (end + bs - 1) / bs * bs);
  start = max_u64 (start, first_page << PAGE_SHIFT);
  end = min_u64 (end, (last_page + 1) << PAGE_SHIFT);
  *first = (unsigned) ((start - pos) >> SECTOR_SHIFT);
  *last = (unsigned) ((end - pos) >> SECTOR_SHIFT);
}

static void
add_folio (struct fill *fill, struct folio *folio)
{
  fill->folios[fill->nr_folios++] = folio; /* with lock and reference */
}

/* Grab folios of pages [*page, last] and add what they miss, until the fill is
 * full or, with it not empty, something would have to be waited for.  *page
 * moves on.
 */
static int
gather (struct fill *fill, const struct iomap_iter *iter, uint64_t *page,
        uint64_t last, bool ahead)
{
  struct mapping *mapping = fill->mapping;
  struct folio *folio;
  unsigned first_sector, last_sector;
  unsigned wait;
  int r = 0;

  while (*page <= last && !fill_full (fill)) {
    wait = !ahead && fill->nr_folios == 0 ? GRAB_WAIT_LOCK : 0;
    folio = mapping_grab_folio (
      mapping, *page, last, mapping->config.folio_max_order, ahead, wait, &r);
    if (folio == NULL)
      return fill->nr_folios > 0 ? 0 : r;
    add_folio (fill, folio);
    /* The mapping must hold now that nobody can drop the folio any more. */
    if (!iomap_iter_valid (iter))
      return -ESTALE;
    clip (mapping, iter, folio, *page, last, &first_sector, &last_sector);
    if (add_missing (fill, iter, folio, first_sector, last_sector) <
        last_sector)
      return 0;
    *page = folio_index (folio) + folio_pages (folio);
  }
  return 0;
}

int
fill_pages (struct mapping *mapping, const struct iomap_iter *iter,
            uint64_t first, uint64_t last)
{
  struct fill fill;
  int r, error;

  while (first <= last) {
    fill_start (&fill, mapping, NULL);
    r = gather (&fill, iter, &first, last, false);
    error = fill_submit_wait (&fill);
    if (r < 0 || error < 0)
      return r < 0 ? r : error;
  }
  return 0;
}

/* One mapping's worth of readahead.  Returns false when it should end. */
static bool
ahead_in_mapping (struct mapping *mapping, const struct iomap_iter *iter,
                  uint64_t first, uint64_t last)
{
  struct fill *fill;
  unsigned i;
  int r = 0;

  while (first <= last && r == 0) {
    fill = pool_get (&mapping->fills);
    if (fill == NULL)
      return false;
    fill_start (fill, mapping, &mapping->fills);
    r = gather (fill, iter, &first, last, true);
    for (i = 0; i < fill->nr_runs; i++) {
      struct folio *folio = fill->runs[i].folio;

      if (!(atomic_fetch_or (&folio->flags, FOLIO_UNREAD) & FOLIO_UNREAD))
        stats_add (mapping->stats, STAT_READAHEAD_PAGES, folio_pages (folio));
    }
    if (fill->nr_folios == 0)
      r = -EAGAIN;
    fill_submit (fill);
  }
  return r == 0;
}

void
fill_ahead (struct mapping *mapping, uint64_t first, uint64_t count,
            uint64_t marker)
{
  struct iomap_iter iter;
  struct folio *folio;
  uint64_t end = min_u64 ((first + count) << PAGE_SHIFT, mapping->size);
  bool more = true;

  if (first << PAGE_SHIFT >= end)
    return;
  iomap_iter_init (&iter, mapping->fs, first << PAGE_SHIFT,
                   end - (first << PAGE_SHIFT), IOMAP_NOWAIT);
  while (more && iomap_iter_next (&iter) > 0) {
    uint64_t n = iomap_iter_length (&iter);

    if (iter.iomap.type == IOMAP_MAPPED)
      more = ahead_in_mapping (mapping, &iter, iter.pos >> PAGE_SHIFT,
                               (iter.pos + n - 1) >> PAGE_SHIFT);
    iter.processed = n;
  }
  iomap_iter_stop (&iter);

  folio = index_get (mapping->index, marker);
  if (folio) {
    atomic_fetch_or (&folio->flags, FOLIO_READAHEAD);
    folio_put (mapping->arena, folio);
  }
}

int
fill_sectors (struct mapping *mapping, const struct iomap_iter *iter,
              struct folio *folio, unsigned first, unsigned last)
{
  struct iovec iov = {
    .iov_base =
      arena_data (mapping->arena, folio) + ((size_t) first << SECTOR_SHIFT),
    .iov_len = (size_t) (last - first) << SECTOR_SHIFT,
  };
  struct store_req req = {
    .op = STORE_READ,
    .offset =
      store_addr (iter, folio_pos (folio) + ((uint64_t) first << SECTOR_SHIFT)),
    .length = iov.iov_len,
    .iov = &iov,
    .niov = 1,
  };
  int r = stats_submit_wait (mapping, &req);

  if (r == 0)
    folio_transition (mapping, folio, first, last, FOLIO_FILLED);
  return r;
}
