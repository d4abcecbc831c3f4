/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: one of libnbd's handles, that is a connection that is made and
 * ended.
 */

#ifndef FOLIO_NBD_HANDLE_H
#define FOLIO_NBD_HANDLE_H

#include <stdint.h>
#include <libnbd.h>

#include "fs/env.h"

/* Of a reason, bytes. */
#define WHY_MAX 256

/* Connect to a URI that was checked and negotiate, until deadline (ns) or until cancel_fd (-1: none) is
 * readable.  Blocks.  Returns 0 and the handle, or a negative errno and in why
 * (WHY_MAX bytes) what was wrong.
 */
extern int handle_connect (struct env *env, const char *uri, uint64_t deadline,
                           int cancel_fd, struct nbd_handle **handle,
                           char *why);

/* Say goodbye. */
extern void handle_goodbye (struct nbd_handle *handle);

/* Close it, after what is to be sent is, but at deadline (ns) at the latest. */
extern void handle_close (struct env *env, struct nbd_handle *handle,
                          uint64_t deadline);

/* How long a goodbye may take, ns. */
#define GOODBYE_TIMEOUT (NSEC_PER_SEC / 2)

/* What libnbd says of its last error in this thread, without the call's name,
 * into why; unless it says nothing, then def.
 */
extern void handle_explain (char *why, const char *def);

/* The errno of that error, negative; some errors have none, then -EIO. */
extern int handle_errno (void);

#endif /* FOLIO_NBD_HANDLE_H */
