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

struct folio;
struct iomap_iter;
struct mapping;

/* A buffer for `bytes', or for as many as there is memory for now, but at
 * least a page; sleeps until there is one.  Not on the loop thread.
 */
extern struct folio *bounce_get (struct mapping *mapping, uint64_t bytes);
extern void bounce_put (struct mapping *mapping, struct folio *buffer);

/* Its size, in bytes. */
extern uint64_t bounce_size (const struct folio *buffer);

/* Read up to n bytes at pos, where nothing is cached and the iterator's mapping
 * is MAPPED, from the store into buf.  Returns how many, or a negative errno.
 */
extern int64_t bounce_read (struct mapping *mapping,
                            const struct iomap_iter *iter, void *buf,
                            uint64_t pos, uint64_t n);

#endif /* FOLIO_BOUNCE_H */
