/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading past the cache.
 */

#ifndef FOLIO_PAST_H
#define FOLIO_PAST_H

#include <stdint.h>

struct iomap_iter;
struct mapping;

/* Read up to n bytes at pos, where the iterator's iomap is MAPPED, from the
 * store into buf, as far as nothing of it is cached.  Returns how many, 0 if
 * something is cached at pos or the iomap no longer holds, or a negative errno.
 */
extern int64_t read_past_cache (struct mapping *mapping,
                                const struct iomap_iter *iter, void *buf,
                                uint64_t pos, uint64_t n);

#endif /* FOLIO_PAST_H */
