/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two first-in-first-out lists and a share, and a third for what may not go.
 */

#include <stddef.h>

#include "fs/num.h"
#include "fs/store-queue.h"

#define MAX_DEPTH 4096u

/* How often what is urgent may go before the background in a row. */
#define PASSES 8

void
store_list_add (struct store_list *list, struct store_req *req)
{
  req->next = NULL;
  if (list->tail)
    list->tail->next = req;
  else
    list->head = req;
  list->tail = req;
}

struct store_req *
store_list_take (struct store_list *list)
{
  struct store_req *req = list->head;

  if (req == NULL)
    return NULL;
  list->head = req->next;
  if (list->head == NULL)
    list->tail = NULL;
  return req;
}

void
store_done_add (struct store_list *done, struct store_req *req, int error)
{
  req->error = error;
  store_list_add (done, req);
}

void
store_done_call (struct store_list *done)
{
  struct store_req *req;

  while ((req = store_list_take (done)) != NULL)
    req->done (req, req->error);
}

void
store_queue_init (struct store_queue *queue, struct store *store,
                  unsigned depth)
{
  *queue = (struct store_queue) {
    .store = store,
    .depth = (unsigned) max_u64 (min_u64 (depth, MAX_DEPTH), 1),
  };
}

/* The background's share of the depth.  With a depth of 1 nobody has a share,
 * and what is urgent is only first.
 */
static unsigned
background_max (const struct store_queue *queue)
{
  unsigned reserve = (queue->depth + 3) / 4;

  return queue->depth > reserve ? queue->depth - reserve : 1;
}

static struct store_list *
list_of (struct store_queue *queue, const struct store_req *req)
{
  return req->flags & STORE_BACKGROUND ? &queue->rest : &queue->urgent;
}

void
store_queue_add (struct store_queue *queue, struct store_req *req)
{
  store_list_add (list_of (queue, req), req);
}

void
store_queue_add_first (struct store_queue *queue, struct store_req *req)
{
  struct store_list *list = list_of (queue, req);

  req->next = list->head;
  list->head = req;
  if (list->tail == NULL)
    list->tail = req;
}

/* Each goes before all others, so the last goes first. */
void
store_queue_add_all_first (struct store_queue *queue, struct store_list *list)
{
  struct store_req *req, *reversed = NULL;

  while ((req = store_list_take (list)) != NULL) {
    req->next = reversed;
    reversed = req;
  }
  while ((req = reversed) != NULL) {
    reversed = req->next;
    store_queue_add_first (queue, req);
  }
}

static bool
rest_may_go (const struct store_queue *queue)
{
  return queue->rest.head && queue->background < background_max (queue);
}

/* What has come behind something that is held for the lease is held too: reads could
 * fill the line in which the one that renews it stands, for ever.
 */
static bool
may_go (const struct store_queue *queue, const struct store_req *req)
{
  struct store *store = queue->store;

  if (req->op == STORE_READ &&
      (req->flags & STORE_RENEWS || queue->held.head == NULL))
    return true;
  if (!store_may_change (store)) {
    store->lease.ask (store->lease.opaque);
    return false;
  }
  return req->op == STORE_READ || !queue->holding;
}

static struct store_req *
take_next (struct store_queue *queue)
{
  bool rest = rest_may_go (queue);

  if (queue->in_flight >= queue->depth)
    return NULL;
  if (queue->urgent.head == NULL && !rest)
    return NULL;
  queue->in_flight++;
  if (queue->urgent.head && !(rest && queue->passed >= PASSES)) {
    queue->passed += rest;
    return store_list_take (&queue->urgent);
  }
  queue->passed = 0;
  queue->background++;
  return store_list_take (&queue->rest);
}

struct store_req *
store_queue_take (struct store_queue *queue)
{
  struct store_req *req;

  while ((req = take_next (queue)) != NULL && !may_go (queue, req)) {
    store_queue_done (queue, req);
    store_list_add (&queue->held, req);
  }
  return req;
}

bool
store_queue_goes_on (struct store_queue *queue, struct store_req *req)
{
  if (may_go (queue, req))
    return true;
  store_queue_done (queue, req);
  store_queue_add_first (queue, req);
  return false;
}

void
store_queue_resume (struct store_queue *queue, int error,
                    struct store_list *done)
{
  struct store_list again = { 0 }, stay = { 0 };
  struct store_req *req;

  while ((req = store_list_take (&queue->held)) != NULL)
    if (req->op != STORE_READ && (error || (done && req->flags & STORE_RENEWS)))
      store_done_add (done, req, error ? error : -ETIMEDOUT);
    else if (req->op == STORE_READ || !queue->holding)
      store_list_add (&again, req);
    else
      store_list_add (&stay, req);
  queue->held = stay;
  store_queue_add_all_first (queue, &again);
}

bool
store_queue_pass (struct store_queue *queue, const struct store_req *req)
{
  if (queue->urgent.head || queue->in_flight >= queue->depth ||
      !may_go (queue, req))
    return false;
  queue->in_flight++;
  return true;
}

void
store_queue_done (struct store_queue *queue, const struct store_req *req)
{
  queue->in_flight--;
  if (req->flags & STORE_BACKGROUND)
    queue->background--;
}

bool
store_queue_empty (const struct store_queue *queue)
{
  return queue->urgent.head == NULL && queue->rest.head == NULL &&
         queue->held.head == NULL;
}
