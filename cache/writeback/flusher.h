/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The flusher: the loop thread of a disk.  It runs write-back and the store's
 * completions.
 */

#ifndef FOLIO_FLUSHER_H
#define FOLIO_FLUSHER_H

struct bell;
struct flusher;
struct writeback;

/* Attach fs and store to a new event loop and start a thread, with all signals
 * blocked, to run it, which the bell then wakes, and one for the work of the fs.
 * Returns 0 or a negative errno.
 */
extern int flusher_start (struct writeback *wb, struct bell *bell,
                          struct flusher **flusher);

/* When nothing is in flight any more, end the thread, detach fs and store. */
extern void flusher_stop (struct flusher *flusher);

/* Free one that was stopped, when nobody will ring the bell any more. */
extern void flusher_free (struct flusher *flusher);

#endif /* FOLIO_FLUSHER_H */
