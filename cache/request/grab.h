/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Folios for requests: found, or made.
 */

#ifndef FOLIO_GRAB_H
#define FOLIO_GRAB_H

#include <stdbool.h>
#include <stdint.h>

struct folio;
struct mapping;

/* Take a reference to the folio of `page', or make it, no larger than order
 * and inside [page's own alignment, last].  It comes back locked and in the
 * index.  cold: see reclaim_add.  GRAB_WAIT_*: what may be slept for;
 * where it may not, NULL with *err -EAGAIN (locked) or -ENOMEM.  NULL with
 * another error if memory cannot be had because the store fails, or at
 * shutdown.  With a folio *err is 0, or 1 if something was slept for.
 */
#define GRAB_WAIT_LOCK 0x1u
#define GRAB_WAIT_MEMORY 0x2u
extern struct folio *mapping_grab_folio (struct mapping *mapping, uint64_t page,
                                         uint64_t last, unsigned order,
                                         bool cold, unsigned wait, int *err);

#endif /* FOLIO_GRAB_H */
