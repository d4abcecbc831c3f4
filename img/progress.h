/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How far long work is: a line on standard error, if that is a terminal.
 */

#ifndef FOLIO_IMG_PROGRESS_H
#define FOLIO_IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Begin: total bytes are to be done.  quiet: nothing is shown. */
extern void progress_begin (uint64_t total, bool quiet);

/* It is known now how many it is in all. */
extern void progress_total (uint64_t total);

/* So many are done now.  Cheap; shows it a few times a second. */
extern void progress_show (uint64_t done);

/* Nothing is shown any more. */
extern void progress_end (void);

/* A message is about to be printed: make room for it.  Any thread. */
extern void progress_clear (void);

/* The line, of len bytes, for done of total bytes after so many ns. */
extern void progress_line (char *buf, unsigned len, uint64_t done,
                           uint64_t total, uint64_t ns);

#endif /* FOLIO_IMG_PROGRESS_H */
