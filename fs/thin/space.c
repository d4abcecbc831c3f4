/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: free space of the store.
 */

#include <stdlib.h>

#include "fs/thin/space.h"

/* Ranges in the pool, about: what is found beyond is found again. */
#define MAX_POOL 32768

/* So many are looked at for one that is long enough. */
#define LOOKS 16

/* At first only ranges of so many blocks are worth while. */
#define GOOD 256

struct thin_waiting {
  struct thin_waiting *next;
  uint64_t start, end, era;
};

void
space_init (struct thin_space_map *space, struct range_nodes *nodes,
            uint64_t free)
{
  *space = (struct thin_space_map) { .free = free, .min = GOOD };
  range_map_init (&space->pool, nodes);
  range_map_init (&space->taken, nodes);
  range_map_init (&space->given_up, nodes);
  range_map_init (&space->going, nodes);
  range_map_init (&space->metadata, nodes);
  space->last = &space->first;
}

void
space_destroy (struct thin_space_map *space)
{
  struct thin_waiting *w;

  while ((w = space->first) != NULL) {
    space->first = w->next;
    free (w);
  }
  range_map_clear (&space->pool);
  range_map_clear (&space->taken);
  range_map_clear (&space->given_up);
  range_map_clear (&space->going);
  range_map_clear (&space->metadata);
}

/* --- handing it out --- */

/* The first from the cursor on, of a few, that is long enough, or the longest. */
static struct range_entry *
choose (struct thin_space_map *space, uint64_t n)
{
  struct range_entry *e = range_map_find (&space->pool, space->cursor);
  struct range_entry *best = NULL;
  unsigned i;

  for (i = 0; i < LOOKS; i++) {
    if (e == NULL)
      e = range_map_find (&space->pool, 0);
    if (e == NULL || e == best)
      break;
    if (best == NULL || e->end - e->start > best->end - best->start)
      best = e;
    if (best->end - best->start >= n)
      break;
    e = range_map_next (e);
  }
  return best;
}

uint64_t
space_take (struct thin_space_map *space, uint64_t n, uint64_t *start)
{
  struct range_entry *e = choose (space, n);

  if (e == NULL)
    return 0;
  *start = e->start;
  if (e->end - e->start < n)
    n = e->end - e->start;
  range_map_remove (&space->pool, *start, *start + n, NULL, NULL);
  range_set_add (&space->taken, *start, *start + n);
  space->cursor = *start + n;
  return n;
}

static void
add (struct thin_space_map *space, uint64_t start, uint64_t end)
{
  if (start < end && space->pool.count < MAX_POOL)
    range_set_add (&space->pool, start, end);
  else if (start < end)
    space->exhausted = false;
}

void
space_found (struct thin_space_map *space, uint64_t start, uint64_t end)
{
  struct range_entry *e;

  while (start < end) {
    e = range_map_find (&space->taken, start);
    if (e == NULL || e->start >= end) {
      add (space, start, end);
      break;
    }
    add (space, start, e->start);
    start = e->end;
  }
}

void
space_own (struct thin_space_map *space, uint64_t start, uint64_t end)
{
  range_map_remove (&space->pool, start, end, NULL, NULL);
  range_set_add (&space->taken, start, end);
}

/* --- taking it back --- */

void
space_give_up (struct thin_space_map *space, uint64_t start, uint64_t end)
{
  range_set_add (&space->given_up, start, end);
}

void
space_freeze (struct thin_space_map *space)
{
  struct range_entry e;

  while (range_map_take (&space->given_up, &e))
    range_set_add (&space->going, e.start, e.end);
}

void
space_committed (struct thin_space_map *space, uint64_t start, uint64_t end)
{
  range_map_remove (&space->taken, start, end, NULL, NULL);
}

void
space_metadata_committed (struct thin_space_map *space)
{
  struct range_entry e;

  while (range_map_take (&space->metadata, &e))
    range_map_remove (&space->taken, e.start, e.end, NULL, NULL);
}

/* Without memory it is free after the next start. */
static void
wait_for_readers (struct thin_space_map *space, uint64_t start, uint64_t end,
                  uint64_t era)
{
  struct thin_waiting *w = malloc (sizeof *w);

  if (w == NULL)
    return;
  *w = (struct thin_waiting) { .start = start, .end = end, .era = era };
  *space->last = w;
  space->last = &w->next;
}

void
space_freed (struct thin_space_map *space, uint64_t start, uint64_t end,
             uint64_t era)
{
  range_set_add (&space->taken, start, end);
  wait_for_readers (space, start, end, era);
}

void
space_thaw (struct thin_space_map *space, uint64_t free, uint64_t era)
{
  struct range_entry e;

  while (range_map_take (&space->going, &e))
    wait_for_readers (space, e.start, e.end, era);
  space->free = free;
  space->exhausted = false;
  space->min = GOOD;
}

bool
space_settle (struct thin_space_map *space, struct fs *fs)
{
  struct thin_waiting *w;
  bool any = false;

  while ((w = space->first) != NULL && readers_gone (fs, w->era)) {
    space->first = w->next;
    if (space->first == NULL)
      space->last = &space->first;
    range_map_remove (&space->taken, w->start, w->end, NULL, NULL);
    add (space, w->start, w->end);
    free (w);
    any = true;
  }
  return any;
}
