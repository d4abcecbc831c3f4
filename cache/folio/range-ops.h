/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Doing something to all folios of a byte range.
 */

#ifndef FOLIO_RANGE_OPS_H
#define FOLIO_RANGE_OPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/folio/folio.h"

struct origin;

/* Take the folio, locked, out of the index and of eviction; its index's
 * reference goes.  It must be clean.
 */
extern void folios_remove (struct folios *folios, struct folio *folio);

/* What the store has done, and not flushed, may be undone when the sum of these is
 * not what it was any more.
 */
struct undone {
  const _Atomic uint32_t *losses, *flush_failures;
  uint32_t was;
};

static inline bool
undone_since (const struct undone *undone)
{
  return atomic_load (undone->losses) + atomic_load (undone->flush_failures) !=
         undone->was;
}

/* Drop what is cached of the byte range, which the store has replaced.  It
 * begins and ends at blocks or at the disk's end, and the caller holds it in
 * folios->ranges.  If the origin's client is gone, what is unsaved may be newer
 * and of others: it stays, and is written over what the store has.  Returns 0 or
 * then, lest one that can still be told take it for done, -ECONNABORTED.  There may
 * be room for more that is dirty now: of that the caller tells who waits.
 *
 * undone: or NULL, if what replaces it is durable.  What may have been undone
 * replaces nothing: -ESTALE, with the rest as it was.
 */
extern int folios_drop_range (struct folios *folios, struct origin *origin,
                              const struct undone *undone, uint64_t start,
                              uint64_t end);

/* Drop what is in memory of the byte range, as above, which its iomap says is zero
 * by now.  Waits for nobody: neither for folio locks nor for write-back, of which
 * what comes of it no longer concerns memory.  Of what only has been read and not
 * yet arrived, see watch.h.  Returns as above.
 */
extern int folios_zero_range (struct folios *folios, struct origin *origin,
                              uint64_t start, uint64_t end);

/* Forget what is clean, to read it again: it may have been read when the store
 * had what it lost since.  Waits for folio locks.
 */
extern void folios_forget_clean (struct folios *folios);

/* The store may hold anything in such a range now: what is unstable becomes
 * dirty, and what is clean is dropped.
 */
extern void folios_distrust_range (struct folios *folios, uint64_t start,
                                   uint64_t end);

/* The first run of [pos, end) that is unsaved, in whole sectors of one folio: sets both
 * its ends, the last one perhaps behind end; false if there is none.
 */
extern bool folios_next_unsaved (struct folios *folios, uint64_t pos,
                                 uint64_t end, uint64_t *first, uint64_t *last);

/* Give back a range, and tell the flusher if it was kept out by it. */
extern void folios_end_range (struct folios *folios, struct range *range);

#endif /* FOLIO_RANGE_OPS_H */
