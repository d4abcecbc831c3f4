/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: O_DIRECT and its alignment.
 */

#ifndef FOLIO_FILE_DIRECT_H
#define FOLIO_FILE_DIRECT_H

#include <sys/stat.h>

#include "fs/file/options.h"
#include "fs/file/state.h"

/* Open direct_fd if that works here and find out its alignment. */
extern int file_open_direct (struct file_store *file, enum direct_mode mode,
                             const struct stat *st,
                             const struct store_message *m);

/* A number from the block device's queue directory in sysfs, or def. */
extern uint64_t file_queue_attribute (dev_t dev, const char *name,
                                      uint64_t def);

/* Does a write with RWF_DSYNC fail if and only if its own bytes are not durable? */
extern bool file_fua_is_sound (const struct file_store *file);

#endif /* FOLIO_FILE_DIRECT_H */
