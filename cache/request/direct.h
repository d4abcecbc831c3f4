/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The direct path: straight between client and store, past the cache but
 * coherent with it.
 */

#ifndef FOLIO_DIRECT_H
#define FOLIO_DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;

/* Should this request bypass the cache: because of the mode, or as part of a
 * stream past the cutoff?
 */
extern bool direct_wanted (struct conn *conn, uint64_t offset, size_t count);

/* Read; what is cached comes from the cache, all else from the store without
 * being cached.  The range lies inside the disk.
 */
extern int direct_read (struct conn *conn, void *buf, size_t count,
                        uint64_t offset);

/* Write to the store and drop what is cached of the range.  Unaligned ends go
 * through the cache, and are written through.  On return the store has it all,
 * durably with fua, which it must be able to do.
 */
extern int direct_write (struct conn *conn, const void *buf, size_t count,
                         uint64_t offset, bool fua);

#endif /* FOLIO_DIRECT_H */
