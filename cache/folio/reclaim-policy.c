/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The eviction policy: S3-FIFO (see reclaim.h) whose small queue finds its
 * length by itself.
 *
 *            known             hit
 *   new -+-----------> main <--------- small <-----------+- new
 *        |             |  ^ |                |  |        |
 *                hit   +--+ +--> ghosts <----+           unknown, or a guess
 *
 * A folio that comes goes to the small queue, or, if the ghost table knows it,
 * to the main queue.  From the tail of the small queue it goes to the main
 * queue if it was hit meanwhile, else out.  At the tail of the main queue each
 * hit gives it another round.
 *
 * How long the small queue should be depends on what is served; a tenth, as in
 * the paper, is far from the best of some.  So both queues leave ghosts, each
 * kind with its own clock (as ARC does; Megiddo, Modha, FAST 2003), and a
 * ghost that is known again soon after it left, so that a somewhat longer
 * queue would have kept it, makes the queue that it left longer at the cost of
 * the other: the place goes where another page of it saves more misses.
 *
 * A folio that was hit just once while the small queue is long has not shown
 * much: it goes round the small queue again.
 *
 * Figures: tests/bench/README.trace.
 */

#include <assert.h>
#include <stdatomic.h>

#include "fs/num.h"
#include "cache/folio/folio.h"
#include "cache/folio/reclaim-policy.h"

/* Lengths of the small queue and ages, in hundredths of the memory. */
#define START_TARGET 10
#define MIN_TARGET 5
#define MAX_TARGET 90
#define LONG_TARGET 30
#define NEAR_AGE 20 /* ghosts of which tell where more memory would help */
#define MAX_AGE 90  /* ghosts of which are known: as long as the main queue */

/* Pages by which the target moves for each page that is known again. */
#define STEP 3

/* The kinds of ghosts. */
enum { LEFT_SMALL, LEFT_MAIN };

static uint32_t
percent (const struct policy *policy, uint32_t n)
{
  return (uint32_t) ((uint64_t) policy->arena->nr_pages * n / 100);
}

int
policy_init (struct policy *policy, struct arena *arena)
{
  policy->arena = arena;
  policy->target = percent (policy, START_TARGET);
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

void
policy_replace (struct policy *policy, struct folio *from, struct folio *to)
{
  enum queue_id id = from->queue;
  uint32_t prev = from->prev, next = from->next;

  unlink_folio (policy, from);
  link_between (policy, to, id, prev, next);
}

/* A folio has come back that one of the queues would still have, had it been
 * a little longer: make it a little longer.
 */
static void
adapt (struct policy *policy, unsigned kind, uint32_t step)
{
  uint32_t lowest = percent (policy, MIN_TARGET);

  if (kind == LEFT_SMALL)
    policy->target =
      (uint32_t) min_u64 (policy->target + step, percent (policy, MAX_TARGET));
  else
    policy->target -= (uint32_t) min_u64 (step, policy->target - lowest);
}

/* Has the folio been here lately? */
static bool
is_known (struct policy *policy, struct folio *folio)
{
  unsigned kind;
  uint32_t age;

  if (!ghost_take (policy->ghost, atomic_load (&folio->mapping),
                   folio_index (folio), folio_order (folio), &kind, &age) ||
      age > percent (policy, MAX_AGE))
    return false;
  if (age <= percent (policy, NEAR_AGE))
    adapt (policy, kind, STEP * (uint32_t) folio_pages (folio));
  return true;
}

void
policy_add (struct policy *policy, struct folio *folio, bool cold)
{
  bool known = !cold && is_known (policy, folio);

  atomic_store_explicit (&folio->freq, 0, memory_order_relaxed);
  push_head (policy, folio, known ? QUEUE_MAIN : QUEUE_SMALL);
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
  bool from_small = small->pages >= policy->target;

  if (from_small == other)
    return main->tail != PFN_NONE ? QUEUE_MAIN : QUEUE_SMALL;
  return small->tail != PFN_NONE ? QUEUE_SMALL : QUEUE_MAIN;
}

/* Should the folio at the tail of its queue stay?  Then moves it on. */
static bool
spare (struct policy *policy, struct folio *folio)
{
  bool small = folio->queue == QUEUE_SMALL;
  uint8_t freq = atomic_load_explicit (&folio->freq, memory_order_relaxed);

  if (freq == 0)
    return false;
  unlink_folio (policy, folio);
  if (small && freq == 1 && policy->target > percent (policy, LONG_TARGET))
    push_head (policy, folio, QUEUE_SMALL);
  else
    push_head (policy, folio, QUEUE_MAIN);
  atomic_store_explicit (&folio->freq, small ? 0 : freq - 1,
                         memory_order_relaxed);
  return true;
}

void
policy_take (struct policy *policy, struct folio *folio, struct victim *victim)
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
      policy_take (policy, arena_folio (policy->arena, pfn), victim);
      return true;
    }
  }
  return false;
}

void
policy_evicted (struct policy *policy, const struct victim *victim)
{
  ghost_add (policy->ghost, victim->mapping, victim->index, victim->order,
             victim->queue == QUEUE_SMALL ? LEFT_SMALL : LEFT_MAIN);
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
