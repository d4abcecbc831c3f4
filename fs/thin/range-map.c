/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: ranges of blocks, as a red-black tree.
 */

#include <stdlib.h>

#include "fs/thin/range-map.h"

/* Nodes that are there beyond what was promised: a change may need a few more than its
 * two, where what it covers is in pieces.
 */
#define SPARE_NODES 64

/* Disjoint, so order by end is order by start; by end, "the first that reaches beyond
 * pos" is one RB_NFIND.
 */
static int
compare (const struct range_entry *a, const struct range_entry *b)
{
  return a->end < b->end ? -1 : a->end > b->end;
}

RB_GENERATE_INTERNAL (range_tree, range_entry, link, compare,
                      static __attribute__ ((unused)))

/* --- nodes --- */

void
range_nodes_init (struct range_nodes *nodes)
{
  *nodes = (struct range_nodes) { .free = NULL };
}

void
range_nodes_destroy (struct range_nodes *nodes)
{
  struct range_entry *e;

  while ((e = nodes->free) != NULL) {
    nodes->free = e->link.rbe_left;
    free (e);
  }
}

static void
give_node (struct range_nodes *nodes, struct range_entry *e)
{
  e->link.rbe_left = nodes->free;
  nodes->free = e;
  nodes->nr_free++;
}

static struct range_entry *
take_node (struct range_nodes *nodes)
{
  struct range_entry *e = nodes->free;

  if (e == NULL)
    return malloc (sizeof *e);
  nodes->free = e->link.rbe_left;
  nodes->nr_free--;
  return e;
}

bool
range_nodes_promise (struct range_nodes *nodes, size_t n)
{
  struct range_entry *e;

  while (nodes->nr_free < nodes->promised + n + SPARE_NODES) {
    e = malloc (sizeof *e);
    if (e == NULL)
      return false;
    give_node (nodes, e);
  }
  nodes->promised += n;
  return true;
}

/* What many at once have left is not kept for ever. */
void
range_nodes_redeem (struct range_nodes *nodes, size_t n)
{
  nodes->promised -= n;
}

static void
free_node (struct range_nodes *nodes, struct range_entry *e)
{
  if (nodes->nr_free > 2 * (nodes->promised + SPARE_NODES))
    free (e);
  else
    give_node (nodes, e);
}

/* --- the map --- */

void
range_map_init (struct range_map *map, struct range_nodes *nodes)
{
  *map = (struct range_map) { .nodes = nodes };
  RB_INIT (&map->tree);
}

static void
count (struct range_map *map, const struct range_entry *e)
{
  map->blocks += e->end - e->start;
  map->spread += e->kind == RANGE_MAPPED ? e->end - e->start : 1;
}

static void
discount (struct range_map *map, const struct range_entry *e)
{
  map->blocks -= e->end - e->start;
  map->spread -= e->kind == RANGE_MAPPED ? e->end - e->start : 1;
}

static void
drop (struct range_map *map, struct range_entry *e)
{
  RB_REMOVE (range_tree, &map->tree, e);
  map->count--;
  discount (map, e);
  free_node (map->nodes, e);
}

void
range_map_clear (struct range_map *map)
{
  struct range_entry *e;

  while ((e = RB_ROOT (&map->tree)) != NULL)
    drop (map, e);
}

struct range_entry *
range_map_find (struct range_map *map, uint64_t pos)
{
  struct range_entry key = { .end = pos + 1 };

  return RB_NFIND (range_tree, &map->tree, &key);
}

struct range_entry *
range_map_next (struct range_entry *e)
{
  return RB_NEXT (range_tree, NULL, e);
}

static void
insert (struct range_map *map, const struct range_entry *e)
{
  struct range_entry *node = take_node (map->nodes);

  if (node == NULL) {
    map->nodes->starved = true;
    return;
  }
  *node = *e;
  RB_INSERT (range_tree, &map->tree, node);
  map->count++;
  count (map, node);
}

/* The part of e that is in [start, end). */
static struct range_entry
part_of (const struct range_entry *e, uint64_t start, uint64_t end)
{
  struct range_entry part = *e;

  if (start > e->start) {
    part.physical = range_physical (e, start);
    part.start = start;
  }
  if (end < e->end)
    part.end = end;
  return part;
}

/* e loses [start, end), of which it has some. */
static void
cut (struct range_map *map, struct range_entry *e, uint64_t start, uint64_t end)
{
  struct range_entry head = part_of (e, e->start, start);

  if (end >= e->end && start <= e->start) {
    drop (map, e);
    return;
  }
  discount (map, e);
  if (end >= e->end) /* its order stays */
    e->end = start;
  else if (end > e->start)
    *e = part_of (e, end, e->end);
  count (map, e);
  if (e->start >= end && head.start < head.end && start > head.start)
    insert (map, &head);
}

void
range_map_remove (struct range_map *map, uint64_t start, uint64_t end,
                  range_fn *fn, void *opaque)
{
  struct range_entry *e, part;

  while ((e = range_map_find (map, start)) != NULL && e->start < end) {
    part = part_of (e, start, end);
    cut (map, e, start, end);
    if (fn)
      fn (opaque, &part);
    start = part.end;
    if (start >= end)
      break;
  }
}

/* Does b go on where a ends, saying the same? */
static bool
goes_on (const struct range_entry *a, const struct range_entry *b)
{
  return a->end == b->start && a->kind == b->kind && a->flags == b->flags &&
         a->since == b->since && range_physical (a, a->end) == b->physical;
}

void
range_map_set (struct range_map *map, const struct range_entry *e)
{
  struct range_entry whole = *e, *other;

  if (e->start >=
      e->end) /* a range that ends there, too, could not be put in */
    return;
  if (whole.kind < RANGE_UNWRITTEN)
    whole.physical = 0;
  range_map_remove (map, e->start, e->end, NULL, NULL);
  other = e->start > 0 ? range_map_find (map, e->start - 1) : NULL;
  if (other && goes_on (other, &whole)) {
    whole.start = other->start;
    whole.physical = other->physical;
    drop (map, other);
  }
  other = range_map_find (map, whole.end);
  if (other && goes_on (&whole, other)) {
    whole.end = other->end;
    drop (map, other);
  }
  insert (map, &whole);
}

void
range_map_walk (struct range_map *map, uint64_t start, uint64_t end,
                range_fn *fn, void *opaque)
{
  struct range_entry *e, part;

  for (e = range_map_find (map, start); e && e->start < end;
       e = range_map_next (e)) {
    part = part_of (e, start, end);
    fn (opaque, &part);
  }
}

bool
range_map_any (struct range_map *map, uint64_t start, uint64_t end)
{
  struct range_entry *e = range_map_find (map, start);

  return e && e->start < end;
}

bool
range_map_all (struct range_map *map, uint64_t start, uint64_t end)
{
  struct range_entry *e = range_map_find (map, start);

  for (; e && e->start <= start; e = range_map_next (e)) {
    start = e->end;
    if (start >= end)
      return true;
  }
  return start >= end;
}

bool
range_map_take (struct range_map *map, struct range_entry *e)
{
  struct range_entry *first = RB_MIN (range_tree, &map->tree);

  if (first == NULL)
    return false;
  *e = *first;
  drop (map, first);
  return true;
}

static void
add_blocks (void *opaque, const struct range_entry *e)
{
  *(uint64_t *) opaque += e->end - e->start;
}

uint64_t
range_set_count (struct range_map *map, uint64_t start, uint64_t end)
{
  uint64_t blocks = 0;

  range_map_walk (map, start, end, add_blocks, &blocks);
  return blocks;
}
