/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * ioends: making store writes of dirty runs, and what happens when they are
 * over.  Loop thread only.
 */

#ifndef FOLIO_IOEND_H
#define FOLIO_IOEND_H

#include <stdbool.h>

#include "cache/writeback/writeback.h"

/* Make an ioend of the dirty run [start, end) for a pass of this kind, while
 * there is a free one.  Returns it, to be begun and sent; or NULL with *r 0 if
 * the run is not there any more, -EBUSY if it is in use, -ENOBUFS if buffers
 * are used up, or the mapping's error.
 */
extern struct ioend *ioend_make (struct writeback *wb, uint64_t start,
                                 uint64_t end, enum pass_kind kind, int *r);

/* It is about to be submitted. */
extern void ioend_begin (struct ioend *ioend);

/* A sync has seen to the folio up to sector `last'.  If nothing dirty follows,
 * nothing that it was tagged for is left: what else is dirty came later.  (Other
 * passes can't tell: they may begin in the middle.)
 */
extern void ioend_clear_towrite (struct writeback *wb, struct folio *folio,
                                 unsigned last);

/* Take note of ioends that are over.  Returns true if there were any. */
extern bool ioend_reap (struct writeback *wb);

#endif /* FOLIO_IOEND_H */
