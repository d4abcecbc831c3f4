/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map's inside, shared by fs/extents*.c only.
 */

#ifndef FOLIO_EXTENTS_IMPL_H
#define FOLIO_EXTENTS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <bsd/sys/tree.h>

#include "fs/extents-question.h"
#include "fs/extents-recent.h"
#include "fs/iomap.h"

#define CHUNK_NODES 512

/* An edit of one range adds two nodes at most: one for the range, one for what
 * is cut off on its right.
 */
#define EDIT_NODES 2

struct extent {
  RB_ENTRY (extent) link; /* a free node: only its right link, to the next */
  TAILQ_ENTRY (extent) by_age;
  uint64_t start, end;
  enum iomap_type type;
  bool touched; /* looked at since it came to the end of its queue */
};

struct chunk {
  struct chunk *next;
  struct extent nodes[CHUNK_NODES];
};

RB_HEAD (extent_tree, extent);
TAILQ_HEAD (extent_queue, extent);

struct extents {
  struct recent recent;
  pthread_mutex_t lock; /* protects all but recent and cookie */
  struct extent_tree tree;
  struct extent_queue queue; /* the first is the next to be forgotten */
  struct chunk *chunks;
  struct extent *unused;
  size_t count, max;
  struct extents_question *questions; /* without an answer so far */
  _Atomic uint64_t cookie;
};

/* ---- extents-tree.c: the ranges.  The lock is held. */

/* In order of place; NULL: none. */
extern struct extent *extents_next (struct extent *x);
extern struct extent *extents_prev (struct extent *x);
extern struct extent *extents_last (struct extents *e);

/* The first range with a byte at offset or after it. */
extern struct extent *extents_reaching (struct extents *e, uint64_t offset);

/* See to it that `need' ranges can be added: forget others, but none that
 * overlaps or adjoins [start, end).
 */
extern void extents_make_room (struct extents *e, size_t need, uint64_t start,
                               uint64_t end);

/* Make the range unknown.  Without a node for what is right of it, that is
 * forgotten too.
 */
extern void extents_carve (struct extents *e, uint64_t start, uint64_t end);

/* Give an unknown range its type, merged with its neighbours.  False without
 * room or memory.
 */
extern bool extents_fill (struct extents *e, uint64_t start, uint64_t end,
                          enum iomap_type type);

/* The range, all of which was of this type, has become unknown. */
extern void extents_forgotten (struct extents *e, uint64_t start, uint64_t end,
                               enum iomap_type type);

static inline void
extents_bump_cookie (struct extents *e)
{
  /* Release: who sees it sees the recent range forgotten, which comes first. */
  atomic_fetch_add_explicit (&e->cookie, 1, memory_order_release);
}

/* Free all ranges. */
extern void extents_free_pool (struct extents *e);

#endif /* FOLIO_EXTENTS_IMPL_H */
