/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: a regular file or a block device, by io_uring or by threads.
 */

#ifndef FOLIO_FILE_H
#define FOLIO_FILE_H

#include <stddef.h>

#include "fs/file/options.h"
#include "fs/store.h"

/* Open the store, lock it against a second writer (open-file-description
 * lock: exclusive, or like QEMU's when readonly; a block device to be written also
 * exclusively against mounts) and learn its geometry.  No threads and no ring
 * are made yet.  Returns 0 and the store, or a negative errno with in err
 * (errlen bytes) one line that says what was wrong and what would be right.  A file
 * that was made is removed again when that fails, or when the store is closed without
 * having been attached.
 */
extern int file_store_open (struct env *env,
                            const struct file_store_options *options,
                            struct store **store, char *err, size_t errlen);

#endif /* FOLIO_FILE_H */
