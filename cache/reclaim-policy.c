/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The eviction policy: S3-FIFO, see reclaim.h.
 */

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>

#include "cache/folio.h"
#include "cache/reclaim-policy.h"

/* The small queue's share of the memory, one in so many pages. */
#define SMALL_SHARE 10

int
policy_init (struct policy *policy, struct arena *arena)
{
  policy->arena = arena;
  for (unsigned i = 0; i < NR_QUEUES; ++i) {
    policy->queues[i].head = policy->queues[i].tail = PFN_NONE;
    policy->queues[i].pages = 0;
  }
  return ghost_create (arena->nr_pages, &policy->ghost);
}

void
policy_destroy (struct policy *policy)
{
  ghost_destroy (policy->ghost);
}

/* Put in the folio before `next' and after `prev', which are neighbours. */
static void
link_between (struct policy *policy, struct folio *folio, enum queue_id id,
              uint32_t prev, uint32_t next)
{
  struct queue *queue = &policy->queues[id];
  uint32_t pfn = arena_pfn (policy->arena, folio);

  assert (folio->queue == QUEUE_NONE);
  folio->prev = prev;
  folio->next = next;
  if (prev == PFN_NONE)
    queue->head = pfn;
  else
    arena_folio (policy->arena, prev)->next = pfn;
  if (next == PFN_NONE)
    queue->tail = pfn;
  else
    arena_folio (policy->arena, next)->prev = pfn;
  folio->queue = (uint8_t) id;
  queue->pages += (uint32_t) folio_pages (folio);
}

static void
push_head (struct policy *policy, struct folio *folio, enum queue_id id)
{
  link_between (policy, folio, id, PFN_NONE, policy->queues[id].head);
}

static void
push_tail (struct policy *policy, struct folio *folio, enum queue_id id)
{
  link_between (policy, folio, id, policy->queues[id].tail, PFN_NONE);
}

static void
unlink_folio (struct policy *policy, struct folio *folio)
{
  struct queue *queue = &policy->queues[folio->queue];

  if (folio->prev == PFN_NONE)
    queue->head = folio->next;
  else
    arena_folio (policy->arena, folio->prev)->next = folio->next;
  if (folio->next == PFN_NONE)
    queue->tail = folio->prev;
  else
    arena_folio (policy->arena, folio->next)->prev = folio->prev;
  folio->queue = QUEUE_NONE;
  queue->pages -= (uint32_t) folio_pages (folio);
}

static bool
is_remembered (struct policy *policy, struct folio *folio)
{
  return ghost_take (policy->ghost, atomic_load (&folio->mapping),
                     folio_index (folio), folio_order (folio),
                     policy->arena->nr_pages
                       - policy->arena->nr_pages / SMALL_SHARE);
}

void
policy_add (struct policy *policy, struct folio *folio, bool cold)
{
  bool main = !cold && is_remembered (policy, folio);

  atomic_store_explicit (&folio->freq, 0, memory_order_relaxed);
  push_head (policy, folio, main ? QUEUE_MAIN : QUEUE_SMALL);
}

void
policy_remove (struct policy *policy, struct folio *folio)
{
  if (folio->queue != QUEUE_NONE)
    unlink_folio (policy, folio);
}

/* Whose turn is it to lose a folio? */
static enum queue_id
choose_queue (struct policy *policy, bool other)
{
  struct queue *small = &policy->queues[QUEUE_SMALL];
  struct queue *main = &policy->queues[QUEUE_MAIN];
  bool from_small = small->pages >= policy->arena->nr_pages / SMALL_SHARE;

  if (from_small == other)
    return main->tail != PFN_NONE ? QUEUE_MAIN : QUEUE_SMALL;
  return small->tail != PFN_NONE ? QUEUE_SMALL : QUEUE_MAIN;
}

/* Should the folio at the tail of its queue stay?  Then moves it on. */
static bool
spare (struct policy *policy, struct folio *folio)
{
  enum queue_id id = folio->queue;
  uint8_t freq = atomic_load_explicit (&folio->freq, memory_order_relaxed);

  if (freq == 0)
    return false;
  unlink_folio (policy, folio);
  push_head (policy, folio, QUEUE_MAIN);
  atomic_store_explicit (&folio->freq, id == QUEUE_SMALL ? 0 : freq - 1,
                         memory_order_relaxed);
  return true;
}

static void
take_victim (struct policy *policy, struct folio *folio,
             struct victim *victim)
{
  victim->folio = folio;
  victim->index = folio_index (folio);
  victim->mapping = atomic_load (&folio->mapping);
  victim->order = (uint8_t) folio_order (folio);
  victim->queue = folio->queue;
  unlink_folio (policy, folio);
}

bool
policy_choose (struct policy *policy, unsigned *steps, bool force, bool other,
               struct victim *victim)
{
  for (; *steps > 0; --*steps) {
    enum queue_id id = choose_queue (policy, other);
    uint32_t pfn = policy->queues[id].tail;

    if (pfn == PFN_NONE)
      return false;
    if (force || !spare (policy, arena_folio (policy->arena, pfn))) {
      take_victim (policy, arena_folio (policy->arena, pfn), victim);
      return true;
    }
  }
  return false;
}

void
policy_evicted (struct policy *policy, const struct victim *victim)
{
  if (victim->queue == QUEUE_SMALL)
    ghost_add (policy->ghost, victim->mapping, victim->index, victim->order);
}

void
policy_put_back (struct policy *policy, const struct victim *victim, bool next)
{
  if (next)
    push_tail (policy, victim->folio, victim->queue);
  else
    push_head (policy, victim->folio, victim->queue);
}

void
policy_rotate (struct policy *policy, struct folio *folio)
{
  enum queue_id id = folio->queue;

  if (id == QUEUE_NONE)
    return;
  unlink_folio (policy, folio);
  push_tail (policy, folio, id);
}
