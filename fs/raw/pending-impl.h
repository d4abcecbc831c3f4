/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside of pending zeroes, for fs/raw/pending*.c only.
 */

#ifndef FOLIO_PENDING_IMPL_H
#define FOLIO_PENDING_IMPL_H

#include "fs/num.h"
#include "fs/raw/pending.h"

/* --- queues; a range is in one, or about to be --- */

extern void pending_enqueue (struct pending *p, struct pending_zero *x,
                             struct pending_queue *queue);

/* Into active, before all others, and without an error. */
extern void pending_enqueue_first (struct pending *p, struct pending_zero *x);
extern void pending_dequeue (struct pending *p, struct pending_zero *x);

/* --- ranges --- */

/* x has so many bytes more, or, in two's complement, less. */
extern void pending_count (struct pending *p, const struct pending_zero *x,
                           uint64_t bytes);

/* x goes, out of its queue, too. */
extern void pending_drop (struct pending *p, struct pending_zero *x);

/* One like x, in its place and in no queue.  There is a node. */
extern struct pending_zero *pending_new (struct pending *p,
                                         const struct pending_zero *x);

/* Cut x in two at pos, inside; x stays the first.  False without a node. */
extern bool pending_split (struct pending *p, struct pending_zero *x,
                           uint64_t pos);

/* Make a range of its own of x's part in [start, end).  NULL without a node. */
extern struct pending_zero *pending_split_off (struct pending *p,
                                               struct pending_zero *x,
                                               uint64_t start, uint64_t end);

/* The two, and what is between them, become one: the older. */
extern struct pending_zero *pending_join (struct pending *p,
                                          struct pending_zero *left,
                                          struct pending_zero *right);

/* The first with a byte at pos or after it; the neighbours of one; and the first,
 * or the next, with a byte in [start, end).  NULL: there is none.
 */
extern struct pending_zero *pending_reaching (struct pending *p, uint64_t pos);
extern struct pending_zero *pending_after (struct pending_zero *x);
extern struct pending_zero *pending_before (struct pending_zero *x);
extern struct pending_zero *pending_first_in (struct pending *p, uint64_t start,
                                              uint64_t end);
extern struct pending_zero *pending_next_in (struct pending_zero *x,
                                             uint64_t end);

/* Are there two at least: enough to make a range of its own of a part of one? */
static inline bool
pending_has_nodes (const struct pending *p)
{
  const struct pending_zero *x = TAILQ_FIRST (&p->unused);

  return x && TAILQ_NEXT (x, entry);
}

static inline bool
pending_is_wanted (const struct pending *p, const struct pending_zero *x)
{
  return x->state == PENDING_UNSENT && x->error == 0 && x->order <= p->wanted;
}

#endif /* FOLIO_PENDING_IMPL_H */
