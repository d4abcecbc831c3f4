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

#include "cache/index.h"
#include "cache/writeback.h"

struct mapping;

/* Should a pass write this folio? */
typedef bool ioend_filter_fn (struct mapping *mapping,
                              const struct folio *folio);

/* Make and send ioends of folios with the tag (TAG_DIRTY or TAG_TOWRITE), from
 * pass->pos on, as many as a slice of work and the free ioends allow.  Folios
 * locked or in a busy range are skipped, and noted in the pass; the loop is
 * kicked when they come free.  At the end of the disk the pass becomes
 * inactive.  Returns true if the pass should go on at once.
 */
extern bool ioend_run_pass (struct mapping *mapping, struct wb_pass *pass,
                            enum index_tag tag, ioend_filter_fn *filter);

/* Take note of ioends that are over.  Returns true if there were any. */
extern bool ioend_reap (struct mapping *mapping);

#endif /* FOLIO_IOEND_H */
