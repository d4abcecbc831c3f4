/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * preallocate=on: all memory that the server will need is taken and locked at
 * its start, for clients on the same host.  There the kernel may need memory,
 * write back dirty pages of our disk to get some, and wait for us to take them:
 * who touches memory for the first time while it serves a write waits for
 * itself.
 */

#ifndef FOLIO_MEMORY_H
#define FOLIO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Has this machine as much memory at all?  cache_size: in bytes.  Returns 0 or a
 * negative errno; then err, of size bytes, has one line that says why and what to
 * do.
 */
extern int memory_fits (uint64_t cache_size, char *err, size_t size);

/* Before any fork, with the cache made and before the store is: may as much be
 * locked as is mapped now, and what will be?  user: will nbdkit change its user
 * before memory_lock, so that the limit holds for root too?  Nothing is changed.
 * Returns as memory_fits.
 */
extern int memory_check (uint64_t cache_size, bool user, char *err,
                         size_t size);

/* After any fork, which takes locks away, and before any thread of ours is
 * made: take and lock all that is mapped and all that will be, have threads and
 * the heap need little, and tell the kernel that this process and all threads
 * it will have serve a disk, where that is permitted.  Returns as memory_fits.
 */
extern int memory_lock (char *err, size_t size);

#endif /* FOLIO_MEMORY_H */
