/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread that waits for a sync does the loop thread's work meanwhile.
 */

#ifndef FOLIO_HELP_H
#define FOLIO_HELP_H

#include <stdbool.h>
#include <stdint.h>

struct store_req;
struct writeback;

/* Is it of use?  Not while syncs come together: they share store flushes. */
extern bool help_wanted (const struct writeback *wb);

/* Take steps, for a moment, in the place of the loop thread, which is kept from
 * taking any, and sleeps until `alarm' (ns).  *own: a store write that the caller is
 * to make by help_wait, when the loop thread may take steps again; else NULL.
 * Returns true if the loop thread has to be woken.
 */
extern bool help (struct writeback *wb, uint64_t alarm, struct store_req **own);

/* Submit it, and wait in the store, if that does so.  Returns true if it is over, and
 * help should be called again.
 */
extern bool help_wait (struct writeback *wb, struct store_req *own);

#endif /* FOLIO_HELP_H */
