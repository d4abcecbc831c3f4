/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs, as those who ask for them see them, and lists of them.
 */

#ifndef FOLIO_SYNC_REQ_H
#define FOLIO_SYNC_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/env.h"

/* A wish to have a range on the store, and durable.  Owned by who waits. */
struct sync_req {
  uint64_t start, end; /* bytes, not empty */
  bool flush;          /* durable, not just written */
  uint64_t asked;      /* ns, when it was queued */
  int error;           /* the outcome, when done */
  uint32_t redone;     /* sync_redone when tagging for it began */
  uint64_t fence;      /* it waits for ioends sent before this one, */
  unsigned awaited;    /* of which so many are in flight */
  bool again;          /* it failed within something larger, now cut */
  unsigned tries;      /* how often it did */
  struct completion done;
  struct sync_req *next;
};

struct sync_list {
  struct sync_req *head, **tail;
};

static inline void
sync_list_init (struct sync_list *list)
{
  list->head = NULL;
  list->tail = &list->head;
}

static inline void
sync_list_append (struct sync_list *list, struct sync_req *req)
{
  req->next = NULL;
  *list->tail = req;
  list->tail = &req->next;
}

/* Move all of `from' to the end of `to'. */
static inline void
sync_list_move (struct sync_list *to, struct sync_list *from)
{
  if (from->head == NULL)
    return;
  *to->tail = from->head;
  to->tail = from->tail;
  sync_list_init (from);
}

#endif /* FOLIO_SYNC_REQ_H */
