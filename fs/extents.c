/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: disjoint, merged ranges in a red-black tree, the nodes from
 * a pool that never outgrows its bound.  Which to forget when it is full is
 * found by the CLOCK algorithm (Corbato, "A Paging Experiment with the
 * Multics System", 1969): a hand moves over the ranges in order of place and
 * takes those not touched since it last came by.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <bsd/sys/tree.h>

#include "fs/extents.h"

#define CHUNK_NODES 512
#define MIN_EXTENTS 8

/* An edit of one range adds two nodes at most: one for the range, one for what
 * is cut off on its right.
 */
#define EDIT_NODES 2

struct extent {
  RB_ENTRY (extent) link; /* a free node: only its right link, to the next */
  uint64_t start, end;
  enum iomap_type type;
  bool touched; /* looked at since the hand last passed */
};

struct chunk {
  struct chunk *next;
  struct extent nodes[CHUNK_NODES];
};

RB_HEAD (extent_tree, extent);

/* A range of one type, or of which nothing is known. */
struct found {
  uint64_t start, end;
  int type; /* an enum iomap_type, or UNKNOWN */
};
#define UNKNOWN (-1)

/* A copy of the range found last, which is likely to be looked for next: read
 * without the lock, changed with it.  A sequence lock, with the orders of Boehm,
 * "Can Seqlocks Get Along With Programming Language Memory Models?", 2012, but
 * none of his fences, which ThreadSanitizer does not know.
 */
struct recent {
  _Atomic uint64_t seq;        /* odd while it is being changed */
  _Atomic uint64_t start, end; /* end 0: none */
  _Atomic int type;
} __attribute__ ((aligned (64)));

struct extents {
  struct recent recent;
  pthread_mutex_t lock; /* protects all but recent and cookie */
  struct extent_tree tree;
  struct chunk *chunks;
  struct extent *unused;
  size_t count, max;
  uint64_t hand;  /* offset from where on to forget next */
  uint64_t epoch; /* bumped when something is forgotten */
  _Atomic uint64_t cookie;
};

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

struct extents *
extents_create (size_t max)
{
  struct extents *e = aligned_alloc (_Alignof(struct extents), sizeof *e);

  if (e == NULL)
    return NULL;
  *e = (struct extents) { 0 };
  pthread_mutex_init (&e->lock, NULL);
  RB_INIT (&e->tree);
  e->max = max < MIN_EXTENTS ? MIN_EXTENTS : max;
  atomic_init (&e->cookie, 1);
  return e;
}

void
extents_destroy (struct extents *e)
{
  struct chunk *chunk;

  if (e == NULL)
    return;
  while ((chunk = e->chunks) != NULL) {
    e->chunks = chunk->next;
    free (chunk);
  }
  pthread_mutex_destroy (&e->lock);
  free (e);
}

/* The range found last, if offset is in it. */
static bool
read_recent (struct extents *e, uint64_t offset, struct found *found)
{
  struct recent *r = &e->recent;
  /* Acquire: what follows is of this change or a later one. */
  uint64_t seq = atomic_load_explicit (&r->seq, memory_order_acquire);

  /* Acquire: having seen anything of a later change, we see its seq below. */
  found->start = atomic_load_explicit (&r->start, memory_order_acquire);
  found->end = atomic_load_explicit (&r->end, memory_order_acquire);
  found->type = atomic_load_explicit (&r->type, memory_order_acquire);

  /* Relaxed: the loads before it are acquires. */
  return seq % 2 == 0 &&
         atomic_load_explicit (&r->seq, memory_order_relaxed) == seq &&
         found->start <= offset && offset < found->end;
}

/* ------------------------------ below this line: the lock is held ---------- */

static void
set_recent (struct extents *e, const struct found *found)
{
  struct recent *r = &e->recent;
  /* Relaxed: changed with the lock only. */
  uint64_t seq = atomic_load_explicit (&r->seq, memory_order_relaxed);

  /* Relaxed: ordered by the releases that follow. */
  atomic_store_explicit (&r->seq, seq + 1, memory_order_relaxed);
  /* Release: who sees one of these sees that seq is odd, or has moved on. */
  atomic_store_explicit (&r->start, found->start, memory_order_release);
  atomic_store_explicit (&r->end, found->end, memory_order_release);
  atomic_store_explicit (&r->type, found->type, memory_order_release);
  /* Release: who sees it even again sees all of them. */
  atomic_store_explicit (&r->seq, seq + 2, memory_order_release);
}

/* The tree is about to change. */
static void
forget_recent (struct extents *e)
{
  /* Relaxed: changed with the lock only. */
  if (atomic_load_explicit (&e->recent.end, memory_order_relaxed) != 0)
    set_recent (e, &(struct found) { 0 });
}

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
  x->touched = true;
  RB_INSERT (extent_tree, &e->tree, x);
  e->count++;
  return true;
}

static void
drop (struct extents *e, struct extent *x)
{
  RB_REMOVE (extent_tree, &e->tree, x);
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

/* The first range with a byte at offset or after it. */
static struct extent *
reaching (struct extents *e, uint64_t offset)
{
  return ending_from (e, offset + 1);
}

static void
bump_cookie (struct extents *e)
{
  atomic_fetch_add_explicit (&e->cookie, 1, memory_order_release);
}

/* Let n ranges go, but none that overlaps or adjoins [start, end).  The hand
 * spares what was touched only for a while: the work of one call is bounded.
 */
static void
forget_some (struct extents *e, size_t n, uint64_t start, uint64_t end)
{
  struct extent *x = reaching (e, e->hand), *next;
  size_t steps = 4 * n + 4, spare = 3 * n;

  forget_recent (e); /* who looks at it again should be seen to */
  for (; n > 0 && steps > 0 && e->count > 0; steps--, x = next) {
    if (x == NULL)
      x = RB_MIN (extent_tree, &e->tree);
    next = RB_NEXT (extent_tree, &e->tree, x);
    if (x->start <= end && x->end >= start)
      continue;
    if (x->touched && spare > 0) {
      x->touched = false;
      spare--;
      continue;
    }
    drop (e, x);
    n--;
    e->epoch++;
  }
  e->hand = x ? x->start : 0;
}

static void
make_room (struct extents *e, size_t need, uint64_t start, uint64_t end)
{
  size_t batch = e->max / 256;

  if (e->count + need > e->max)
    forget_some (e, e->count + need - e->max + batch, start, end);
}

/* Make the range unknown.  Without a node for what is right of it, that is
 * forgotten too.
 */
static void
carve (struct extents *e, uint64_t start, uint64_t end)
{
  struct extent *x = reaching (e, start), *next;

  forget_recent (e);
  if (x && x->start < start) {
    uint64_t tail = x->end;

    x->end = start;
    if (tail > end) {
      if (!add (e, end, tail, x->type))
        e->epoch++;
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

/* Give an unknown range its type, merged with its neighbours. */
static bool
fill (struct extents *e, uint64_t start, uint64_t end, enum iomap_type type)
{
  struct extent *left = ending_from (e, start), *right = left;

  forget_recent (e);
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

/* What would become of the range if it were of this type. */
enum change { CHANGE_NONE, CHANGE_RESERVE, CHANGE_TYPE };

static enum change
compare_range (struct extents *e, uint64_t start, uint64_t end,
               enum iomap_type type)
{
  struct extent *x = reaching (e, start);
  enum change change = CHANGE_NONE;

  for (; start < end; x = RB_NEXT (extent_tree, &e->tree, x)) {
    if (x == NULL || x->start > start)
      return CHANGE_TYPE; /* unknown in part */
    if (x->type != type) {
      if (type != IOMAP_DELALLOC || x->type == IOMAP_MAPPED)
        return CHANGE_TYPE;
      change = CHANGE_RESERVE;
    }
    start = x->end;
  }
  return change;
}

static void
set_locked (struct extents *e, uint64_t start, uint64_t end,
            enum iomap_type type)
{
  enum change change = compare_range (e, start, end, type);

  if (change == CHANGE_NONE)
    return;
  make_room (e, EDIT_NODES, start, end);
  carve (e, start, end);
  if (!fill (e, start, end, type))
    e->epoch++;
  if (change == CHANGE_TYPE)
    bump_cookie (e);
}

/* What there is at offset. */
static void
find (struct extents *e, uint64_t offset, struct found *found)
{
  struct extent *x = reaching (e, offset), *left;

  if (x && x->start <= offset) {
    x->touched = true;
    *found = (struct found) { x->start, x->end, (int) x->type };
    return;
  }
  left =
    x ? RB_PREV (extent_tree, &e->tree, x) : RB_MAX (extent_tree, &e->tree);
  *found =
    (struct found) { left ? left->end : 0, x ? x->start : UINT64_MAX, UNKNOWN };
}

/* -------------------- above this line: the lock is held -------------------- */

bool
extents_lookup (struct extents *e, uint64_t offset, uint64_t *length,
                enum iomap_type *type)
{
  struct found found;
  uint64_t left;

  if (!read_recent (e, offset, &found)) {
    pthread_mutex_lock (&e->lock);
    find (e, offset, &found);
    set_recent (e, &found);
    pthread_mutex_unlock (&e->lock);
  }
  left = found.end - offset;
  if (found.type == UNKNOWN) {
    *length = left < *length ? left : *length;
    return false;
  }
  *length = left;
  *type = (enum iomap_type) found.type;
  return true;
}

void
extents_set (struct extents *e, uint64_t offset, uint64_t length,
             enum iomap_type type)
{
  if (length == 0)
    return;
  pthread_mutex_lock (&e->lock);
  set_locked (e, offset, offset + length, type);
  pthread_mutex_unlock (&e->lock);
}

void
extents_reserve (struct extents *e, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length, from, to;
  struct extent *x;

  pthread_mutex_lock (&e->lock);
  while (offset < end && (x = reaching (e, offset)) && x->start < end) {
    from = x->start > offset ? x->start : offset;
    to = x->end < end ? x->end : end;
    offset = to;
    if (x->type == IOMAP_HOLE || x->type == IOMAP_UNWRITTEN)
      set_locked (e, from, to, IOMAP_DELALLOC);
  }
  pthread_mutex_unlock (&e->lock);
}

void
extents_forget (struct extents *e, uint64_t offset, uint64_t length)
{
  if (length == 0)
    return;
  pthread_mutex_lock (&e->lock);
  carve (e, offset, offset + length);
  e->epoch++;
  pthread_mutex_unlock (&e->lock);
}

/* Room is made here and not while learning: forgetting then would end the
 * epoch, and only the first run of a report would ever be learned.
 */
uint64_t
extents_epoch (struct extents *e)
{
  uint64_t epoch;

  pthread_mutex_lock (&e->lock);
  make_room (e, e->max / 64 + EDIT_NODES, 0, 0);
  epoch = e->epoch;
  pthread_mutex_unlock (&e->lock);
  return epoch;
}

void
extents_learn (struct extents *e, uint64_t epoch, uint64_t offset,
               uint64_t length, enum iomap_type type)
{
  uint64_t end = offset + length, gap_end;
  struct extent *x;

  pthread_mutex_lock (&e->lock);
  while (offset < end && epoch == e->epoch) {
    x = reaching (e, offset);
    if (x && x->start <= offset) {
      offset = x->end;
      continue;
    }
    gap_end = x && x->start < end ? x->start : end;
    if (!fill (e, offset, gap_end, type))
      break;
    offset = gap_end;
  }
  pthread_mutex_unlock (&e->lock);
}

uint64_t
extents_cookie (struct extents *e)
{
  return atomic_load_explicit (&e->cookie, memory_order_acquire);
}

size_t
extents_count (struct extents *e)
{
  size_t count;

  pthread_mutex_lock (&e->lock);
  count = e->count;
  pthread_mutex_unlock (&e->lock);
  return count;
}
