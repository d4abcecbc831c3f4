/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: find or make the file, open and lock it.  All return 0 or a
 * negative errno with a message.
 */

#ifndef FOLIO_FILE_OPEN_H
#define FOLIO_FILE_OPEN_H

#include <sys/stat.h>

#include "fs/file/options.h"
#include "fs/file/state.h"

/* Open (or make) sync_fd and fd, lock them, fill in st and the size. */
extern int file_open (struct file_store *file,
                      const struct file_store_options *options, struct stat *st,
                      const struct store_message *m);

/* Remove the file that was created, unless another is there by now. */
extern void file_uncreate (const struct file_store *file);

/* Open the file of st again, with more flags.  Returns the descriptor. */
extern int file_reopen (const char *path, int flags, const struct stat *st);

#endif /* FOLIO_FILE_OPEN_H */
