/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that fails: what is tried again when, and what the log says.
 *
 *   a write fails            its range is a bad range from now on (see
 *                            bad-ranges.h), which is retried by itself; all
 *                            else goes on at full speed
 *   so do ALL_FAILING, and   everything fails: all background work waits, for
 *   none succeeds            a time that doubles, up to BACKOFF_MAX
 *   the store is out of      likewise
 *   reach
 *   a store flush fails      likewise
 *
 * The log has one line when writing begins to fail, for lack of space and for
 * other reasons each, and when flushing does; a line for each of the first bad
 * ranges when it is tried again and known exactly; and one when all is over.
 *
 * Syncs wait for none of this: they try everything at once, and fail if it
 * does; but one that wants only a part of what failed is tried again while that
 * is being cut.  Loop thread only.
 */

#ifndef FOLIO_FAILING_H
#define FOLIO_FAILING_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/bad-ranges.h"

struct writeback;
struct range;

/* Writes of different ranges, in a row. */
#define ALL_FAILING 16

struct failing {
  struct bad_ranges bad;  /* what could not be written */
  struct backoff backoff; /* of background work, when everything fails */
  unsigned in_row;        /* writes that failed since the last success */
  bool full, other;   /* failures for lack of space, and others, were logged */
  bool flush;         /* the last store flush failed, and was logged */
  unsigned nr_logged; /* bad ranges that were */
};

/* Write-back of these ranges, n of whole blocks, as one has failed with error (a
 * negative errno), or has succeeded.
 */
extern void failing_write_failed (struct writeback *wb,
                                  const struct range *ranges, unsigned n,
                                  int error);
extern void failing_write_succeeded (struct writeback *wb,
                                     const struct range *ranges, unsigned n);

/* A bad range has waited for the first time, and so is known exactly. */
extern void failing_log_bad (struct writeback *wb, const struct bad_range *bad);

/* The bad range [start, end) turns out to have nothing dirty in it. */
extern void failing_not_dirty (struct writeback *wb, uint64_t start,
                               uint64_t end);

/* A store flush has failed with error, or has succeeded. */
extern void failing_flush_failed (struct writeback *wb, int error);
extern void failing_flush_succeeded (struct writeback *wb);

/* The store is back: try everything that failed at once. */
extern void failing_hope (struct writeback *wb);

#endif /* FOLIO_FAILING_H */
