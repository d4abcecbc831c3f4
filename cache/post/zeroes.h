/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes and trims that the store has done but not flushed yet.  If the flush
 * fails, or the store says that it lost what was not flushed, they must be done
 * again, like unstable data.  Whatever was written over
 * one since is either in the cache, not durable, and will be written again
 * after it; or durable, and then so is the zero.  (Direct writes, of which the
 * cache has nothing, flush it first.)
 */

#ifndef FOLIO_ZEROES_H
#define FOLIO_ZEROES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/env.h"

struct folios;
struct fs;
struct inbox;

#define MAX_ZEROES 64

struct zero_op {
  uint64_t offset, length; /* bytes; length 0: the slot is free */
  unsigned flags;          /* of iomap_ops.zero */
  bool trim;
  bool busy;     /* the store is at it */
  bool flushing; /* it was done before the flush now in flight */
  bool lost;     /* it may be: it is to be done again */
};

/* Values of zeroes->word, or'ed. */
#define ZEROES_REDO 1u /* some may be lost: do those again */
#define ZEROES_STOP 2u /* the thread that sees to that is to end */

struct zeroes {
  pthread_mutex_t lock; /* protects op; a leaf */
  struct zero_op op[MAX_ZEROES];
  _Atomic unsigned nr_done; /* of op, those that the store has done; changed
                             * under the lock */
  _Atomic uint32_t word;    /* futex word */
  _Atomic uint32_t changes; /* futex word: counts ends of zeroes and flushes */
  _Atomic uint32_t redoing; /* futex word, a lock: held by who does them again,
                             * taken before any range */
  _Atomic uint32_t retry;   /* futex word: changes when it is worth trying */
  _Atomic uint32_t redone;  /* how often all that were lost were done again */
  _Atomic int redo_error;   /* why the last try failed; 0: it did not, or there
                             * was none since it was asked for */
  struct env *env;
  struct folios *folios;
  struct fs *fs;
  struct inbox *inbox;
};

extern void zeroes_init (struct zeroes *zeroes, struct folios *folios,
                         struct fs *fs, struct inbox *inbox);
extern void zeroes_destroy (struct zeroes *zeroes);

/* The store will do this one once the caller holds its range.  Returns a slot
 * for it, to be given to zeroes_end before the range is given back; or -1 if
 * there is no room before something is flushed.
 */
extern int zeroes_begin (struct zeroes *zeroes, const struct zero_op *op);

/* It has (done), or has not. */
extern void zeroes_end (struct zeroes *zeroes, int slot, bool done);

/* If the store is at all of them, sleep until one changes, and return true. */
extern bool zeroes_wait_busy (struct zeroes *zeroes);

/* Copy all MAX_ZEROES slots into ops. */
extern void zeroes_list (struct zeroes *zeroes, struct zero_op *ops);

/* A store flush begins; it has ended (loop thread). */
extern void zeroes_flush_begin (struct zeroes *zeroes);
extern void zeroes_flush_end (struct zeroes *zeroes, int error);

/* The store may have lost them: all are to be done again, those that it is at,
 * too, and a flush in flight does not count for any (loop thread).
 */
extern void zeroes_lost (struct zeroes *zeroes);

/* Is there a zero or trim in [start, end) that the store has done and not
 * flushed?  One that it is at, or will be, does not count.
 */
extern bool zeroes_done_in (struct zeroes *zeroes, uint64_t start,
                            uint64_t end);

/* Is pos in one of those?  Clips *length, from pos on, to where that changes.
 * Cheap when there are none; takes only their lock.
 *
 * What is not in the cache there reads as zero, whatever the store has, which
 * may be what was there before if it has lost the zero.  For the cache has all
 * that was written there since:
 *
 * - It was written after zeroes_end, for what was cached before is dropped
 *   then; so it is sent after it too, write-back having waited for the range.
 * - It leaves the cache when clean, by a store flush that began after it was
 *   sent.  To that flush the zero was done, and when it succeeds the zero is off
 *   the list (zeroes_flush_end) before the sweep makes anything clean.
 * - It is dropped for another zero only when that is on the list.
 * - A direct write takes the zero off the list first, by a flush, and none is
 *   added while it holds its range.
 */
extern bool zeroes_at (struct zeroes *zeroes, uint64_t pos, uint64_t *length);

/* Are some to be done again?  No flush may begin before that.  Begins on the
 * loop thread only.
 */
static inline bool
zeroes_to_redo (struct zeroes *zeroes)
{
  return (atomic_load (&zeroes->word) & ZEROES_REDO) != 0;
}

/* Do them again, if need be, all that can be.  Waits; not on the loop thread,
 * with no lock held.  Returns 0, also when there is nothing to do, or the first
 * error: some are still to be done again.
 */
extern int zeroes_redo (struct zeroes *zeroes);

/* How often it came to that none was left to be done again.  Each time, what was
 * written over them has become dirty first.
 */
static inline uint32_t
zeroes_redone (struct zeroes *zeroes)
{
  return atomic_load (&zeroes->redone);
}

/* While some are to be done again: why that has failed, or 0 if it may still
 * succeed by itself.
 */
extern int zeroes_redo_error (struct zeroes *zeroes);

/* The life of the thread that does them again whenever there is need, and asks
 * the store once a second until it does; until zeroes_stop.
 */
extern void zeroes_redo_loop (struct zeroes *zeroes);
extern void zeroes_stop (struct zeroes *zeroes);

/* The store is better now: that thread is to try again at once. */
extern void zeroes_retry (struct zeroes *zeroes);

#endif /* FOLIO_ZEROES_H */
