/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Readahead policy: recognises sequential streams, several interleaved ones a
 * connection, and says what to read before it is asked for.  Pure decisions:
 * no I/O, no folios.  After Linux's mm/readahead.c in the doubling window and
 * the marker.
 */

#ifndef FOLIO_READAHEAD_H
#define FOLIO_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct readahead; /* of one connection; one small lock inside */

/* What to read: pages [first, first+count), with a marker on page `marker',
 * to be given to readahead_marker when it is hit.  count 0: nothing.
 */
struct ra_window {
  uint64_t first, count, marker;
};

/* max_pages: largest window; 0 turns readahead off. */
extern struct readahead *readahead_create (uint64_t max_pages);
extern void readahead_destroy (struct readahead *ra);

/* The largest window is another one from now on, perhaps. */
extern void readahead_set_max (struct readahead *ra, uint64_t max_pages);

/* A request missed: it reads pages [first, first+count), end: pages on the
 * disk.  Says what to read beyond the request.
 */
extern void readahead_miss (struct readahead *ra, uint64_t first,
                            uint64_t count, uint64_t end,
                            struct ra_window *window);

/* A request hit the marker on page. */
extern void readahead_marker (struct readahead *ra, uint64_t page, uint64_t end,
                              struct ra_window *window);

/* pages read ahead went unread, or were read: feeds the backing off. */
extern void readahead_feedback (struct readahead *ra, uint64_t wasted,
                                uint64_t used);

#endif /* FOLIO_READAHEAD_H */
