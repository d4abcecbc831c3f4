/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bounce buffers: memory, aligned as stores want it, for what passes between a
 * client and a store without going into a folio.  (Write-back has an arena of
 * its own, so that neither waits for the other.)
 */

#ifndef FOLIO_BOUNCE_H
#define FOLIO_BOUNCE_H

#include <stdint.h>

#include "cache/base/arena.h"

/* A buffer for `bytes', or for as many as there is memory for now, but at
 * least a page; sleeps until there is one.  Not on the loop thread.  Given back
 * with folio_put.
 */
extern struct folio *bounce_get (struct arena *bounce, uint64_t bytes);

/* Its size, in bytes. */
static inline uint64_t
bounce_size (const struct folio *buffer)
{
  return (uint64_t) PAGE_SIZE
         << atomic_load_explicit (&buffer->order, memory_order_relaxed);
}

#endif /* FOLIO_BOUNCE_H */
