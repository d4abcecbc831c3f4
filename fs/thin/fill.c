/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: free space of the trees is found for the pool, and taken from it for metadata.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Blocks that the pool should have, and ranges that are looked for at once. */
#define POOL_BLOCKS 16384
#define RANGES 256

/* A search for it: by laps around the store.  One that brings nothing has been all
 * around: then for shorter ranges, or there are none.
 */
struct search {
  uint64_t from, min; /* blocks */
  uint64_t found;     /* in this lap */
  bool whole;         /* the lap began at the start */
};

/* Look on.  Returns 1 if that is enough, 0, or a negative errno. */
static int
look_on (struct thin *t, struct search *search)
{
  struct thin_range ranges[RANGES];
  struct thin_space_map *space = &t->space;
  uint64_t next, before;
  int i, r,
    n = thin_meta_find_free (t->meta, search->from, search->min, ranges, RANGES,
                             &next);

  if (n < 0)
    return n;
  pthread_mutex_lock (&t->lock);
  before = space->pool.blocks;
  for (i = 0; i < n; i++)
    space_found (space, ranges[i].start, ranges[i].start + ranges[i].length);
  search->found += space->pool.blocks - before;
  search->from = next;
  r = space->pool.blocks >= POOL_BLOCKS;
  pthread_mutex_unlock (&t->lock);
  return r;
}

/* The end was reached: begin the next lap.  Returns false if there is nothing more. */
static bool
next_lap (struct search *search)
{
  bool barren = search->whole && search->found == 0;

  if (barren && search->min == 1)
    return false;
  if (barren)
    search->min = 1;
  search->from = search->found = 0;
  search->whole = true;
  return true;
}

int
thin_fill_pool (struct thin *t)
{
  struct search search = { .found = 0 };
  bool more = true;
  int r = 0;

  pthread_mutex_lock (&t->lock);
  search.from = t->space.from;
  search.min = t->space.min;
  pthread_mutex_unlock (&t->lock);
  search.whole = search.from == 0;
  while (r == 0 && more) {
    r = look_on (t, &search);
    if (r == 0 && search.from == UINT64_MAX)
      more = next_lap (&search);
  }
  pthread_mutex_lock (&t->lock);
  t->space.from = search.from == UINT64_MAX ? 0 : search.from;
  t->space.min = search.min;
  t->space.exhausted = !more;
  pthread_mutex_unlock (&t->lock);
  return r < 0 ? r : 0;
}

/* Space for metadata: none that is reserved, as long as there is some that is not. */
static int
take_for_metadata (void *opaque, uint64_t want, struct thin_range *range)
{
  struct thin *t = opaque;
  uint64_t n, left;

  pthread_mutex_lock (&t->lock);
  left = space_left (&t->space);
  left = left > t->reserved.blocks ? left - t->reserved.blocks : 1;
  want = want < left ? want : left;
  n = space_take (&t->space, want, &range->start);
  pthread_mutex_unlock (&t->lock);
  if (n == 0) {
    thin_fill_pool (t);
    pthread_mutex_lock (&t->lock);
    n = space_take (&t->space, want, &range->start);
    pthread_mutex_unlock (&t->lock);
  }
  if (n == 0)
    return -ENOSPC;
  range->length = n;
  pthread_mutex_lock (&t->lock);
  range_set_add (&t->space.metadata, range->start, range->start + n);
  pthread_mutex_unlock (&t->lock);
  return 0;
}

void
thin_set_space (struct thin *t)
{
  struct thin_space space = { .take = take_for_metadata, .opaque = t };

  thin_meta_set_space (t->meta, &space);
}
