/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The list of zeroes and trims that are not flushed yet.
 */

#include <errno.h>
#include <string.h>

#include "cache/base/num.h"
#include "cache/folio/range-ops.h"
#include "cache/post/inbox.h"
#include "cache/post/zeroes.h"
#include "fs/iomap.h"

void
zeroes_init (struct zeroes *zeroes, struct folios *folios, struct fs *fs,
             struct inbox *inbox)
{
  memset (zeroes, 0, sizeof *zeroes);
  pthread_mutex_init (&zeroes->lock, NULL);
  zeroes->env = folios->env;
  zeroes->folios = folios;
  zeroes->fs = fs;
  zeroes->inbox = inbox;
}

void
zeroes_destroy (struct zeroes *zeroes)
{
  pthread_mutex_destroy (&zeroes->lock);
}

int
zeroes_begin (struct zeroes *zeroes, const struct zero_op *op)
{
  int i, slot = -1;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES && slot < 0; i++)
    if (zeroes->op[i].length == 0)
      slot = i;
  if (slot >= 0) {
    zeroes->op[slot] = *op;
    zeroes->op[slot].busy = true;
  }
  pthread_mutex_unlock (&zeroes->lock);
  return slot;
}

/* Can `next' become part of `old', which it goes on from? */
static bool
continues (const struct zero_op *old, const struct zero_op *next)
{
  return old->length && old->offset + old->length == next->offset &&
         old->flags == next->flags && old->trim == next->trim && !old->busy &&
         !old->flushing;
}

/* Lock held. */
static void
changed (struct zeroes *zeroes)
{
  atomic_fetch_add (&zeroes->changes, 1);
  zeroes->env->wake (zeroes->env, &zeroes->changes);
}

void
zeroes_end (struct zeroes *zeroes, int slot, bool done)
{
  struct zero_op *op = &zeroes->op[slot];
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  op->busy = false;
  /* Not while they are being done again, one slot after the other. */
  for (i = 0; done && i < MAX_ZEROES && !zeroes_to_redo (zeroes); i++)
    if (continues (&zeroes->op[i], op)) {
      zeroes->op[i].length += op->length;
      done = false;
    }
  if (done)
    atomic_fetch_add (&zeroes->nr_done, 1);
  else
    op->length = 0;
  changed (zeroes);
  pthread_mutex_unlock (&zeroes->lock);
}

bool
zeroes_wait_busy (struct zeroes *zeroes)
{
  struct env *env = zeroes->env;
  bool busy = true;
  uint32_t seen;
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES && busy; i++)
    busy = zeroes->op[i].length && zeroes->op[i].busy;
  seen = atomic_load (&zeroes->changes);
  pthread_mutex_unlock (&zeroes->lock);
  if (busy)
    env->wait (env, &zeroes->changes, seen, ENV_FOREVER);
  return busy;
}

static bool
done_in (const struct zero_op *op, uint64_t start, uint64_t end)
{
  return op->length && !op->busy && op->offset < end &&
         start < op->offset + op->length;
}

bool
zeroes_done_in (struct zeroes *zeroes, uint64_t start, uint64_t end)
{
  bool found = false;
  unsigned i;

  if (atomic_load (&zeroes->nr_done) == 0)
    return false;
  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES && !found; i++)
    found = done_in (&zeroes->op[i], start, end);
  pthread_mutex_unlock (&zeroes->lock);
  return found;
}

bool
zeroes_at (struct zeroes *zeroes, uint64_t pos, uint64_t *length)
{
  uint64_t zero_end = pos, end = pos + *length;
  const struct zero_op *op;
  unsigned i;

  if (atomic_load (&zeroes->nr_done) == 0)
    return false;
  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES; i++) {
    op = &zeroes->op[i];
    if (!done_in (op, pos, pos + *length))
      continue;
    if (op->offset > pos)
      end = min_u64 (end, op->offset);
    else
      zero_end = max_u64 (zero_end, op->offset + op->length);
  }
  pthread_mutex_unlock (&zeroes->lock);
  if (zero_end > pos)
    end = min_u64 (zero_end, pos + *length);
  *length = end - pos;
  return zero_end > pos;
}

void
zeroes_list (struct zeroes *zeroes, struct zero_op *ops)
{
  pthread_mutex_lock (&zeroes->lock);
  memcpy (ops, zeroes->op, sizeof zeroes->op);
  pthread_mutex_unlock (&zeroes->lock);
}

void
zeroes_flush_begin (struct zeroes *zeroes)
{
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES; i++)
    zeroes->op[i].flushing = zeroes->op[i].length && !zeroes->op[i].busy;
  pthread_mutex_unlock (&zeroes->lock);
}

/* All that are left are to be done again.  Lock held. */
static void
ask_for_redo (struct zeroes *zeroes)
{
  bool left = false;
  unsigned i;

  for (i = 0; i < MAX_ZEROES; i++) {
    zeroes->op[i].flushing = false;
    zeroes->op[i].lost = zeroes->op[i].length != 0;
    left |= zeroes->op[i].lost;
  }
  if (!left)
    return;
  atomic_store (&zeroes->redo_error, 0);
  atomic_fetch_or (&zeroes->word, ZEROES_REDO);
  zeroes->env->wake (zeroes->env, &zeroes->word);
}

void
zeroes_flush_end (struct zeroes *zeroes, int error)
{
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES && error == 0; i++) {
    if (zeroes->op[i].flushing) {
      zeroes->op[i].length = 0;
      atomic_fetch_sub (&zeroes->nr_done, 1);
    }
    zeroes->op[i].flushing = false;
  }
  changed (zeroes);
  if (error)
    ask_for_redo (zeroes);
  pthread_mutex_unlock (&zeroes->lock);
}

void
zeroes_lost (struct zeroes *zeroes)
{
  pthread_mutex_lock (&zeroes->lock);
  ask_for_redo (zeroes);
  pthread_mutex_unlock (&zeroes->lock);
}

/* --- doing them again --- */

/* Should op, whose range is held, be done again?  Not if the slot has another
 * by now, nor if the store is yet to do it, which is after the loss.
 */
static bool
take_lost (struct zeroes *zeroes, unsigned slot, const struct zero_op *op)
{
  struct zero_op *now = &zeroes->op[slot];
  bool take;

  pthread_mutex_lock (&zeroes->lock);
  take = now->lost && now->offset == op->offset && now->length == op->length;
  if (take)
    now->lost = false; /* lest a loss from here on be missed */
  take = take && !now->busy;
  pthread_mutex_unlock (&zeroes->lock);
  return take;
}

/* It could not be done again.  Its range is held, and nothing is flushed: it is
 * still in its slot.
 */
static void
give_back_lost (struct zeroes *zeroes, unsigned slot)
{
  pthread_mutex_lock (&zeroes->lock);
  zeroes->op[slot].lost = true;
  pthread_mutex_unlock (&zeroes->lock);
}

static int
redo_slot (struct zeroes *zeroes, unsigned slot)
{
  struct range range;
  struct zero_op op;
  int r = 0;

  pthread_mutex_lock (&zeroes->lock);
  op = zeroes->op[slot];
  pthread_mutex_unlock (&zeroes->lock);
  if (op.length == 0 || !op.lost)
    return 0;

  range = (struct range) { .start = op.offset, .end = op.offset + op.length };
  ranges_add_wait (&zeroes->folios->ranges, &range);
  if (take_lost (zeroes, slot, &op)) {
    r = zeroes->fs->ops->zero (zeroes->fs, op.offset, op.length,
                               (op.flags & ~STORE_FAST_ZERO) | IOMAP_ZERO_AGAIN,
                               op.trim);
    if (r < 0)
      give_back_lost (zeroes, slot);
    /* What was written over it since must go out after it; and before it the
     * store had, and may have been asked for, what was there before the zero.
     */
    folios_distrust_range (zeroes->folios, range.start, range.end);
  }
  folios_end_range (zeroes->folios, &range);
  return r;
}

/* One that fails does not keep the others.  Returns the first error. */
static int
redo_all (struct zeroes *zeroes)
{
  unsigned slot;
  int r = 0, one;

  for (slot = 0; slot < MAX_ZEROES; slot++) {
    one = atomic_load (&zeroes->word) & ZEROES_STOP ? -ESHUTDOWN
                                                    : redo_slot (zeroes, slot);
    if (r == 0)
      r = one;
  }
  return r;
}

/* Are all done again?  Some may have been lost once more meanwhile. */
static bool
end_redo (struct zeroes *zeroes)
{
  bool left = false;
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < MAX_ZEROES && !left; i++)
    left = zeroes->op[i].length && zeroes->op[i].lost;
  if (!left) {
    /* In this order: who sees that none are left sees that some were. */
    atomic_fetch_add (&zeroes->redone, 1);
    atomic_fetch_and (&zeroes->word, ~ZEROES_REDO);
  }
  pthread_mutex_unlock (&zeroes->lock);
  return !left;
}

/* A lock that is held across store I/O, and so one of env's: as that of a folio
 * (folio.h).
 */
static void
lock_redo (struct zeroes *zeroes)
{
  struct env *env = zeroes->env;
  uint32_t expected = 0;

  if (atomic_compare_exchange_strong (&zeroes->redoing, &expected, 1))
    return;
  while (atomic_exchange (&zeroes->redoing, 2) != 0)
    env->wait (env, &zeroes->redoing, 2, ENV_FOREVER);
}

static void
unlock_redo (struct zeroes *zeroes)
{
  if (atomic_exchange (&zeroes->redoing, 0) == 2)
    zeroes->env->wake (zeroes->env, &zeroes->redoing);
}

int
zeroes_redo (struct zeroes *zeroes)
{
  int r = 0;

  if (!zeroes_to_redo (zeroes))
    return 0;
  lock_redo (zeroes);
  if (zeroes_to_redo (zeroes)) {
    atomic_store (&zeroes->redo_error, 0);
    do {
      r = redo_all (zeroes);
      inbox_note_unflushed (zeroes->inbox);
    } while (r == 0 && !end_redo (zeroes));
    atomic_store (&zeroes->redo_error, r);
    bell_ring (zeroes->inbox->bell);
  }
  unlock_redo (zeroes);
  return r;
}

int
zeroes_redo_error (struct zeroes *zeroes)
{
  return atomic_load (&zeroes->word) & ZEROES_STOP
           ? -ESHUTDOWN
           : atomic_load (&zeroes->redo_error);
}

/* Sleep until some are to be done again; false: the thread is to end. */
static bool
wait_to_redo (struct zeroes *zeroes)
{
  uint32_t word;

  while ((word = atomic_load (&zeroes->word)) == 0)
    zeroes->env->wait (zeroes->env, &zeroes->word, 0, ENV_FOREVER);
  return !(word & ZEROES_STOP);
}

void
zeroes_redo_loop (struct zeroes *zeroes)
{
  struct env *env = zeroes->env;
  uint32_t seen;

  while (wait_to_redo (zeroes)) {
    seen = atomic_load (&zeroes->retry);
    if (zeroes_redo (zeroes) == 0)
      inbox_kick (zeroes->inbox);
    else
      env->wait (env, &zeroes->retry, seen, env->now (env) + NSEC_PER_SEC);
  }
}

void
zeroes_stop (struct zeroes *zeroes)
{
  atomic_fetch_or (&zeroes->word, ZEROES_STOP);
  zeroes->env->wake (zeroes->env, &zeroes->word);
  zeroes_retry (zeroes);
}

void
zeroes_retry (struct zeroes *zeroes)
{
  atomic_fetch_add (&zeroes->retry, 1);
  zeroes->env->wake (zeroes->env, &zeroes->retry);
}
