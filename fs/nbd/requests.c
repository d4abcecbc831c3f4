/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests that wait, are held, in flight, or done.
 */

#include <stddef.h>

#include "fs/nbd/requests.h"
#include "fs/nbd/state.h"

/* ------------------------------------------------------ lists of requests */

void
done_add (struct nbd_store *nbd, struct done_list *done, struct store_req *req,
          int error)
{
  nbd->wanted--;
  req->state = error;
  req->next = NULL;
  *done->tail = req;
  done->tail = &req->next;
}

void
done_call (struct done_list *done)
{
  struct store_req *req;

  while ((req = done->head) != NULL) {
    done->head = req->next;
    req->done (req, req->state);
  }
}

void
requests_hold (struct nbd_store *nbd, struct store_req *req)
{
  req->next = NULL;
  if (nbd->held.tail)
    nbd->held.tail->next = req;
  else
    nbd->held.head = req;
  nbd->held.tail = req;
}

/* Each goes before all others, so the last goes first. */
void
requests_unhold (struct nbd_store *nbd)
{
  struct store_req *req = nbd->held.head, *next, *reversed = NULL;

  nbd->holding = false;
  nbd->held.head = nbd->held.tail = NULL;
  for (; req; req = next) {
    next = req->next;
    req->next = reversed;
    reversed = req;
  }
  for (; reversed; reversed = next) {
    next = reversed->next;
    store_queue_add_first (&nbd->queue, reversed);
  }
}

void
requests_fail_waiting (struct nbd_store *nbd, int error, struct done_list *done)
{
  struct store_list *lists[] = { &nbd->held, &nbd->queue.urgent,
                                 &nbd->queue.rest };
  struct store_req *req;
  size_t i;

  for (i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    while ((req = lists[i]->head) != NULL) {
      lists[i]->head = req->next;
      done_add (nbd, done, req, error);
    }
    lists[i]->tail = NULL;
  }
}

/* --------------------------------------------- commands; the lock is held */

struct command *
cmd_take (struct nbd_store *nbd, struct store_req *req)
{
  struct command *cmd = nbd->free_slots;

  nbd->free_slots = cmd->next;
  cmd->req = req;
  cmd->next = NULL;
  cmd->prev = nbd->newest;
  if (nbd->newest)
    nbd->newest->next = cmd;
  else
    nbd->oldest = cmd;
  nbd->newest = cmd;
  return cmd;
}

void
cmd_free (struct nbd_store *nbd, struct command *cmd)
{
  if (cmd->prev)
    cmd->prev->next = cmd->next;
  else
    nbd->oldest = cmd->next;
  if (cmd->next)
    cmd->next->prev = cmd->prev;
  else
    nbd->newest = cmd->prev;
  store_queue_done (&nbd->queue, cmd->req);
  cmd->next = nbd->free_slots;
  nbd->free_slots = cmd;
}

void
cmd_done (struct nbd_store *nbd, struct command *cmd, int error,
          struct done_list *done)
{
  struct store_req *req = cmd->req;

  if (cmd->conn)
    cmd->conn->weight -= cmd->weight;
  cmd->conn = NULL;
  cmd_free (nbd, cmd);
  done_add (nbd, done, req, error);
}
