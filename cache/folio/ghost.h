/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The ghost table: what was evicted lately, remembered by fingerprint, in
 * fixed memory of 8 bytes an entry.
 *
 * An entry is 31 bits of fingerprint, the kind (of two: which queue it left)
 * and the time it came, counted in pages of its kind.  It is lost when its
 * bucket (a cache line, 8 entries) is full and it is the oldest there.  So the
 * table ages like a queue without links.  A fingerprint is taken for another
 * about four times in a thousand million lookups.
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
                       unsigned order, unsigned kind);

/* Forget the folio of this or a larger order that held page `index', which is
 * the first of its own order.  Returns false if there is none, else in *kind
 * its kind and in *age how many pages of that kind came since.
 */
extern bool ghost_take (struct ghost *ghost, uint16_t mapping, uint64_t index,
                        unsigned order, unsigned *kind, uint32_t *age);

#endif /* FOLIO_GHOST_H */
