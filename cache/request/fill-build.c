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

#include <errno.h>
#include <stdlib.h>

#include "cache/base/store-io.h"
#include "cache/request/fill-build.h"
#include "cache/request/grab.h"

/* --- the pool --- */

int
fill_pool_create (struct env *env, struct fill_pool **ret)
{
  struct fill_pool *pool = calloc (1, sizeof *pool);
  unsigned i;

  if (pool == NULL)
    return -ENOMEM;
  pool->env = env;
  pthread_mutex_init (&pool->lock, NULL);
  for (i = 0; i < POOL_FILLS; i++) {
    pool->all[i].next = pool->free;
    pool->free = &pool->all[i];
  }
  *ret = pool;
  return 0;
}

void
fill_pool_destroy (struct fill_pool *pool)
{
  if (pool == NULL)
    return;
  pthread_mutex_destroy (&pool->lock);
  free (pool);
}

struct fill *
fill_pool_get (struct fill_pool *pool)
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
pool_put (struct fill_pool *pool, struct fill *fill)
{
  pthread_mutex_lock (&pool->lock);
  fill->next = pool->free;
  pool->free = fill;
  atomic_fetch_sub (&pool->busy, 1);
  pool->env->wake (pool->env, &pool->busy);
  pthread_mutex_unlock (&pool->lock);
}

void
fill_pool_drain (struct fill_pool *pool)
{
  struct env *env = pool->env;
  uint32_t busy;

  while ((busy = atomic_load (&pool->busy)) != 0)
    env->wait (env, &pool->busy, busy, ENV_FOREVER);
  /* pool_put may still hold the lock. */
  pthread_mutex_lock (&pool->lock);
  pthread_mutex_unlock (&pool->lock);
}

/* --- fills that are waited for --- */

void
fill_group_start (struct fill_group *group)
{
  atomic_store (&group->done.word, 0);
  atomic_store (&group->pending, 1);
  atomic_store (&group->error, 0);
}

/* One of the fills is done: the group may be gone afterwards. */
static void
group_done (struct env *env, struct fill_group *group)
{
  if (atomic_fetch_sub (&group->pending, 1) == 1)
    completion_signal (env, &group->done);
}

int
fill_group_wait (struct env *env, struct fill_group *group)
{
  group_done (env, group);
  completion_wait (env, &group->done);
  return atomic_load (&group->error);
}

/* --- one fill --- */

void
fill_start (struct fill *fill, struct mapping *mapping,
            const struct iomap_iter *iter, struct fill_pool *pool,
            struct fill_group *group)
{
  fill->mapping = mapping;
  fill->pool = pool;
  fill->group = group;
  fill->counted = iomap_read_begin (iter);
  fill->losses = iter->losses;
  fill->nr_runs = fill->nr_reqs = 0;
  atomic_store (&fill->pending, 1);
  if (group)
    atomic_fetch_add (&group->pending, 1);
}

static bool
last_of_folio (const struct fill *fill, unsigned i)
{
  return i + 1 == fill->nr_runs ||
         fill->runs[i + 1].folio != fill->runs[i].folio;
}

/* All requests are complete. */
static void
fill_finish (struct fill *fill)
{
  struct mapping *mapping = fill->mapping;
  struct fill_group *group = fill->group;
  bool lost = iomap_lost (mapping->fs, fill->losses);
  unsigned i;

  for (i = 0; i < fill->nr_runs; i++) {
    struct fill_run *run = &fill->runs[i];

    if (fill->reqs[run->req].error == 0 && !lost)
      folio_filled (&mapping->folios, run->folio, run->first, run->last,
                    &fill->watch);
    if (last_of_folio (fill, i)) {
      folio_unlock (&mapping->folios, run->folio);
      folio_put (mapping->folios.arena, run->folio);
    }
  }
  iomap_read_end (mapping->fs, fill->counted);
  watch_end (&mapping->folios.watches, &fill->watch);
  if (fill->pool)
    pool_put (fill->pool, fill);
  if (group)
    group_done (mapping->env, group);
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

  store_io_done (mapping->stats, mapping->env, store_req, error);
  req->error = error;
  if (error && req->fill->group)
    atomic_store (&req->fill->group->error, error);
  fill_release (req->fill);
}

/* Several are better sent at once, and done side by side. */
void
fill_await (struct fill *fill)
{
  if (fill->nr_reqs == 1)
    fill->reqs[0].req.flags |= STORE_AWAITED;
}

void
fill_submit (struct fill *fill)
{
  struct store *store = fill->mapping->fs->store;
  struct store_req *batch[FILL_REQS];
  unsigned i, n = fill->nr_reqs;

  for (i = 0; i < n; i++)
    batch[i] = &fill->reqs[i].req;
  atomic_fetch_add (&fill->pending, n);
  if (n > 0)
    store_io_submit (store, batch, n);
  fill_release (fill);
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

/* False if there is no room for it. */
static bool
add_run (struct fill *fill, struct folio *folio, unsigned first, unsigned last,
         uint64_t addr)
{
  uint64_t length = sector_bytes (last - first);
  bool alone = !follows (fill, addr, length);
  unsigned i = fill->nr_runs;
  struct store_req *req;

  if (i == FILL_RUNS || (alone && fill->nr_reqs == FILL_REQS))
    return false;
  fill->nr_runs++;
  fill->iov[i].iov_base =
    sector_data (fill->mapping->folios.arena, folio, first);
  fill->iov[i].iov_len = length;
  if (alone) {
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
  return true;
}

/* Add what the folio, locked, misses of sectors [first, last).  Returns the
 * sector up to which that was possible.
 */
static unsigned
add_missing (struct fill *fill, const struct iomap_iter *iter,
             struct folio *folio, unsigned first, unsigned last)
{
  struct arena *arena = fill->mapping->folios.arena;
  uint64_t max = fill->mapping->fs->store->geo.max_io >> SECTOR_SHIFT;
  unsigned end;

  for (; first < last; first = end) {
    first = folio_find_sector (arena, folio, first, last, IN_UPTODATE, false);
    if (first == last)
      break;
    end = folio_find_sector (arena, folio, first, last, IN_UPTODATE, true);
    end = (unsigned) min_u64 (end, first + max);
    if (!add_run (fill, folio, first, end,
                  iomap_iter_addr (iter, sector_pos (folio, first))))
      break;
  }
  return first;
}

/* The sectors of the folio's pages [first_page, last_page] that lie in the
 * iterator's iomap (its ends rounded to blocks).
 */
static void
clip (const struct mapping *mapping, const struct iomap_iter *iter,
      const struct folio *folio, uint64_t first_page, uint64_t last_page,
      unsigned *first, unsigned *last)
{
  uint64_t bs = mapping->fs->block_size;
  uint64_t start = round_down (iter->iomap.offset, bs);
  uint64_t end = round_up (iter->iomap.offset + iter->iomap.length, bs);

  folio_clip (folio, max_u64 (start, first_page << PAGE_SHIFT),
              min_u64 (end, (last_page + 1) << PAGE_SHIFT), first, last);
}

/* The page after the folio that holds page. */
static uint64_t
page_after (struct mapping *mapping, uint64_t page)
{
  struct folio *folio = index_get (mapping->folios.index, page);

  if (folio) {
    page = folio_index (folio) + folio_pages (folio) - 1;
    folio_put (mapping->folios.arena, folio);
  }
  return page + 1;
}

/* Add what a folio, locked and with a reference, misses of the pages.  Lock and
 * reference go to the fill, or away if it gets nothing to read.  *page moves
 * behind the folio, unless the fill became full before that.
 */
static int
add_folio (struct fill *fill, const struct iomap_iter *iter,
           struct folio *folio, uint64_t *page, uint64_t last)
{
  struct mapping *mapping = fill->mapping;
  unsigned runs = fill->nr_runs, first_sector, last_sector;
  uint64_t next = folio_index (folio) + folio_pages (folio);
  int r = 0;

  /* The iomap must hold now that nobody can drop the folio any more. */
  if (!iomap_iter_valid (iter))
    r = -ESTALE;
  else {
    clip (mapping, iter, folio, *page, last, &first_sector, &last_sector);
    if (add_missing (fill, iter, folio, first_sector, last_sector) ==
        last_sector)
      *page = next;
  }
  if (fill->nr_runs == runs) {
    folio_unlock (&mapping->folios, folio);
    folio_put (mapping->folios.arena, folio);
  }
  return r;
}

int
fill_gather (struct fill *fill, const struct iomap_iter *iter, uint64_t *page,
             uint64_t last, bool ahead)
{
  struct mapping *mapping = fill->mapping;
  uint64_t before = *page;
  struct folio *folio;
  unsigned wait;
  int r = 0;

  watch_begin (&mapping->folios.watches, &fill->watch, *page << PAGE_SHIFT,
               (last + 1) << PAGE_SHIFT);
  do {
    before = *page;
    wait = !ahead && fill->nr_runs == 0 ? GRAB_WAIT_LOCK : 0;
    folio = mapping_grab_folio (
      mapping, *page, last, mapping->config.folio_max_order, ahead, wait, &r);
    if (folio)
      r = add_folio (fill, iter, folio, page, last);
    else if (ahead && r == -EAGAIN) {
      *page = page_after (mapping, *page);
      r = 0;
    }
  } while (r == 0 && before < *page && *page <= last);
  return fill->nr_runs > 0 && r != -ESTALE ? 0 : r;
}
