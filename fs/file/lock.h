/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: the lock.
 */

#ifndef FOLIO_FILE_LOCK_H
#define FOLIO_FILE_LOCK_H

#include "fs/file/state.h"

/* Lock sync_fd against other servers and QEMU, exclusively unless the store is
 * read-only; waits for up to a second.  Returns 0 or a negative errno with a message.
 */
extern int file_lock (const struct file_store *file,
                      const struct store_message *m);

#endif /* FOLIO_FILE_LOCK_H */
