/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests that wait, are held, in flight, or done.
 *
 *   a request is  linked by     goes on by
 *   waiting       queue         requests_pump, in its turn: in flight, or held
 *   held          queue.held    drain_sweep, nbd_store_resume: waiting, before all others;
 *                               or, the lease being lost, done
 *   in flight     its command   having no piece left, or an error: done; the lease's end,
 *                               with pieces left, or the session's: waiting, before all
 *                               others, or, a flush or what has been sent too often, done
 *   done          a done list   store_done_call
 *
 * Those that wait and are held are done, too, when the store is given up.  What a
 * command is can be told by what it has:
 *
 *   a command is  linked by                    weight  ticket  is whose
 *   free          unused                       any     NULL    nobody's
 *   to be sent    in_flight                    > 0     NULL    who has taken it; the loop
 *                                                              thread, the next piece
 *   sent          in_flight                    > 0     set     libnbd's
 *   answered      in_flight and finished       > 0     NULL    the loop thread's
 *   read          in_flight                    0       NULL    the loop thread's, until it
 *                                                              sends it again or frees it
 *
 * When its session has ended, take_over leaves it without a ticket, whatever it was,
 * and requests_requeue frees it.
 */

#include <stddef.h>

#include "fs/nbd/requests.h"

/* ------------------------------------------------------ lists of requests */

void
requests_done (struct nbd_store *nbd, struct store_list *done,
               struct store_req *req, int error)
{
  nbd->wanted--;
  store_done_add (done, req, error);
}

void
requests_fail_waiting (struct nbd_store *nbd, int error,
                       struct store_list *done)
{
  struct store_list *lists[] = { &nbd->queue.held, &nbd->queue.urgent,
                                 &nbd->queue.rest };
  struct store_req *req;
  size_t i;

  for (i = 0; i < sizeof lists / sizeof lists[0]; i++)
    while ((req = store_list_take (lists[i])) != NULL)
      requests_done (nbd, done, req, error);
}

/* --------------------------------------------- commands; the lock is held */

static void
free_slot (struct nbd_store *nbd, struct command *cmd)
{
  TAILQ_REMOVE (&nbd->in_flight, cmd, link);
  TAILQ_INSERT_HEAD (&nbd->unused, cmd, link);
}

struct command *
command_take (struct nbd_store *nbd, struct store_req *req)
{
  struct command *cmd = TAILQ_FIRST (&nbd->unused);

  TAILQ_REMOVE (&nbd->unused, cmd, link);
  TAILQ_INSERT_TAIL (&nbd->in_flight, cmd, link);
  cmd->req = req;
  return cmd;
}

void
command_free (struct nbd_store *nbd, struct command *cmd)
{
  free_slot (nbd, cmd);
  store_queue_done (&nbd->queue, cmd->req);
}

bool
command_goes_on (struct nbd_store *nbd, struct command *cmd)
{
  if (store_queue_goes_on (&nbd->queue, cmd->req))
    return true;
  cmd->conn = NULL;
  free_slot (nbd, cmd);
  return false;
}

void
command_done (struct nbd_store *nbd, struct command *cmd, int error,
              struct store_list *done)
{
  struct store_req *req = cmd->req;

  if (cmd->conn)
    cmd->conn->weight -= cmd->weight;
  cmd->conn = NULL;
  command_free (nbd, cmd);
  requests_done (nbd, done, req, error);
}
