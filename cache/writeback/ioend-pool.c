/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * ioends: where they come from.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/base/arena.h"
#include "fs/num.h"
#include "cache/writeback/ioend-pool.h"
#include "fs/iomap.h"

/* The largest single store write: the store's best, but leaving room for
 * several in the bounce arena.
 */
static uint32_t
choose_max_io (const struct writeback *wb)
{
  const struct store_geometry *geo = &wb->fs->store->geo;
  uint32_t share = wb->bounce->nr_pages / 8 * PAGE_SIZE;
  uint64_t max = min_u64 (geo->best_io, geo->max_io);

  max = min_u64 (max, min_u64 (share, PAGE_SIZE << MAX_ORDER));
  return (uint32_t) max_u64 (round_down (max, PAGE_SIZE), PAGE_SIZE);
}

/* Behind the ioends stand the ranges and runs of each. */
int
ioends_init (struct writeback *wb)
{
  struct ioends *ioends = &wb->ioends;
  size_t i, n = wb->config.io_depth, max_runs = wb->fs->max_runs;
  struct range *ranges;
  struct iomap_run *runs;

  ioends->nr = (unsigned) n;
  ioends->max_io = choose_max_io (wb);
  ioends->all = calloc (
    n, sizeof *ioends->all + max_runs * (sizeof *ranges + sizeof *runs));
  if (ioends->all == NULL)
    return -ENOMEM;
  ranges = (struct range *) (ioends->all + n);
  runs = (struct iomap_run *) (ranges + n * max_runs);
  for (i = 0; i < n; i++) {
    struct ioend *ioend = &ioends->all[i];

    ioend->wb = wb;
    ioend->ranges = ranges + i * max_runs;
    ioend->runs = runs + i * max_runs;
    ioend->next = ioends->free;
    ioends->free = ioend;
  }
  return 0;
}

void
ioends_destroy (struct writeback *wb)
{
  free (wb->ioends.all);
}

struct ioend *
ioend_get (struct writeback *wb, uint64_t bytes, const struct wb_pass *pass)
{
  struct ioend *ioend = wb->ioends.free;

  ioend->buffer = arena_alloc (wb->bounce, arena_order (bytes));
  if (ioend->buffer == NULL)
    return NULL;
  wb->ioends.free = ioend->next;
  ioend->kind = pass->kind;
  ioend->fua = pass->fua;
  ioend->nr_runs = 0;
  ioend->length = 0;
  return ioend;
}

void
ioend_free (struct writeback *wb, struct ioend *ioend)
{
  struct arena *bounce = ioend->wb->bounce;

  if (ioend->buffer)
    folio_put (bounce, ioend->buffer);
  ioend->buffer = NULL;
  ioend->next = wb->ioends.free;
  wb->ioends.free = ioend;
}
