/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: checkpoints, which put what is LOGGED in the trees.
 *
 *   LOGGED is FROZEN, with the place where the log goes on behind it
 *   --> all of it is put in the trees, beside those that are there; and what the store has
 *       that was not known, in the free one
 *   --> committed, with that place: durable (or: FROZEN stays, and is tried again)
 *   --> FROZEN is forgotten, the log's tail is there, what is free now waits for readers
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/thin-impl.h"

/* Entries of FROZEN between two looks at what others wait for. */
#define SLICE 256

/* What was frozen for one that failed comes first. */
static void
freeze (struct thin *t)
{
  struct range_map *map = t->layers.map, none;

  pthread_mutex_lock (&t->lock);
  if (map[LAYER_FROZEN].count == 0) {
    none = map[LAYER_FROZEN];
    map[LAYER_FROZEN] = map[LAYER_LOGGED];
    map[LAYER_LOGGED] = none;
    t->frozen = t->log.head;
    t->work.frozen = t->work.flushed;
    space_freeze (&t->space);
  }
  t->work.starving = false;
  thin_expect (t);
  pthread_mutex_unlock (&t->lock);
}

static int
put (struct thin_txn *txn, const struct range_entry *e)
{
  uint64_t n = e->end - e->start;

  switch (e->kind) {
  case RANGE_MAPPED:
  case RANGE_UNWRITTEN:
    return thin_txn_map (txn, e->start, n, e->physical,
                         e->kind == RANGE_UNWRITTEN);
  case RANGE_ZERO_KEEP: return thin_txn_zero_keep (txn, e->start, n);
  default: return thin_txn_hole (txn, e->start, n);
  }
}

/* Nobody changes FROZEN, so it needs no lock. */
static int
put_all (struct thin *t, struct thin_txn *txn)
{
  struct range_entry *e = range_map_find (&t->layers.map[LAYER_FROZEN], 0);
  unsigned n;
  int r = 0;

  for (n = 1; e && r == 0; e = range_map_next (e), n++) {
    r = put (txn, e);
    if (n % SLICE == 0)
      thin_serve (t);
  }
  return r;
}

/* What a commit has freed. */
struct freed {
  struct thin_range *ranges;
  size_t n, room;
  bool lost; /* there was no memory for some */
};

/* Without memory nobody knows who reads there. */
static void
note_freed (void *opaque, uint64_t start, uint64_t length)
{
  struct freed *freed = opaque;
  struct thin_range *more;
  size_t room = freed->room ? freed->room * 2 : 64;

  if (freed->n == freed->room) {
    more = realloc (freed->ranges, room * sizeof *more);
    if (more == NULL) {
      freed->lost = true;
      return;
    }
    freed->ranges = more;
    freed->room = room;
  }
  freed->ranges[freed->n++] = (struct thin_range) { start, length };
}

/* It is durable. */
static void
thaw (struct thin *t, const struct freed *freed)
{
  struct range_map *frozen = &t->layers.map[LAYER_FROZEN];
  struct thin_super super;
  struct range_entry e;
  uint64_t era;
  size_t i;

  thin_meta_super (t->meta, &super);
  pthread_mutex_lock (&t->lock);
  era = readers_era (&t->fs);
  while (range_map_take (frozen, &e))
    if (e.flags & LAYER_OWN)
      space_committed (&t->space, e.physical, e.physical + (e.end - e.start));
  space_metadata_committed (&t->space);
  for (i = 0; i < freed->n; i++)
    space_freed (&t->space, freed->ranges[i].start,
                 freed->ranges[i].start + freed->ranges[i].length, era);
  space_thaw (&t->space, super.free_blocks, era);
  t->log.tail = t->frozen.block;
  t->work.settled = t->work.frozen;
  t->nodes.starved |= freed->lost;
  atomic_fetch_add (&t->cookie, THIN_EPOCH);
  pthread_mutex_unlock (&t->lock);
}

int
thin_checkpoint (struct thin *t)
{
  struct freed freed = { .n = 0 };
  struct thin_txn *txn;
  int r = thin_txn_begin (t->meta, &txn);

  if (r < 0)
    return r;
  freeze (t);
  r =
    t->nodes.starved ? -ENOMEM : thin_txn_grow (txn, thin_meta_limit (t->meta));
  if (r == 0)
    r = put_all (t, txn);
  if (r == 0)
    r = thin_txn_commit (txn, &t->frozen, note_freed, &freed);
  else
    thin_txn_abort (txn);
  if (r == 0)
    thaw (t, &freed);
  free (freed.ranges);
  return r;
}
