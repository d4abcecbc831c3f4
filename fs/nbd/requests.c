/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests that wait, are held, in flight, or done.
 *
 *   a request is  linked by     goes on by
 *   waiting       queue         requests_pump, in its turn: in flight, or held
 *   held          held          requests_unhold: waiting, before all others
 *   in flight     its command   having no piece left, or an error: done; the session's
 *                               end: waiting, before all others, or, a flush or what has
 *                               been sent too often, done
 *   done          a done list   store_done_call
 *
 * Those that wait and are held are done, too, when the store is given up.  What a
 * command is can be told by what it has:
 *
 *   a command is  linked by                    weight  ticket  is whose
 *   free          free_slots                   any     NULL    nobody's
 *   to be sent    oldest to newest             > 0     NULL    who has taken it; the loop
 *                                                              thread, the next piece
 *   sent          oldest to newest             > 0     set     libnbd's
 *   answered      the same, and from finished  > 0     NULL    the loop thread's
 *   read          oldest to newest             0       NULL    the loop thread's, until it
 *                                                              sends it again or frees it
 *
 * When its session has ended, take_over leaves it without a ticket, whatever it was,
 * and requests_requeue frees it.
 */

#include <stddef.h>

#include "fs/nbd/requests.h"
#include "fs/nbd/state.h"

/* ------------------------------------------------------ lists of requests */

void
requests_done (struct nbd_store *nbd, struct store_list *done,
               struct store_req *req, int error)
{
  nbd->wanted--;
  store_done_add (done, req, error);
}

void
requests_unhold (struct nbd_store *nbd)
{
  nbd->holding = false;
  store_queue_add_all_first (&nbd->queue, &nbd->held);
}

void
requests_fail_waiting (struct nbd_store *nbd, int error,
                       struct store_list *done)
{
  struct store_list *lists[] = { &nbd->held, &nbd->queue.urgent,
                                 &nbd->queue.rest };
  struct store_req *req;
  size_t i;

  for (i = 0; i < sizeof lists / sizeof lists[0]; i++)
    while ((req = store_list_take (lists[i])) != NULL)
      requests_done (nbd, done, req, error);
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
          struct store_list *done)
{
  struct store_req *req = cmd->req;

  if (cmd->conn)
    cmd->conn->weight -= cmd->weight;
  cmd->conn = NULL;
  cmd_free (nbd, cmd);
  requests_done (nbd, done, req, error);
}
