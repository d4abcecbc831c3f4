/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Large arrays of zeroes that cost no memory until they are touched.
 */

#ifndef FOLIO_LAZY_MAP_H
#define FOLIO_LAZY_MAP_H

#include <stdbool.h>
#include <stddef.h>

/* Map `bytes' (not 0) of zeroes, aligned to 2 MiB and advised to be huge pages
 * if that long, else aligned to a page.  NULL if there is no address space.
 */
extern void *lazy_map (size_t bytes);

/* Have real memory for `bytes' from p on, in such a map, without changing what is
 * in there, whoever uses it meanwhile.  False where that cannot be had, or asked
 * for (before Linux 5.14): it comes when it is touched then, as ever.
 */
extern bool lazy_populate (void *p, size_t bytes);

/* Unmap what lazy_map (bytes) returned; NULL is allowed. */
extern void lazy_unmap (void *map, size_t bytes);

#endif /* FOLIO_LAZY_MAP_H */
