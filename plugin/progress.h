/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How far the last write-back is, in words.
 */

#ifndef FOLIO_PROGRESS_H
#define FOLIO_PROGRESS_H

#include <stddef.h>

#include "cache/cache.h"

/* Room for any line of progress_format. */
#define PROGRESS_MAX 128

/* As "writing back: 1.2 of 3.0 GiB, 41 MiB/s, 45 s left". */
extern void progress_format (char *buf, size_t len,
                             const struct sync_progress *progress);

#endif /* FOLIO_PROGRESS_H */
