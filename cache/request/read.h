/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading through the cache.
 */

#ifndef FOLIO_READ_H
#define FOLIO_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct iomap_iter;
struct mapping;

/* Copy up to count bytes at offset out of the folio there, if it has them:
 * returns how many, 0 on a miss.  use: eviction is told, see reclaim_used.
 */
extern size_t read_cached (struct conn *conn, void *buf, size_t count,
                           uint64_t offset, bool use);

/* Read through the cache.  The range lies inside the disk.  Returns 0, or 1 if
 * the store had to be waited for, or a negative errno.
 */
extern int read_buffered (struct conn *conn, void *buf, size_t count,
                          uint64_t offset);

/* The range, up to n bytes at pos, reads as zero by the iterator's iomap
 * where nothing is cached.  Returns how much of it was zeroed in buf; 0 if its
 * beginning is in a folio, which is then uptodate there; negative if the
 * iomap changed.
 */
extern int64_t read_zeroes (struct mapping *mapping,
                            const struct iomap_iter *iter, void *buf,
                            uint64_t pos, uint64_t n);

#endif /* FOLIO_READ_H */
