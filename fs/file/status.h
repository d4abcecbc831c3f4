/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: holes.
 */

#ifndef FOLIO_FILE_STATUS_H
#define FOLIO_FILE_STATUS_H

#include "fs/file/state.h"

/* Can SEEK_DATA and SEEK_HOLE tell anything here? */
extern bool file_status_probe (const struct file_store *file);
extern int file_block_status (struct store *store, uint64_t offset,
                              uint64_t length, store_extent_fn *fn,
                              void *opaque);

#endif /* FOLIO_FILE_STATUS_H */
