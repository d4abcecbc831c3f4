/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: free space of the store.  What the trees committed last have free is
 *
 *   place       because                                     then
 *   unknown     it was not looked for yet                   found: POOL
 *   POOL        it may be handed out                        handed out: TAKEN
 *   TAKEN       it is somebody's: data's, or metadata's     committed: not free any more;
 *                                                           given up: GIVEN UP
 *   GIVEN UP    it is nobody's, though the log, or a        that is durable: WAITING
 *               checkpoint that is on, may still know it
 *   WAITING     who was told of it may still read, or       they are gone: POOL
 *               write, there
 *
 * and what a commit frees is WAITING at once.
 *
 * No locks: the caller's.
 */

#ifndef FOLIO_THIN_SPACE_H
#define FOLIO_THIN_SPACE_H

#include "fs/iomap.h"
#include "fs/thin/range-map.h"

struct thin_waiting;

struct thin_space_map {
  struct range_map pool;
  struct range_map taken;    /* TAKEN, GIVEN UP, WAITING */
  struct range_map given_up; /* since the last freeze, */
  struct range_map going;    /* and before */
  struct range_map metadata; /* TAKEN by a commit */
  struct thin_waiting *first, **last;
  uint64_t cursor; /* where the next is looked for in the pool */
  uint64_t free;   /* blocks of the trees committed last */

  /* Filling the pool. */
  uint64_t from;  /* where to look on in the tree */
  uint64_t min;   /* for how long ranges */
  bool exhausted; /* all is in the pool, or was when this was found */
};

extern void space_init (struct thin_space_map *space, struct range_nodes *nodes,
                        uint64_t free);
extern void space_destroy (struct thin_space_map *space);

/* Blocks that are neither anybody's nor waiting. */
static inline uint64_t
space_left (const struct thin_space_map *space)
{
  return space->free > space->taken.blocks ? space->free - space->taken.blocks
                                           : 0;
}

/* Take up to n blocks, side by side, from the pool.  Returns how many, 0: it is empty. */
extern uint64_t space_take (struct thin_space_map *space, uint64_t n,
                            uint64_t *start);

/* The trees have this free: what of it is not taken is in the pool. */
extern void space_found (struct thin_space_map *space, uint64_t start,
                         uint64_t end);

/* This is somebody's that the trees have free, as the log says. */
extern void space_own (struct thin_space_map *space, uint64_t start,
                       uint64_t end);

extern void space_give_up (struct thin_space_map *space, uint64_t start,
                           uint64_t end);

/* A checkpoint begins. */
extern void space_freeze (struct thin_space_map *space);

/* It has been committed: so much is free now; first, in this order, space_committed for
 * what it has mapped, space_metadata_committed, and space_freed for what it has freed, maybe
 * of metadata's again, by whom read till now, as in era.
 */
extern void space_committed (struct thin_space_map *space, uint64_t start,
                             uint64_t end);
extern void space_metadata_committed (struct thin_space_map *space);
extern void space_freed (struct thin_space_map *space, uint64_t start,
                         uint64_t end, uint64_t era);
extern void space_thaw (struct thin_space_map *space, uint64_t free,
                        uint64_t era);

/* Move to the pool what waits for no reader any more.  Returns whether anything was. */
extern bool space_settle (struct thin_space_map *space, struct fs *fs);

#endif /* FOLIO_THIN_SPACE_H */
