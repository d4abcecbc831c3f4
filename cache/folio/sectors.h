/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where folios are on the disk, by bytes, pages and sectors; and sectors as masks.
 * Sectors of a folio are counted from its start, and ranges of them, as of bytes,
 * are [first, last).
 */

#ifndef FOLIO_SECTORS_H
#define FOLIO_SECTORS_H

#include <stdint.h>

#include "cache/base/arena.h"
#include "fs/num.h"

static inline uint64_t
folio_pages (const struct folio *folio)
{
  return UINT64_C (1) << folio_order (folio);
}

/* First byte on the disk, and the one after its last. */
static inline uint64_t
folio_pos (const struct folio *folio)
{
  return folio_index (folio) << PAGE_SHIFT;
}

static inline uint64_t
folio_end (const struct folio *folio)
{
  return (folio_index (folio) + folio_pages (folio)) << PAGE_SHIFT;
}

static inline unsigned
folio_sectors (const struct folio *folio)
{
  return SECTORS_PER_PAGE << folio_order (folio);
}

static inline uint64_t
sector_bytes (unsigned sectors)
{
  return (uint64_t) sectors << SECTOR_SHIFT;
}

/* The sector that byte pos of the disk, which lies in the folio or ends it, is in. */
static inline unsigned
folio_sector (const struct folio *folio, uint64_t pos)
{
  return (unsigned) ((pos - folio_pos (folio)) >> SECTOR_SHIFT);
}

/* The sectors that lie in bytes [start, end) of the disk, of which none but the
 * folio's own ends cut through one.
 */
static inline void
folio_clip (const struct folio *folio, uint64_t start, uint64_t end,
            unsigned *first, unsigned *last)
{
  *first = folio_sector (folio, max_u64 (start, folio_pos (folio)));
  *last = folio_sector (folio, min_u64 (end, folio_end (folio)));
}

/* Where a sector is: on the disk, and in memory. */
static inline uint64_t
sector_pos (const struct folio *folio, unsigned sector)
{
  return folio_pos (folio) + sector_bytes (sector);
}

static inline uint8_t *
sector_data (const struct arena *arena, const struct folio *folio,
             unsigned sector)
{
  return arena_data (arena, folio) + sector_bytes (sector);
}

/* Sectors [first, last) of one page, counted from anywhere, as a mask of 8. */
static inline uint32_t
folio_mask (unsigned first, unsigned last)
{
  return (2u << (last - 1) % SECTORS_PER_PAGE) -
         (1u << first % SECTORS_PER_PAGE);
}

/* The part of sectors [first, last) that lies in page, as a mask of 8. */
static inline uint32_t
page_mask (unsigned page, unsigned first, unsigned last)
{
  unsigned base = page * SECTORS_PER_PAGE;
  unsigned lo = first > base ? first - base : 0;
  unsigned hi = last < base + SECTORS_PER_PAGE ? last - base : SECTORS_PER_PAGE;

  return ((1u << hi) - 1) & ~((1u << lo) - 1);
}

#endif /* FOLIO_SECTORS_H */
