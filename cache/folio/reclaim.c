/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Eviction, see reclaim.h: carries out what the policy chooses.
 *
 * A folio never is in a queue when its memory is freed:
 *
 *   - Eviction takes it out of its queue, with a reference, before it takes it
 *     out of its index; if that is refused, it is put back only if it is
 *     (still) mapped, and the reference is dropped only then.
 *   - Everyone else unmaps it (mapping becomes 0) before reclaim_remove, and
 *     has a reference until that returns.
 *   - It is put into a queue, by reclaim_add or back, only under the queue
 *     lock, with a reference, and if it is mapped.
 *
 * So whoever puts it into a queue either is seen by reclaim_remove, or sees
 * that it is unmapped: both hold the queue lock, and unmapping came before.
 */

#include "cache/folio/reclaim-inside.h"

#define MAX_REFUSED 512    /* folios that would not go until a batch is over */
#define QUEUE_PATIENCE 256 /* until the other queue is tried */
#define LOCK_STEPS 64      /* folios looked at with the queue locked */
#define MAX_STEPS 4096     /* until a folio has to go in spite of its hits */

void
reclaim_add (struct reclaim *reclaim, struct folio *folio, bool cold)
{
  queue_lock (reclaim);
  if (folio_mapped (folio))
    policy_add (&reclaim->policy, folio, cold);
  queue_unlock (reclaim);
}

void
reclaim_remove (struct reclaim *reclaim, struct folio *folio)
{
  queue_lock (reclaim);
  policy_remove (&reclaim->policy, folio);
  queue_unlock (reclaim);
}

void
reclaim_wake_sleepers (struct reclaim *reclaim)
{
  struct arena *arena = reclaim->arena;

  if (atomic_load (&arena->sleepers) == 0)
    return;
  atomic_fetch_add (&arena->freed, 1);
  reclaim->env->wake (reclaim->env, &arena->freed);
}

void
reclaim_rotate (struct reclaim *reclaim, struct folio *folio)
{
  queue_lock (reclaim);
  policy_rotate (&reclaim->policy, folio);
  queue_unlock (reclaim);
  reclaim_wake_sleepers (reclaim);
}

/* --- evicting --- */

/* Choose a folio, take it out of its queue and get a reference.  refused: how
 * many would not go so far.  Returns false if there is none.
 */
static bool
choose (struct reclaim *reclaim, unsigned refused, struct victim *victim)
{
  bool other = refused / QUEUE_PATIENCE % 2;
  bool found = false, force = false;
  unsigned looked, steps;

  for (looked = 0; !found && !force; looked += LOCK_STEPS) {
    steps = LOCK_STEPS;
    force = looked >= MAX_STEPS;
    queue_lock (reclaim);
    found = policy_choose (&reclaim->policy, &steps, force, other, victim);
    if (found)
      folio_get (victim->folio); /* its index has one while it is queued */
    queue_unlock (reclaim);
    if (!found && steps > 0)
      return false;
  }
  return found;
}

/* The victim, for which there is a reference, would not go.  marked: it was
 * given FOLIO_RECLAIM.
 */
static void
put_back (struct reclaim *reclaim, const struct victim *victim, bool marked)
{
  struct folio *folio = victim->folio;
  bool next;

  queue_lock (reclaim);
  if (folio_mapped (folio)) {
    /* A mark that is gone again: it has become clean, and reclaim_rotate did
     * not find it in a queue (or is still to come).
     */
    next = marked && !(atomic_load (&folio->flags) & FOLIO_RECLAIM);
    policy_put_back (&reclaim->policy, victim, next);
  }
  queue_unlock (reclaim);
  folio_put (reclaim->arena, folio);
}

static void
free_victim (struct reclaim *reclaim, const struct victim *victim)
{
  struct folio *folio = victim->folio;

  queue_lock (reclaim);
  policy_evicted (&reclaim->policy, victim);
  queue_unlock (reclaim);

  atomic_fetch_add (&reclaim->evicted, 1u << victim->order);
  if (atomic_load (&folio->flags) & FOLIO_UNREAD)
    atomic_fetch_add (&reclaim->wasted, 1u << victim->order);
  arena_free (reclaim->arena, folio);
}

/* Mark a folio that is not clean, so that reclaim_rotate is called when it is.
 * Returns false if it has become clean meanwhile.
 */
static bool
mark (struct reclaim *reclaim, struct folio *folio)
{
  /* Whoever makes it clean takes the mark away after that, in one step with
   * looking for it: so either finds this, or this sees what that made.
   */
  atomic_fetch_or (&folio->flags, FOLIO_RECLAIM);
  return folio_unsaved (reclaim->arena, folio);
}

/* Returns whether the victim is gone, and freed.  *busy is set if it is clean
 * and yet would not go: someone has a reference for a moment.
 */
static bool
evict (struct reclaim *reclaim, const struct victim *victim, bool *busy)
{
  struct folio *folio = victim->folio;
  bool marked = folio_unsaved (reclaim->arena, folio);
  bool unsaved = marked && mark (reclaim, folio);

  if (unsaved || !reclaim->ops->evict (reclaim->opaque, folio)) {
    put_back (reclaim, victim, marked);
    *busy |= !unsaved;
    return false;
  }
  free_victim (reclaim, victim);
  return true;
}

uint32_t
reclaim_evict (struct reclaim *reclaim, uint32_t nr, bool *busy)
{
  struct victim victim;
  unsigned refused = 0;
  uint32_t freed = 0;

  *busy = false;
  while (freed < nr && refused < MAX_REFUSED) {
    if (!choose (reclaim, refused, &victim))
      break;
    if (evict (reclaim, &victim, busy))
      freed += 1u << victim.order;
    else
      ++refused;
  }
  if (freed < nr && refused > 0)
    reclaim->ops->need_clean (reclaim->opaque);
  return freed;
}

uint32_t
reclaim_pages (struct reclaim *reclaim, uint32_t nr)
{
  bool busy;

  return reclaim_evict (reclaim, nr, &busy);
}

/* Take the folio, of which there is a reference, out of its queue. */
static bool
take (struct reclaim *reclaim, struct folio *folio, struct victim *victim)
{
  bool queued;

  queue_lock (reclaim);
  queued = folio->queue != QUEUE_NONE;
  if (queued)
    policy_take (&reclaim->policy, folio, victim);
  queue_unlock (reclaim);
  return queued;
}

unsigned
reclaim_folios (struct reclaim *reclaim, struct folio **folios, unsigned nr)
{
  struct victim victim;
  unsigned evicted = 0;
  bool busy = false; /* here nobody asks */

  for (unsigned i = 0; i < nr; i++)
    if (take (reclaim, folios[i], &victim))
      evicted += evict (reclaim, &victim, &busy);
    else
      folio_put (reclaim->arena, folios[i]);
  return evicted;
}

uint64_t
reclaim_wasted_readahead (struct reclaim *reclaim)
{
  return atomic_load (&reclaim->wasted);
}

uint64_t
reclaim_evicted (struct reclaim *reclaim)
{
  return atomic_load (&reclaim->evicted);
}

/* --- moving --- */

bool
reclaim_begin_move (struct reclaim *reclaim, struct folio *from)
{
  uint32_t refs = 1; /* the index's */

  queue_lock (reclaim);
  if (from->queue != QUEUE_NONE &&
      atomic_compare_exchange_strong (&from->refs, &refs, 0))
    return true;
  queue_unlock (reclaim);
  return false;
}

void
reclaim_end_move (struct reclaim *reclaim, struct folio *from, struct folio *to)
{
  policy_replace (&reclaim->policy, from, to);
  queue_unlock (reclaim);
}

/* If a kick is lost to one who goes to sleep just then, the next allocation
 * kicks again.
 */
void
reclaim_kick (struct reclaim *reclaim)
{
  if (reclaim->started &&
      atomic_load_explicit (&reclaim->kicked, memory_order_relaxed) == 0 &&
      atomic_exchange (&reclaim->kicked, 1) == 0)
    reclaim->env->wake (reclaim->env, &reclaim->kicked);
}
