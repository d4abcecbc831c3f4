/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads of the store under way, and what of them is zeroed meanwhile.  A zero does
 * not wait for them; what they bring is older than the zero, and is not used.
 *
 * A watch begins before it is looked whether the iomap still holds, so that a
 * zero that does not show there is one that finds the watch.
 */

#ifndef FOLIO_WATCH_H
#define FOLIO_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The caller's, from watch_begin to watch_end. */
struct watch {
  uint64_t start, end; /* bytes */
  /* In there, all that was zeroed, and more; written under the lock, and before
   * what is in memory of it is dropped, under the index lock.
   */
  _Atomic uint64_t zeroed, zeroed_end;
  struct watch *next, **prev;
};

struct watches {
  pthread_mutex_t lock; /* a leaf */
  struct watch *head;
};

extern void watches_init (struct watches *watches);
extern void watches_destroy (struct watches *watches);

extern void watch_begin (struct watches *watches, struct watch *watch,
                         uint64_t start, uint64_t end);
extern void watch_end (struct watches *watches, struct watch *watch);

/* [start, end) is zeroed, and its iomap says so. */
extern void watches_zero (struct watches *watches, uint64_t start,
                          uint64_t end);

/* Has some of [start, end) been zeroed since the watch began?  Sure under the index
 * lock; else of what was dropped before.
 */
static inline bool
watch_zeroed (const struct watch *watch, uint64_t start, uint64_t end)
{
  return atomic_load (&watch->zeroed) < end &&
         start < atomic_load (&watch->zeroed_end);
}

#endif /* FOLIO_WATCH_H */
