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

/* req->tried: O_DIRECT, which does not go or has failed. */
#define FILE_BUFFERED 0x1

/* req->tried: once more after EFAULT. */
#define FILE_RETRIED 0x2

extern void file_rw_prepare (struct file_store *file, struct store_req *req,
                             struct file_call *call);
extern int file_rw_advance (struct file_store *file, struct store_req *req,
                            int res);

/* The next write of zeroes from req->progress on. */
extern void file_write_zeroes_prepare (struct file_store *file,
                                       struct store_req *req,
                                       struct file_call *call);

#endif /* FOLIO_FILE_IO_H */
