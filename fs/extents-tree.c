/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: disjoint, merged ranges in a red-black tree, the nodes from
 * a pool that never outgrows its bound.  When it is full the oldest are
 * forgotten, but those that were looked at meanwhile count as new once more:
 * first in, first out with a second chance, which is the CLOCK algorithm
 * (Corbato, "A Paging Experiment with the Multics System", 1969) with its hand in
 * order of age.  (In order of place it would keep up with whoever asks about one
 * place after the other, and take what he has just been told.)
 */

#include <stdlib.h>

#include "fs/extents-impl.h"
#include "fs/num.h"

/* For each range that is forgotten, others that are spared at most. */
#define SPARED 16

/* Ranges are disjoint, so order by end is order by start; by end, "the first
 * that reaches beyond offset" is one RB_NFIND.
 */
static int
compare (const struct extent *a, const struct extent *b)
{
  return a->end < b->end ? -1 : a->end > b->end;
}

/* RB_GENERATE_STATIC, but without libbsd's other macros that it expects. */
RB_GENERATE_INTERNAL (extent_tree, extent, link, compare,
                      static __attribute__ ((unused)))

static bool
grow_pool (struct extents *e)
{
  struct chunk *chunk = malloc (sizeof *chunk);
  int i;

  if (chunk == NULL)
    return false;
  chunk->next = e->chunks;
  e->chunks = chunk;
  for (i = 0; i < CHUNK_NODES; i++) {
    RB_RIGHT (&chunk->nodes[i], link) = e->unused;
    e->unused = &chunk->nodes[i];
  }
  return true;
}

/* Put a new range into the tree; false without room or memory. */
static bool
add (struct extents *e, uint64_t start, uint64_t end, enum iomap_type type)
{
  struct extent *x;

  if (e->count >= e->max || (e->unused == NULL && !grow_pool (e)))
    return false;
  x = e->unused;
  e->unused = RB_RIGHT (x, link);
  x->start = start;
  x->end = end;
  x->type = type;
  x->touched = false;
  RB_INSERT (extent_tree, &e->tree, x);
  TAILQ_INSERT_TAIL (&e->queue, x, by_age);
  e->count++;
  return true;
}

static void
drop (struct extents *e, struct extent *x)
{
  RB_REMOVE (extent_tree, &e->tree, x);
  TAILQ_REMOVE (&e->queue, x, by_age);
  RB_RIGHT (x, link) = e->unused;
  e->unused = x;
  e->count--;
}

/* The first range that ends at or after offset. */
static struct extent *
ending_from (struct extents *e, uint64_t offset)
{
  struct extent key;

  key.end = offset;
  return RB_NFIND (extent_tree, &e->tree, &key);
}

struct extent *
extents_reaching (struct extents *e, uint64_t offset)
{
  return ending_from (e, offset + 1);
}

struct extent *
extents_next (struct extent *x)
{
  return RB_NEXT (extent_tree, &e->tree, x);
}

struct extent *
extents_last (struct extents *e)
{
  return RB_MAX (extent_tree, &e->tree);
}

struct extent *
extents_prev (struct extent *x)
{
  return RB_PREV (extent_tree, &e->tree, x);
}

/* Of a question without an answer, remember what was forgotten: it may have been
 * set since it was asked, and the answer is older than that.
 */
static void
spoil (struct extents_question *q, uint64_t start, uint64_t end)
{
  if (end <= q->start || start >= q->end)
    return;
  if (q->forgotten_until <= q->start) { /* none, or what is learned already */
    q->forgotten = start;
    q->forgotten_until = end;
    return;
  }
  q->forgotten = min_u64 (q->forgotten, start);
  q->forgotten_until = max_u64 (q->forgotten_until, end);
}

void
extents_forgotten (struct extents *e, uint64_t start, uint64_t end,
                   enum iomap_type type)
{
  struct extents_question *q;

  for (q = e->questions; q; q = q->next)
    spoil (q, start, end);
  if (type != IOMAP_MAPPED)
    extents_bump_cookie (e);
}

/* Is it where an answer is awaited, and so likely to be looked at next? */
static bool
is_questioned (const struct extents *e, const struct extent *x)
{
  const struct extents_question *q;

  for (q = e->questions; q; q = q->next)
    if (x->end > q->start && x->start < q->end)
      return true;
  return false;
}

/* Let n ranges go, but none that overlaps or adjoins [start, end).  Others are
 * spared only for a while: the work of one call is bounded.
 */
static void
forget_some (struct extents *e, size_t n, uint64_t start, uint64_t end)
{
  size_t steps, spare = SPARED * n;
  struct extent *x;

  recent_forget (&e->recent); /* who looks at it again should be seen to */
  for (steps = spare + n + 4; n > 0 && steps > 0; steps--) {
    x = TAILQ_FIRST (&e->queue);
    if (x == NULL)
      break;
    TAILQ_REMOVE (&e->queue, x, by_age);
    TAILQ_INSERT_TAIL (&e->queue, x, by_age);
    if (x->start <= end && x->end >= start)
      continue;
    if (spare > 0 && (x->touched || is_questioned (e, x))) {
      x->touched = false;
      spare--;
      continue;
    }
    extents_forgotten (e, x->start, x->end, x->type);
    drop (e, x);
    n--;
  }
}

void
extents_make_room (struct extents *e, size_t need, uint64_t start, uint64_t end)
{
  size_t batch = e->max / 256;

  if (e->count + need > e->max)
    forget_some (e, e->count + need - e->max + batch, start, end);
}

void
extents_carve (struct extents *e, uint64_t start, uint64_t end)
{
  struct extent *x = extents_reaching (e, start), *next;

  recent_forget (&e->recent);
  if (x && x->start < start) {
    uint64_t tail = x->end;

    x->end = start;
    if (tail > end) {
      if (!add (e, end, tail, x->type))
        extents_forgotten (e, end, tail, x->type);
      return;
    }
    x = RB_NEXT (extent_tree, &e->tree, x);
  }
  for (; x && x->end <= end; x = next) {
    next = RB_NEXT (extent_tree, &e->tree, x);
    drop (e, x);
  }
  if (x && x->start < end)
    x->start = end;
}

bool
extents_fill (struct extents *e, uint64_t start, uint64_t end,
              enum iomap_type type)
{
  struct extent *left = ending_from (e, start), *right = left;

  recent_forget (&e->recent);
  if (left && left->end == start)
    right = RB_NEXT (extent_tree, &e->tree, left);
  else
    left = NULL;
  if (left && left->type != type)
    left = NULL;
  if (right && (right->start != end || right->type != type))
    right = NULL;

  if (left && right) {
    right->start = left->start;
    right->touched = true;
    drop (e, left);
  }
  else if (left) {
    left->end = end;
    left->touched = true;
  }
  else if (right) {
    right->start = start;
    right->touched = true;
  }
  else
    return add (e, start, end, type);
  return true;
}

void
extents_free_pool (struct extents *e)
{
  struct chunk *chunk;

  while ((chunk = e->chunks) != NULL) {
    e->chunks = chunk->next;
    free (chunk);
  }
}
