/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: its watchers in the loop.
 */

#ifndef FOLIO_NBD_LOOP_H
#define FOLIO_NBD_LOOP_H

#include "fs/nbd/state.h"

extern int nbd_store_attach (struct store *store, struct ev_loop *loop);
extern void nbd_store_detach (struct store *store);

#endif /* FOLIO_NBD_LOOP_H */
