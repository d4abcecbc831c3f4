/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: ranges of blocks and what is known of them, in order, disjoint; neighbours that
 * say the same are one.  A layer of the overlay is one of these, by place on the disk,
 * and so are sets of blocks of the store.
 *
 * No locks: the caller's.
 */

#ifndef FOLIO_THIN_RANGE_MAP_H
#define FOLIO_THIN_RANGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bsd/sys/tree.h>

enum range_kind {
  RANGE_HOLE,      /* of the disk: nothing there; of a set: it is in it */
  RANGE_ZERO_KEEP, /* reads as zero; keeps the space there is, if any */
  RANGE_UNWRITTEN, /* reads as zero; has its place */
  RANGE_MAPPED,    /* has its place, and data there */
};

struct range_entry {
  RB_ENTRY (range_entry) link;
  uint64_t start, end; /* blocks; end is the first behind it */
  uint64_t
    physical;     /* where start is on the store, if it has a place; else 0 */
  uint32_t since; /* the caller's */
  uint8_t kind;   /* enum range_kind */
  uint8_t flags;  /* the caller's */
};

RB_HEAD (range_tree, range_entry);

/* Nodes kept for changes that must not fail, of all maps of one disk. */
struct range_nodes {
  struct range_entry *free; /* by link's left */
  size_t nr_free, promised;
  bool starved; /* there was none: some map is wrong from now on */
};

struct range_map {
  struct range_tree tree;
  struct range_nodes *nodes;
  size_t count;    /* entries */
  uint64_t blocks; /* in all of them */
  uint64_t spread; /* of what is MAPPED the blocks, of all else the entries */
};

typedef void range_fn (void *opaque, const struct range_entry *e);

extern void range_nodes_init (struct range_nodes *nodes);
extern void range_nodes_destroy (struct range_nodes *nodes);

/* Promise n nodes to somebody who will use them, and see to it that they are there, and
 * some besides.  False without memory, with nothing promised.
 */
extern bool range_nodes_promise (struct range_nodes *nodes, size_t n);

/* The promise is being kept, or not needed. */
extern void range_nodes_redeem (struct range_nodes *nodes, size_t n);

extern void range_map_init (struct range_map *map, struct range_nodes *nodes);
extern void range_map_clear (struct range_map *map);

/* The first that ends behind pos; NULL: none. */
extern struct range_entry *range_map_find (struct range_map *map, uint64_t pos);
extern struct range_entry *range_map_next (struct range_entry *e);

/* Its place of pos, which is in it. */
static inline uint64_t
range_physical (const struct range_entry *e, uint64_t pos)
{
  return e->kind >= RANGE_UNWRITTEN ? e->physical + (pos - e->start) : 0;
}

/* [e->start, e->end) is as e says, unless it is empty.  It takes two nodes at most. */
extern void range_map_set (struct range_map *map, const struct range_entry *e);

/* Nothing is known of [start, end) any more.  fn, or NULL, is called for each part of it
 * that was there, after it is gone.  It takes one node at most.
 */
extern void range_map_remove (struct range_map *map, uint64_t start,
                              uint64_t end, range_fn *fn, void *opaque);

/* Call fn for each part of an entry that is in [start, end); it changes nothing. */
extern void range_map_walk (struct range_map *map, uint64_t start, uint64_t end,
                            range_fn *fn, void *opaque);

/* Is all of it in the map, or any? */
extern bool range_map_all (struct range_map *map, uint64_t start, uint64_t end);
extern bool range_map_any (struct range_map *map, uint64_t start, uint64_t end);

/* Take out the first entry.  False: the map is empty. */
extern bool range_map_take (struct range_map *map, struct range_entry *e);

/* Of sets. */
static inline void
range_set_add (struct range_map *map, uint64_t start, uint64_t end)
{
  range_map_set (map, &(struct range_entry) { .start = start, .end = end });
}

/* Blocks of [start, end) that are in it. */
extern uint64_t range_set_count (struct range_map *map, uint64_t start,
                                 uint64_t end);

#endif /* FOLIO_THIN_RANGE_MAP_H */
