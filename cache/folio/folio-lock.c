/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The folio lock: its states are in folio.h.
 */

#include "cache/base/lock-order.h"
#include "cache/folio/folio.h"

/* How long the loop thread's turn is waited for (ns). */
#define YIELD NSEC_PER_MSEC

/* (As CONTENDED: somebody may wait for the turn to be over.) */
static bool
try_turn (struct folio *folio)
{
  uint32_t expected = FOLIO_TURN;

  return folio_trylock (folio) || atomic_compare_exchange_strong (
                                    &folio->lock, &expected, FOLIO_CONTENDED);
}

bool
folio_trylock_wanted (struct folio *folio)
{
  if (try_turn (folio))
    return true;
  atomic_fetch_or (&folio->flags, FOLIO_WANTED);
  if (!try_turn (folio))
    return false;
  atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_WANTED);
  return true;
}

/* Wait until it may be locked.  Returns the state in which it is then. */
static uint32_t
wait_for_lock (struct env *env, struct folio *folio)
{
  uint32_t lock = FOLIO_LOCKED;
  bool yielded = false;

  for (;;) {
    if (lock == FOLIO_UNLOCKED || (lock == FOLIO_TURN && yielded))
      return lock;
    if (lock == FOLIO_TURN) {
      yielded = true;
      env->wait (env, &folio->lock, FOLIO_TURN, env->now (env) + YIELD);
      lock = atomic_load (&folio->lock);
    }
    else if (lock == FOLIO_CONTENDED ||
             atomic_compare_exchange_strong (&folio->lock, &lock,
                                             FOLIO_CONTENDED)) {
      env->wait (env, &folio->lock, FOLIO_CONTENDED, ENV_FOREVER);
      lock = atomic_load (&folio->lock);
    }
  }
}

bool
folio_lock (struct env *env, struct folio *folio)
{
  uint32_t expected = FOLIO_UNLOCKED;

  lock_order_check (RANK_INDEX); /* several folio locks are in order */
  if (atomic_compare_exchange_strong (&folio->lock, &expected, FOLIO_LOCKED))
    return false;
  do
    expected = wait_for_lock (env, folio);
  while (
    !atomic_compare_exchange_strong (&folio->lock, &expected, FOLIO_CONTENDED));
  return true;
}

/* Sequentially consistent with the loop thread, which sets the flag first and then
 * tries the lock again: one of us sees the other.  Should another have the lock by
 * now, then the turn comes after that.
 */
static __attribute__ ((noinline)) void
leave_turn (struct folios *folios, struct folio *folio)
{
  uint32_t expected = FOLIO_UNLOCKED;

  if (!atomic_compare_exchange_strong (&folio->lock, &expected, FOLIO_TURN))
    return;
  atomic_fetch_and (&folio->flags, (uint16_t) ~FOLIO_WANTED);
  bell_ring (folios->bell);
}

void
folio_unlock (struct folios *folios, struct folio *folio)
{
  struct env *env = folios->env;
  uint32_t was = atomic_exchange (&folio->lock, FOLIO_UNLOCKED);

  if (atomic_load (&folio->flags) & FOLIO_WANTED)
    leave_turn (folios, folio);
  if (was == FOLIO_CONTENDED)
    env->wake (env, &folio->lock);
}
