/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: zero and trim.
 */

#ifndef FOLIO_FILE_ZERO_H
#define FOLIO_FILE_ZERO_H

#include <sys/stat.h>

#include "fs/file/engine.h"
#include "fs/file/state.h"

/* What zeroing can do here, into geo; the file is not touched. */
extern void file_zero_probe (struct file_store *file, const struct stat *st);
extern int file_zero_begin (struct file_store *file, struct store_req *req);
extern void file_zero_prepare (struct file_store *file, struct store_req *req,
                               struct file_call *call);
extern int file_zero_advance (struct file_store *file, struct store_req *req,
                              int res);

#endif /* FOLIO_FILE_ZERO_H */
