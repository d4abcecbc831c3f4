/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The eviction policy: queues of folios, and which of them is to go next.
 * Decisions only: it evicts nothing and holds no references.
 *
 * All functions: the queue lock is held (see reclaim.h).
 */

#ifndef FOLIO_RECLAIM_POLICY_H
#define FOLIO_RECLAIM_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/base/arena.h"
#include "cache/folio/ghost.h"

/* folio->queue */
enum queue_id { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN, NR_QUEUES };

struct queue {
  uint32_t head, tail; /* PFN_NONE: empty; folios come in at the head */
  uint32_t pages;      /* a folio counts for its pages */
};

struct policy {
  struct arena *arena;
  struct ghost *ghost;
  struct queue queues[NR_QUEUES];
  uint32_t target; /* pages that the small queue should have */
};

/* A folio that was chosen, and what is remembered of it should it go. */
struct victim {
  struct folio *folio; /* NULL: none */
  uint64_t index;
  uint16_t mapping;
  uint8_t order;
  uint8_t queue; /* that it was taken from */
};

/* Returns 0 or -ENOMEM. */
extern int policy_init (struct policy *policy, struct arena *arena);
extern void policy_destroy (struct policy *policy);

/* A folio that is in no queue has come into its index. */
extern void policy_add (struct policy *policy, struct folio *folio, bool cold);

/* Take the folio out of its queue, if it is in one. */
extern void policy_remove (struct policy *policy, struct folio *folio);

/* Choose a folio and take it out of its queue; false if there is none, or none
 * was found in *steps folios looked at, which is decreased.  force: do not
 * spare a folio for its hits.  other: prefer the queue whose turn it is not.
 */
extern bool policy_choose (struct policy *policy, unsigned *steps, bool force,
                           bool other, struct victim *victim);

/* Take this folio, which is in a queue, out of it. */
extern void policy_take (struct policy *policy, struct folio *folio,
                         struct victim *victim);

/* `to', of the same order, comes into the place of `from', which is in a queue. */
extern void policy_replace (struct policy *policy, struct folio *from,
                            struct folio *to);

/* The victim has left the cache. */
extern void policy_evicted (struct policy *policy, const struct victim *victim);

/* The victim could not go: put it back, next to go or after all others. */
extern void policy_put_back (struct policy *policy, const struct victim *victim,
                             bool next);

/* The folio is to be the next to go in its queue, if it is in one. */
extern void policy_rotate (struct policy *policy, struct folio *folio);

#endif /* FOLIO_RECLAIM_POLICY_H */
