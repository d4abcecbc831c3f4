/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: whether holes can be punched.
 */

#ifndef FOLIO_FILE_PUNCH_H
#define FOLIO_FILE_PUNCH_H

#include <stdbool.h>

/* Is the file on a file system that is known to punch holes? */
extern bool file_punches (int fd);

/* The same of a mount by its line in /proc/self/mountinfo, where the type of
 * the file system alone does not tell.
 */
extern bool file_mount_punches (const char *mount);

#endif /* FOLIO_FILE_PUNCH_H */
