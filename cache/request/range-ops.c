/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Doing something to all folios of a byte range, which the caller mostly holds.
 */

#include <errno.h>

#include "cache/mapping.h"
#include "cache/writeback/sync.h"

typedef void folio_fn (struct mapping *mapping, struct folio *folio,
                       unsigned first, unsigned last);

/* Call fn for each folio in the range, locked and in the index, with its
 * sectors there; or gone, from where on the origin's client is.
 */
static void
for_each_folio_of (struct mapping *mapping, struct origin *origin,
                   uint64_t start, uint64_t end, folio_fn *fn, folio_fn *gone)
{
  uint64_t page = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
  struct folio *folio;

  while (page <= last &&
         (folio = index_get_next (mapping->folios.index, page, last)) != NULL) {
    uint64_t base = folio_pos (folio);
    uint64_t lo = max_u64 (start, base);
    uint64_t hi = end == mapping->folios.size
                    ? folio_end (folio)
                    : min_u64 (end, folio_end (folio));

    if (folio_lock (mapping->env, folio))
      origin_waited (origin);
    if (folio_mapped (folio)) {
      page = folio_index (folio) + folio_pages (folio);
      (origin_gone (origin) ? gone : fn) (
        mapping, folio, (unsigned) ((lo - base) >> SECTOR_SHIFT),
        (unsigned) ((hi - base) >> SECTOR_SHIFT));
    }
    folio_unlock (&mapping->folios, folio);
    folio_put (mapping->folios.arena, folio);
    origin_progress (origin, hi - lo);
  }
}

static void
for_each_folio (struct mapping *mapping, uint64_t start, uint64_t end,
                folio_fn *fn)
{
  for_each_folio_of (mapping, NULL, start, end, fn, fn);
}

static void
drop (struct mapping *mapping, struct folio *folio, unsigned first,
      unsigned last)
{
  folio_transition (&mapping->folios, folio, first, last, FOLIO_DROPPED);
  if (first == 0 && last == folio_sectors (folio))
    mapping_remove_folio (mapping, folio);
}

/* Is the sector dirty, in writeback or unstable? */
static bool
sector_unsaved (const struct mapping *mapping, const struct folio *folio,
                unsigned sector)
{
  uint32_t state = atomic_load (arena_state (mapping->folios.arena, folio) +
                                sector / SECTORS_PER_PAGE) >>
                   sector % SECTORS_PER_PAGE;

  return (state >> STATE_DIRTY_SHIFT | state >> STATE_WRITEBACK_SHIFT |
          state >> STATE_UNSTABLE_SHIFT) &
         1;
}

/* Drop the sectors that are not unsaved. */
static void
drop_clean (struct mapping *mapping, struct folio *folio, unsigned first,
            unsigned last)
{
  unsigned end;

  for (; first < last; first = end + 1) {
    for (end = first; end < last; end++)
      if (sector_unsaved (mapping, folio, end))
        break;
    if (first < end)
      folio_transition (&mapping->folios, folio, first, end, FOLIO_DROPPED);
  }
}

static void
distrust (struct mapping *mapping, struct folio *folio, unsigned first,
          unsigned last)
{
  bool unstable = folio_find_sector (mapping->folios.arena, folio, first, last,
                                     STATE_UNSTABLE_SHIFT, true) < last;

  folio_transition (&mapping->folios, folio, first, last, FOLIO_LOST);
  if (unstable)
    sync_note_overwritten (mapping);
  drop_clean (mapping, folio, first, last);
}

int
mapping_drop_range (struct mapping *mapping, struct origin *origin,
                    uint64_t start, uint64_t end)
{
  for_each_folio_of (mapping, origin, start, end, drop, distrust);
  throttle_wake (mapping);
  /* Once it is known, it is for good. */
  return origin_gone (origin) ? -ECONNABORTED : 0;
}

void
mapping_forget_clean (struct mapping *mapping)
{
  for_each_folio (mapping, 0, mapping->folios.size, drop_clean);
}

void
mapping_distrust_range (struct mapping *mapping, uint64_t start, uint64_t end)
{
  for_each_folio (mapping, start, end, distrust);
}

void
mapping_end_range (struct mapping *mapping, struct range *range)
{
  if (ranges_remove (&mapping->folios.ranges, range))
    writeback_kick (mapping);
}
