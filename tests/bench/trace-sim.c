/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * LRU and ARC, over pages numbered from 0.
 */

#include <stdlib.h>

#include "tests/bench/trace-sim.h"

#define NONE UINT32_MAX

/* Lists of pages; a page is on one of them at most. */
enum list_id { NOWHERE, T1, T2, B1, B2, NR_LISTS };

struct node {
  uint32_t next, prev;
  enum list_id list;
};

struct list {
  uint32_t head, tail, length;
};

struct lists {
  struct node *nodes;
  struct list lists[NR_LISTS];
  uint32_t pages;
  uint32_t target; /* ARC's p */
};

static void *
create (uint32_t nr_ids, uint32_t pages)
{
  struct lists *l = calloc (1, sizeof *l);

  if (l)
    l->nodes = calloc (nr_ids, sizeof *l->nodes);
  if (l == NULL || l->nodes == NULL)
    abort ();
  for (unsigned i = 0; i < NR_LISTS; ++i)
    l->lists[i].head = l->lists[i].tail = NONE;
  l->pages = pages;
  return l;
}

static void
destroy (void *cache)
{
  struct lists *l = cache;

  free (l->nodes);
  free (l);
}

static void
push (struct lists *l, enum list_id id, uint32_t page)
{
  struct list *list = &l->lists[id];
  struct node *node = &l->nodes[page];

  *node = (struct node) { .next = list->head, .prev = NONE, .list = id };
  if (list->head == NONE)
    list->tail = page;
  else
    l->nodes[list->head].prev = page;
  list->head = page;
  ++list->length;
}

static void
take (struct lists *l, uint32_t page)
{
  struct node *node = &l->nodes[page];
  struct list *list = &l->lists[node->list];

  if (node->prev == NONE)
    list->head = node->next;
  else
    l->nodes[node->prev].next = node->next;
  if (node->next == NONE)
    list->tail = node->prev;
  else
    l->nodes[node->next].prev = node->prev;
  node->list = NOWHERE;
  --list->length;
}

/* Move the oldest page of one list to another, or out. */
static void
pass (struct lists *l, enum list_id from, enum list_id to)
{
  uint32_t page = l->lists[from].tail;

  take (l, page);
  if (to != NOWHERE)
    push (l, to, page);
}

static void
move (struct lists *l, uint32_t page, enum list_id to)
{
  take (l, page);
  push (l, to, page);
}

static bool
lru_access (void *cache, uint32_t page)
{
  struct lists *l = cache;

  if (l->nodes[page].list == T1) {
    move (l, page, T1);
    return true;
  }
  if (l->lists[T1].length == l->pages)
    pass (l, T1, NOWHERE);
  push (l, T1, page);
  return false;
}

/* The paper's REPLACE. */
static void
arc_replace (struct lists *l, bool in_b2)
{
  uint32_t t1 = l->lists[T1].length;

  if (t1 > 0 && (t1 > l->target || (in_b2 && t1 == l->target)))
    pass (l, T1, B1);
  else
    pass (l, T2, B2);
}

static void
arc_adapt (struct lists *l, bool in_b2)
{
  uint32_t b1 = l->lists[B1].length, b2 = l->lists[B2].length, step;

  if (in_b2) {
    step = b1 > b2 ? b1 / b2 : 1;
    l->target -= l->target < step ? l->target : step;
  }
  else {
    step = b2 > b1 ? b2 / b1 : 1;
    l->target += step;
    if (l->target > l->pages)
      l->target = l->pages;
  }
}

/* Make room for a page that is on no list. */
static void
arc_room (struct lists *l)
{
  uint32_t t1 = l->lists[T1].length, b1 = l->lists[B1].length;
  uint32_t all = t1 + b1 + l->lists[T2].length + l->lists[B2].length;

  if (t1 + b1 == l->pages) {
    if (b1 == 0)
      pass (l, T1, NOWHERE);
    else {
      pass (l, B1, NOWHERE);
      arc_replace (l, false);
    }
  }
  else if (all >= l->pages) {
    if (all == 2 * l->pages)
      pass (l, B2, NOWHERE);
    arc_replace (l, false);
  }
}

static bool
arc_access (void *cache, uint32_t page)
{
  struct lists *l = cache;
  enum list_id list = l->nodes[page].list;

  switch (list) {
  case T1:
  case T2: move (l, page, T2); return true;
  case B1:
  case B2:
    arc_adapt (l, list == B2);
    arc_replace (l, list == B2);
    move (l, page, T2);
    return false;
  default:
    arc_room (l);
    push (l, T1, page);
    return false;
  }
}

const struct sim sim_lru = { "LRU", create, lru_access, destroy };
const struct sim sim_arc = { "ARC", create, arc_access, destroy };
