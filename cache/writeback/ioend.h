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

#include "cache/writeback/state.h"

/* The first sector in [first, last) that is to be sent, or is not: what is dirty,
 * and with FUA what is unstable, too.  last if there is none.
 */
extern unsigned ioend_find (const struct writeback *wb,
                            const struct folio *folio, unsigned first,
                            unsigned last, bool fua, bool value);

/* Make an ioend of the runs wanted, n of them by place and in whole sectors, for
 * the pass, while there is a free one.  Returns it, to be
 * begun and sent: it is of as many of them as are there, not in use, and have a
 * place together.  Or NULL with *r 0 if the first is not there any more, -EBUSY
 * if it is in use, -ENOBUFS if buffers are used up, -EAGAIN if the fs has no
 * place yet, or its error, which has been seen to.  *end: up to where it, or
 * what became of them, goes.
 */
extern struct ioend *ioend_make (struct writeback *wb,
                                 const struct iomap_run *wanted, unsigned n,
                                 const struct wb_pass *pass, uint64_t *end,
                                 int *r);

/* It is about to be submitted. */
extern void ioend_begin (struct ioend *ioend);

/* Take note of ioends that are over.  Returns true if there were any. */
extern bool ioend_reap (struct writeback *wb);

#endif /* FOLIO_IOEND_H */
