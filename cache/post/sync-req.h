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

enum sync_kind {
  SYNC_WRITE, /* on the store */
  SYNC_FUA,   /* durable, all that was written to its range in memory */
  SYNC_FLUSH, /* durable, all that was done to the store, too */
};

/* The table of these is in sync.c. */
enum sync_state {
  SYNC_QUEUED,
  SYNC_TAGGING,
  SYNC_SENDING,
  SYNC_DRAINING,
  SYNC_READY,
  SYNC_FLUSHING,
  SYNC_OVER,
  NR_SYNC_STATES
};

/* A wish to have a range on the store, and durable.  Owned by who waits, until
 * done is signalled.
 */
struct sync_req {
  uint64_t start, end; /* bytes, not empty */
  enum sync_kind kind;
  int error;      /* the outcome, when done */
  uint64_t asked; /* ns, when it was queued */
  struct completion done;
  struct sync_req *next;

  /* The loop thread's. */
  enum sync_state state;
  bool by_fua;      /* all of it is sent with FUA, what is unstable, too; */
  bool fua;         /* or with FUA, all that is dirty */
  bool skipped;     /* something was in use and left behind */
  uint64_t pos;     /* bytes: where tagging or sending goes on */
  uint32_t redone;  /* sync_redone when it began */
  uint64_t fence;   /* it waits for ioends sent before this one, */
  unsigned awaited; /* of which so many are in flight */
  bool again;       /* it failed within something larger, now cut */
  unsigned tries;   /* how often it did */
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

#endif /* FOLIO_SYNC_REQ_H */
