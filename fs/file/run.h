/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: requests into an engine and out of it.
 */

#ifndef FOLIO_FILE_RUN_H
#define FOLIO_FILE_RUN_H

#include "fs/file/state.h"

extern int file_attach (struct store *store, struct ev_loop *loop);
extern void file_detach (struct store *store);
extern void file_resume (struct store *store, int error);
extern void file_submit (struct store *store, struct store_req **reqs,
                         unsigned n);

#endif /* FOLIO_FILE_RUN_H */
