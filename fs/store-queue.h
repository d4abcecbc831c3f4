/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests that wait for their turn in a store's driver.  What somebody waits
 * for goes before what is done in the background, and the background never
 * takes all of the depth, so that a read miss does not queue behind a train of
 * write-back.  Nor does the background starve: of what waits, it has at least
 * every ninth turn.
 */

#ifndef FOLIO_STORE_QUEUE_H
#define FOLIO_STORE_QUEUE_H

#include "fs/store.h"

/* Requests by their next, in the order of their arrival.  All zeroes: none. */
struct store_list {
  struct store_req *head, *tail;
};

extern void store_list_add (struct store_list *list, struct store_req *req);

/* The first, taken out; NULL: there is none. */
extern struct store_req *store_list_take (struct store_list *list);

/* A driver's requests that are done, with 0 or a negative errno. */
extern void store_done_add (struct store_list *done, struct store_req *req,
                            int error);

/* Call done of all of them.  To be called without a lock. */
extern void store_done_call (struct store_list *done);

/* Protected by a lock of the driver's. */
struct store_queue {
  struct store *store; /* whose lease counts */
  unsigned depth;      /* requests in flight at most, 1 or more */
  unsigned in_flight;  /* taken and not done yet */
  unsigned background; /* of these, STORE_BACKGROUND */
  unsigned passed;     /* how often the rest, waiting, was not the next */
  struct store_list urgent, rest;
  struct store_list held; /* they have had their turn, but may not go now */
  bool holding;           /* all but reads are held, whatever the lease */
};

/* A depth that is out of bounds is made to fit. */
extern void store_queue_init (struct store_queue *queue, struct store *store,
                              unsigned depth);

/* Have one, that is not STORE_BACKGROUND, in flight at once.  False if others wait
 * or there are as many as may be, or it would be held.
 */
extern bool store_queue_pass (struct store_queue *queue,
                              const struct store_req *req);

/* One that is in flight is about to be sent, or a further part of it, or once more.
 * False: it waits again, before all others, to be held.
 */
extern bool store_queue_goes_on (struct store_queue *queue,
                                 struct store_req *req);

/* What is held waits again, before all others; but while holding, reads only.  With an
 * error, what is no read is added to done instead, and is not the queue's any more; so
 * is, with a done, a write that renews the lease.
 */
extern void store_queue_resume (struct store_queue *queue, int error,
                                struct store_list *done);

/* Wait behind all others of its kind. */
extern void store_queue_add (struct store_queue *queue, struct store_req *req);

/* Wait before all others of its kind: it has had its turn once. */
extern void store_queue_add_first (struct store_queue *queue,
                                   struct store_req *req);

/* The same of all in a list, in their order, which is empty then. */
extern void store_queue_add_all_first (struct store_queue *queue,
                                       struct store_list *list);

/* The next whose turn it is, now in flight; NULL if there is none, or too much
 * is in flight.  Those that may not go now are held.
 */
extern struct store_req *store_queue_take (struct store_queue *queue);

/* One that was taken is over, or is about to be added again. */
extern void store_queue_done (struct store_queue *queue,
                              const struct store_req *req);

/* Does none wait, and is none held? */
extern bool store_queue_empty (const struct store_queue *queue);

#endif /* FOLIO_STORE_QUEUE_H */
