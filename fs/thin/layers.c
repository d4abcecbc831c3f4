/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the overlay.
 */

#include "fs/thin/layers.h"

void
layers_init (struct layers *l, struct range_nodes *nodes)
{
  unsigned i;

  for (i = 0; i < LAYERS; i++)
    range_map_init (&l->map[i], nodes);
}

void
layers_clear (struct layers *l)
{
  unsigned i;

  for (i = 0; i < LAYERS; i++)
    range_map_clear (&l->map[i]);
}

size_t
layers_count (const struct layers *l)
{
  size_t n = 0;
  unsigned i;

  for (i = 0; i < LAYERS; i++)
    n += l->map[i].count;
  return n;
}

/* --- changing one --- */

/* e, where old stands, of the same range.  Returns whether old's place is given up. */
static bool
replace (const struct range_entry *old, struct range_entry *e)
{
  bool own = old->flags & LAYER_OWN;

  if (e->kind == RANGE_ZERO_KEEP) {
    if (own) {
      e->kind = RANGE_UNWRITTEN;
      e->physical = old->physical;
      e->flags |= LAYER_OWN;
    }
    else if (old->kind == RANGE_HOLE)
      e->kind = RANGE_HOLE;
    return false;
  }
  if (own && e->kind >= RANGE_UNWRITTEN && e->physical == old->physical) {
    e->flags |= LAYER_OWN;
    return false;
  }
  return own;
}

void
layer_set (struct range_map *layer, const struct range_entry *e,
           range_fn *given_up, void *opaque)
{
  struct range_entry *found, piece, old;
  uint64_t pos = e->start;
  bool gone;

  for (; pos < e->end; pos = piece.end) {
    piece = *e;
    piece.physical = range_physical (e, pos);
    piece.start = pos;
    found = range_map_find (layer, pos);
    if (found && found->start < e->end) {
      if (found->start > pos)
        piece.end = found->start;
      else if (found->end < e->end)
        piece.end = found->end;
    }
    gone = false;
    if (found && found->start <= pos) {
      old = *found;
      old.physical = range_physical (found, pos);
      old.start = pos;
      old.end = piece.end;
      gone = replace (&old, &piece);
    }
    range_map_set (layer, &piece);
    if (gone)
      given_up (opaque, &old);
  }
}

/* --- looking --- */

/* What the first of the layers from `from' on that knows pos says.  Returns which, or
 * LAYERS.
 */
static unsigned
find_from (struct layers *l, unsigned from, uint64_t pos, uint64_t end,
           struct range_entry *e)
{
  struct range_entry *found;
  unsigned i;

  *e = (struct range_entry) { .start = pos, .end = end };
  for (i = from; i < LAYERS; i++) {
    found = range_map_find (&l->map[i], pos);
    if (found == NULL)
      continue;
    if (found->start > pos) {
      if (found->start < e->end)
        e->end = found->start;
      continue;
    }
    end = found->end < e->end ? found->end : e->end;
    *e = *found;
    e->physical = range_physical (found, pos);
    e->start = pos;
    e->end = end;
    break;
  }
  return i;
}

bool
layers_find (struct layers *l, uint64_t pos, uint64_t end,
             struct range_entry *e)
{
  return find_from (l, 0, pos, end, e) < LAYERS;
}

bool
layers_find_place (struct layers *l, uint64_t pos, uint64_t end,
                   struct range_entry *e)
{
  unsigned i = find_from (l, 0, pos, end, e);
  bool zero = i < LAYERS && e->kind == RANGE_ZERO_KEEP;
  struct range_entry below;

  if (!zero)
    return i < LAYERS;
  do
    i = find_from (l, i + 1, pos, e->end, &below);
  while (i < LAYERS && below.kind == RANGE_ZERO_KEEP);
  e->end = below.end;
  if (i == LAYERS)
    return true;
  e->kind = below.kind == RANGE_HOLE ? RANGE_HOLE : RANGE_UNWRITTEN;
  e->physical = below.physical;
  return true;
}
