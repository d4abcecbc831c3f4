/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: the lists in which requests wait and in which they are done, and
 * the commands of those in flight.  The lock is held.
 */

#ifndef FOLIO_NBD_REQUESTS_H
#define FOLIO_NBD_REQUESTS_H

#include "fs/nbd/state.h"

/* It is done. */
extern void requests_done (struct nbd_store *nbd, struct store_list *done,
                           struct store_req *req, int error);

/* All that waits ends with an error.  The lock is held. */
extern void requests_fail_waiting (struct nbd_store *nbd, int error,
                                   struct store_list *done);

/* A request that was taken from the queue is in flight. */
extern struct command *command_take (struct nbd_store *nbd,
                                     struct store_req *req);

/* It is not any more. */
extern void command_free (struct nbd_store *nbd, struct command *cmd);

/* It was answered, and the rest of its request is to be sent.  False: not now; that waits
 * again, and the command is free.
 */
extern bool command_goes_on (struct nbd_store *nbd, struct command *cmd);

/* And it is done. */
extern void command_done (struct nbd_store *nbd, struct command *cmd, int error,
                          struct store_list *done);

#endif /* FOLIO_NBD_REQUESTS_H */
