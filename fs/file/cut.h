/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what is cut off while it is served.  Any thread.
 */

#ifndef FOLIO_FILE_CUT_H
#define FOLIO_FILE_CUT_H

#include "fs/file/state.h"

/* The store ends here, or did. */
extern void file_note_end (struct file_store *file, uint64_t end);

/* Note where it ends now.  Does not block. */
extern void file_look (struct file_store *file);

#endif /* FOLIO_FILE_CUT_H */
