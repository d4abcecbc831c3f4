/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a client is told of a request that failed, and what the log is.
 */

#ifndef FOLIO_ANSWER_H
#define FOLIO_ANSWER_H

struct disk;

/* The request, of a client of the disk, has failed with r, a negative errno: log it
 * and set what nbdkit answers.  Returns -1, as nbdkit's callbacks do then.
 */
extern int answer_error (const struct disk *disk, int r, const char *request);

#endif /* FOLIO_ANSWER_H */
