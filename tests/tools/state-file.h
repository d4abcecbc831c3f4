/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Files in which a test program keeps what it knows from one run to the next:
 * a header that begins with a magic of 8 bytes, and whatever follows.  All end
 * the program when something goes wrong.
 */

#ifndef FOLIO_TESTS_STATE_FILE_H
#define FOLIO_TESTS_STATE_FILE_H

#include <stddef.h>

#define STATE_MAGIC 8

/* Open the file at path and read its header, which must begin with magic.
 * Returns a file descriptor, or -1 if there is no such file.
 */
int state_open (const char *path, const char magic[STATE_MAGIC], void *header,
                size_t size);

/* Begin a new file, of which nothing is seen at path before state_commit.  The
 * header has its magic.  Returns a file descriptor.
 */
int state_create (const char *path, const void *header, size_t size);

/* Put what was written to fd in the place of path. */
void state_commit (int fd, const char *path);

#endif /* FOLIO_TESTS_STATE_FILE_H */
