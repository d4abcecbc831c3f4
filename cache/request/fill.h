/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Fills: reading what folios miss from the store.
 */

#ifndef FOLIO_FILL_H
#define FOLIO_FILL_H

#include <stdint.h>

struct env;
struct fill_pool;
struct folio;
struct iomap_iter;
struct mapping;

/* Fills of readahead come from a pool, and those of requests for which one is not
 * enough.
 */
extern int fill_pool_create (struct env *env, struct fill_pool **pool);

/* No fill of the pool is in flight any more.  pool may be NULL. */
extern void fill_pool_destroy (struct fill_pool *pool);

/* Sleep until no fill of the pool is in flight. */
extern void fill_pool_drain (struct fill_pool *pool);

/* Make pages [first, last] uptodate and wait for it.  They lie inside the
 * iterator's current iomap, which is MAPPED.  Returns 0 or the first error
 * met; -ESTALE if the iomap no longer holds; -ENOMEM if all memory is taken
 * by what is not clean.
 */
extern int fill_pages (struct mapping *mapping, const struct iomap_iter *iter,
                       uint64_t first, uint64_t last);

/* Begin to read pages [first, first+count) that are not there, as far as it
 * can be done without waiting; page `marker', or if that is a hole the next of
 * them that is not, gets FOLIO_READAHEAD.
 */
#define NO_MARKER UINT64_MAX
extern void fill_ahead (struct mapping *mapping, uint64_t first, uint64_t count,
                        uint64_t marker);

/* Read sectors [first, last) of a folio that the caller holds locked; it stays
 * so.  The iterator's iomap is MAPPED there.  Waits.  Returns 0 or an error;
 * -ESTALE if the iomap no longer holds.
 */
extern int fill_sectors (struct mapping *mapping, const struct iomap_iter *iter,
                         struct folio *folio, unsigned first, unsigned last);

#endif /* FOLIO_FILL_H */
