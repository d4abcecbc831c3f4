/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writing through the cache: the perform-write loop.
 */

#ifndef FOLIO_WRITE_H
#define FOLIO_WRITE_H

#include <stdint.h>

#include "cache/post/sync-req.h"

struct conn;
struct mapping;
struct origin;

/* Write count bytes into the cache; zeroes if buf is NULL.  The range lies
 * inside the disk.  origin: whose pace it is to keep, and who may be gone; or
 * NULL.  Returns 0 or a negative errno; after an error part of it may have been
 * written.
 */
extern int write_buffered (struct mapping *mapping, struct origin *origin,
                           const void *buf, uint64_t count, uint64_t offset);

/* Make all of [start, end) durable that was acknowledged before, what was zeroed
 * besides what a sync of this kind does.  Returns 0 when it is.
 */
extern int write_sync_durable (struct mapping *mapping, uint64_t start,
                               uint64_t end, enum sync_kind kind);

/* Do what the mode and the flags want done before a change of the range in memory is
 * acknowledged: with CACHE_FUA, a sync of this kind.  lost: lost_count before the
 * change.  What has been written over it past the cache since, if lost, has taken it
 * along; then this fails.
 */
extern int write_sync (struct mapping *mapping, uint32_t lost, uint64_t offset,
                       uint64_t count, unsigned flags, enum sync_kind fua);

/* May the disk be written now?  0, -EROFS or -ESHUTDOWN. */
extern int write_allowed (const struct mapping *mapping);

#endif /* FOLIO_WRITE_H */
