/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what calls to the kernel a request takes.
 */

#ifndef FOLIO_FILE_REQUEST_H
#define FOLIO_FILE_REQUEST_H

#include "fs/file/engine.h"
#include "fs/file/state.h"

#define FILE_PAUSE (10 * NSEC_PER_MSEC)

/* What fails for no reason of its own is tried again for so long. */
#define FILE_PATIENCE (10 * NSEC_PER_SEC)

extern int file_begin (struct file_store *file, struct store_req *req);
extern void file_prepare (struct file_store *file, struct store_req *req,
                          struct file_call *call);
extern int file_advance (struct file_store *file, struct store_req *req,
                         int res);

#endif /* FOLIO_FILE_REQUEST_H */
