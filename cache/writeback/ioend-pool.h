/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * ioends: where they come from.  Loop thread only.
 */

#ifndef FOLIO_IOEND_POOL_H
#define FOLIO_IOEND_POOL_H

#include <stdint.h>

#include "cache/writeback/state.h"

/* Returns 0 or -ENOMEM; either way ioends_destroy frees all. */
extern int ioends_init (struct writeback *wb);
extern void ioends_destroy (struct writeback *wb);

/* An ioend with a buffer for so many bytes, NULL if there is none for them. */
extern struct ioend *ioend_get (struct writeback *wb, uint64_t bytes,
                                const struct wb_pass *pass);

/* Give it back, with its buffer. */
extern void ioend_free (struct writeback *wb, struct ioend *ioend);

#endif /* FOLIO_IOEND_POOL_H */
