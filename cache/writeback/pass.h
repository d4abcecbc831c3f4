/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Passes: walks over what is dirty that send it.  Loop thread only.
 *
 * What a sync waits for goes first: other passes leave some of the ioends and
 * of their buffers to it, and make do with few while it is at work.  Of these it
 * leaves one to such syncs as need no more.
 */

#ifndef FOLIO_PASS_H
#define FOLIO_PASS_H

#include <stdbool.h>

#include "cache/writeback/state.h"

/* Should a pass write this folio? */
typedef bool pass_filter_fn (struct writeback *wb, const struct folio *folio);

/* Make and send ioends of what the pass is to write, from pass->pos on, as many
 * as a slice of work and the pass's share of ioends allow.  None crosses the
 * end of a bad range, and only syncs and retries write inside of one.  Folios
 * locked or in a busy range are skipped, and noted in the pass; the loop is
 * kicked when they come free.  At its end the pass becomes inactive.  filter
 * may be NULL.  Returns true if the pass should go on at once.
 */
extern bool pass_run (struct writeback *wb, struct wb_pass *pass,
                      pass_filter_fn *filter);

#endif /* FOLIO_PASS_H */
