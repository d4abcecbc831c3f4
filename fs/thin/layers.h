/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the overlay: what has changed on the disk since the trees were committed
 * last, in layers, the newest first.
 *
 *   layer      holds                                             leaves it
 *   FRESH      what is done, and not in the log                  flush: RECORDING
 *   RECORDING  what the flush that is on makes durable           its record is durable:
 *                                                                LOGGED; lost: FRESH
 *   LOGGED     what the log has, and no checkpoint               checkpoint: FROZEN
 *   FROZEN     what the checkpoint that is on puts in the trees  it is durable: gone
 *
 * and a place of the disk of which none of them says anything is as the trees say.
 *
 * An entry is OWN if its place is free as far as the trees (and FROZEN) know: it has
 * been handed out since, and is nobody's any more when the entry is replaced in its
 * layer.  What is not is MAPPED where the layers below, or the trees, have it
 * UNWRITTEN, at the same place.  UNWRITTEN is always OWN: what is not is ZERO_KEEP,
 * which looks below for its place.
 *
 * No locks: the caller's.
 */

#ifndef FOLIO_THIN_LAYERS_H
#define FOLIO_THIN_LAYERS_H

#include "fs/thin/range-map.h"

#define LAYER_OWN 1u

enum { LAYER_FRESH, LAYER_RECORDING, LAYER_LOGGED, LAYER_FROZEN, LAYERS };

struct layers {
  struct range_map map[LAYERS];
};

extern void layers_init (struct layers *l, struct range_nodes *nodes);
extern void layers_clear (struct layers *l);

/* In this layer the range is as e says from now on.  given_up: called for what was OWN
 * there, whose place is nobody's any more.  It takes two nodes, or one for each piece that
 * e is in then.
 */
extern void layer_set (struct range_map *layer, const struct range_entry *e,
                       range_fn *given_up, void *opaque);

/* What the layers say of pos, in *e as far as it says so, up to end.  False: none of
 * them says anything, and e->end is where that may change.
 */
extern bool layers_find (struct layers *l, uint64_t pos, uint64_t end,
                         struct range_entry *e);

/* The same; but ZERO_KEEP only where no layer says which place that is: either the trees
 * know, or there is none.
 */
extern bool layers_find_place (struct layers *l, uint64_t pos, uint64_t end,
                               struct range_entry *e);

/* Entries in all of them. */
extern size_t layers_count (const struct layers *l);

#endif /* FOLIO_THIN_LAYERS_H */
