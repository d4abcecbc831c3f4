/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: zero and trim, which change the overlay and nothing else.  The next flush makes
 * that durable.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Nodes that a zero may take: one for each map, two for the layer. */
#define ZERO_NODES 10

int
thin_zero (struct fs *fs, struct iomap_range *range, bool keep)
{
  struct thin *t = thin_of (fs);
  struct range_entry e = {
    .start = thin_first_block (range->start),
    .end = thin_end_block (range->end),
    .kind = keep ? RANGE_ZERO_KEEP : RANGE_HOLE,
  };
  int r = thin_usable (t);

  if (r < 0)
    return r;
  if (range->end > fs->size || range->start >= range->end)
    return -EINVAL;
  pthread_mutex_lock (&t->lock);
  if (!thin_room_to_zero (t, thin_claimed (t, e.start, e.end), keep))
    r = -ENOSPC;
  else if (range_nodes_promise (&t->nodes, ZERO_NODES)) {
    range_nodes_redeem (&t->nodes, ZERO_NODES);
    range_map_remove (&t->again, e.start, e.end, thin_give_up_place, t);
    thin_unreserve (t, e.start, e.end);
    layer_set (&t->layers.map[LAYER_FRESH], &e, thin_give_up_place, t);
    atomic_fetch_add (&t->cookie, 1);
  }
  else
    r = -ENOMEM;
  pthread_mutex_unlock (&t->lock);
  return r;
}

/* Does the overlay have zeroes there that are not in the log? */
bool
thin_unsettled (struct fs *fs, uint64_t start, uint64_t end)
{
  struct thin *t = thin_of (fs);
  uint64_t b = thin_first_block (start);
  struct range_entry *e;
  unsigned layer;
  bool any = false;

  end = end == UINT64_MAX ? t->blocks : thin_end_block (end);
  pthread_mutex_lock (&t->lock);
  for (layer = LAYER_FRESH; layer <= LAYER_RECORDING && !any; layer++)
    for (e = range_map_find (&t->layers.map[layer], b);
         e && e->start < end && !any; e = range_map_next (e))
      any = e->kind != RANGE_MAPPED;
  pthread_mutex_unlock (&t->lock);
  return any;
}
