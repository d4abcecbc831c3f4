/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a thin image may say: states, and changes of them.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "thin-cut.h"

/* --- does it say so? --- */

static uint64_t
place_in (const struct thin_extent *e, uint64_t block)
{
  return e->type == IOMAP_MAPPED ? e->physical + (block - e->logical) : 0;
}

/* 1, 0, or a negative errno. */
static int
map_holds (struct world *w, struct thin_meta *m, const struct thin_root *root,
           const struct cut_map *map)
{
  struct thin_extent e;
  uint64_t b, i;
  int r;

  for (b = 0; b < map->blocks; b += e.length) {
    r = thin_meta_lookup (m, root, b, map->blocks - b, false, &e);
    if (r < 0)
      return r;
    if (e.logical != b || e.length == 0 || e.length > map->blocks - b)
      world_fail (w, WORLD_ALL, "asked for %llu, got %llu, %llu blocks",
                  (unsigned long long) b, (unsigned long long) e.logical,
                  (unsigned long long) e.length);
    for (i = b; i < b + e.length; i++)
      if (place_in (&e, i) != map->at[i]) {
        world_note (w, "  is elsewhere: block", i, 1,
                    (int64_t) place_in (&e, i));
        world_note (w, "  and should be at", i, 1, (int64_t) map->at[i]);
        return 0;
      }
  }
  return 1;
}

static int
snapshots_hold (struct world *w, struct thin_meta *m,
                const struct cut_state *state)
{
  struct thin_snapshot s;
  unsigned i;
  int r;

  for (i = 0; i < state->nr_snapshots; i++) {
    const struct cut_map *map = &state->snapshots[i].map;

    r = thin_snapshot_find (m, state->snapshots[i].name, &s);
    if (r == -ENOENT || (r == 0 && s.disk_bytes != map->blocks * THIN_BLOCK))
      return 0;
    if (r == 0)
      r = map_holds (w, m, &s.root, map);
    if (r <= 0)
      return r;
  }
  return 1;
}

int
cut_state_holds (struct world *w, struct thin_meta *m,
                 const struct cut_state *state)
{
  struct thin_super super;
  int r;

  thin_meta_super (m, &super);
  if (super.disk_bytes != state->head.blocks * THIN_BLOCK ||
      super.snapshot_count != state->nr_snapshots)
    return 0;
  r = map_holds (w, m, NULL, &state->head);
  return r <= 0 ? r : snapshots_hold (w, m, state);
}

/* --- changes --- */

static void
choose_range (struct world *w, const struct cut_map *map, uint64_t *start,
              uint64_t *length)
{
  *start = world_below (w, map->blocks);
  *length = world_chance (w, 60) ? 1 : rng_log (&w->rng, 64);
  if (world_chance (w, 1))
    *length = map->blocks;
  if (*length > map->blocks - *start)
    *length = map->blocks - *start;
}

static void
set (struct cut_map *map, uint64_t start, uint64_t length, uint64_t place)
{
  uint64_t i;

  for (i = 0; i < length; i++)
    map->at[start + i] = place ? place + i : 0;
}

static int
map_some (struct world *w, struct thin_meta *m, struct thin_txn *t,
          struct cut_map *map, uint64_t start, uint64_t length)
{
  bool unwritten = world_chance (w, 10);
  struct thin_range range;
  int r;

  for (; length > 0; start += range.length, length -= range.length) {
    r = thin_meta_take (m, length, &range);
    if (r == 0)
      r = thin_txn_map (t, start, range.length, range.start, unwritten);
    if (r < 0)
      return r;
    set (map, start, range.length, unwritten ? 0 : range.start);
  }
  return 0;
}

static int
change_once (struct world *w, struct thin_meta *m, struct thin_txn *t,
             struct cut_map *map)
{
  uint64_t start, length;

  choose_range (w, map, &start, &length);
  switch (world_below (w, 10)) {
  case 0:
  case 1: set (map, start, length, 0); return thin_txn_hole (t, start, length);
  case 2:
    set (map, start, length, 0);
    return thin_txn_zero_keep (t, start, length);
  default: return map_some (w, m, t, map, start, length);
  }
}

static int
resize (struct world *w, struct thin_txn *t, struct cut_map *map)
{
  uint64_t blocks = 1 + world_below (w, CUT_DISK);

  if (blocks > map->blocks)
    set (map, map->blocks, blocks - map->blocks, 0);
  map->blocks = blocks;
  return thin_txn_resize (t, blocks * THIN_BLOCK);
}

int
cut_change (struct world *w, struct thin_meta *m, struct thin_txn *t,
            struct cut_state *state)
{
  uint64_t n = rng_log (&w->rng, 200);
  int r = 0;

  if (world_chance (w, 3))
    return resize (w, t, &state->head);
  for (; n > 0 && r == 0; n--)
    r = change_once (w, m, t, &state->head);
  return r;
}

static int
make_snapshot (struct world *w, struct thin_meta *m, struct cut_state *state)
{
  unsigned i = state->nr_snapshots++;

  snprintf (state->snapshots[i].name, sizeof state->snapshots[i].name, "s%05u",
            ++state->serial % 100000);
  state->snapshots[i].map = state->head;
  return thin_snapshot_create (m, state->snapshots[i].name, w->clock);
}

int
cut_snapshot (struct world *w, struct thin_meta *m, struct cut_state *state)
{
  unsigned i = (unsigned) world_below (w, state->nr_snapshots);
  char name[sizeof state->snapshots[0].name];

  if (state->nr_snapshots == 0 ||
      (state->nr_snapshots < CUT_SNAPSHOTS && world_chance (w, 50)))
    return make_snapshot (w, m, state);
  memcpy (name, state->snapshots[i].name, sizeof name);
  if (world_chance (w, 30)) {
    state->head = state->snapshots[i].map;
    return thin_snapshot_revert (m, name);
  }
  state->snapshots[i] = state->snapshots[--state->nr_snapshots];
  return thin_snapshot_delete (m, name);
}
