/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: requests in pieces, each of which is one command.  For the owner
 * of the command, without the lock.
 */

#ifndef FOLIO_NBD_PIECE_H
#define FOLIO_NBD_PIECE_H

#include "fs/nbd/state.h"

/* A command can be the fault of so much of a loss, and a request of so much of
 * all its losses, in units of `retry'.
 */
#define MOST_LATE 4u
#define TOO_LATE 8

/* A request goes through prepare, send and advance in turn, as long as advance
 * says PIECE_AGAIN; 0 or a negative errno ends it.
 */

#define PIECE_AGAIN 1

/* Find the next piece. PIECE_AGAIN: it is to be sent. */
extern int piece_prepare (struct command *cmd);

/* Send it, with on_answer to be called with its ticket, which libnbd frees.
 * Returns 0 or a negative errno; of libnbd's own: the server was not asked.
 */
extern int piece_send (struct command *cmd,
                       int (*on_answer) (void *ticket, int *error));

/* Did the answer, without an error, bring all that was asked for?  libnbd says
 * so only to those who do not use its callback.
 */
extern bool piece_whole (const struct command *cmd);

/* It was answered (cmd->error). */
extern int piece_advance (struct command *cmd);

/* A new request: begin it. */
extern void piece_begin (struct store_req *req);

/* The session is lost: begin the request from its start, again.  Returns false
 * if that was so too often, or it is to blame.  The lock is held.
 */
extern bool piece_reset (struct command *cmd);

#endif /* FOLIO_NBD_PIECE_H */
