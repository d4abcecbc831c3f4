/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: reads and writes, one piece at a time.
 */

#ifndef FOLIO_FILE_IO_H
#define FOLIO_FILE_IO_H

#include "fs/file/engine.h"
#include "fs/file/state.h"

/* req->state: this request is not to be tried with O_DIRECT (again). */
#define FILE_BUFFERED 0x100

/* req->state: this request failed with EFAULT once. */
#define FILE_RETRIED 0x200

extern void file_rw_prepare (struct file_store *file, struct store_req *req,
                             struct file_call *call);
extern int file_rw_advance (struct file_store *file, struct store_req *req,
                            int res);

/* The next write of zeroes from req->progress on. */
extern void file_write_zeroes_prepare (struct file_store *file,
                                       struct store_req *req,
                                       struct file_call *call);

#endif /* FOLIO_FILE_IO_H */
