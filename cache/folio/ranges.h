/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ranges of the disk on which something is being done to the store: a
 * write-back (ioend), a zero, a trim or a direct write.  Two that overlap never
 * run at once, and one that waits keeps later ones from overtaking it.
 */

#ifndef FOLIO_RANGES_H
#define FOLIO_RANGES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/env.h"

struct range {
  uint64_t start, end; /* bytes; end is the first after it */
  struct range *next;  /* in order of arrival */
};

struct ranges {
  pthread_mutex_t lock; /* a leaf */
  struct range *head, **tail;
  _Atomic uint32_t released; /* futex word: changes with each removal */
  unsigned waiters;          /* threads in ranges_add_wait that sleep */
  bool refused;              /* try_add failed since it was last asked */
  struct env *env;
};

extern void ranges_init (struct ranges *ranges, struct env *env);
extern void ranges_destroy (struct ranges *ranges);

/* Add the range (start and end are set) if it overlaps no other, even one that
 * waits; else return false.
 */
extern bool ranges_try_add (struct ranges *ranges, struct range *range);

/* Add the range and wait until all that overlap it and came before are gone.
 * Not on the loop thread, and not with a folio locked.
 */
extern void ranges_add_wait (struct ranges *ranges, struct range *range);

/* Give back the part of an added range from `end' on. */
extern void ranges_shrink (struct ranges *ranges, struct range *range,
                           uint64_t end);

/* Remove a range that was added and turned out not to be wanted. */
extern void ranges_cancel (struct ranges *ranges, struct range *range);

/* Returns true if a try_add was refused since the last removal: whoever tried
 * should be told to try again.
 */
extern bool ranges_remove (struct ranges *ranges, struct range *range);

#endif /* FOLIO_RANGES_H */
