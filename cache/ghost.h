/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The ghost table: what was evicted lately, remembered by fingerprint, in
 * fixed memory of 8 bytes an entry.
 *
 * An entry is 32 bits of fingerprint and the time it came, counted in pages
 * added; it is forgotten when it is older than the age that the lookup allows,
 * or when its bucket (a cache line, 8 entries) is full and it is the oldest
 * there.  So the table ages like a queue without links.  A fingerprint is
 * taken for another about twice in a thousand million lookups.
 *
 * No lock of its own: that of its owner.
 */

#ifndef FOLIO_GHOST_H
#define FOLIO_GHOST_H

#include <stdbool.h>
#include <stdint.h>

struct ghost;

/* Make a table for about `entries'.  Memory is touched only when used.
 * Returns 0 or -ENOMEM.
 */
extern int ghost_create (uint32_t entries, struct ghost **ghost);
extern void ghost_destroy (struct ghost *ghost);

/* Remember the folio at page `index' (its first) of that order. */
extern void ghost_add (struct ghost *ghost, uint16_t mapping, uint64_t index,
                       unsigned order);

/* Was a folio of this or a larger order that held page `index', the first of
 * its own order, added within the last max_age pages?  If so forgets it.
 */
extern bool ghost_take (struct ghost *ghost, uint16_t mapping, uint64_t index,
                        unsigned order, uint32_t max_age);

#endif /* FOLIO_GHOST_H */
