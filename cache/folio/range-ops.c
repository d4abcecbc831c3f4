/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Doing something to all folios of a byte range, which the caller mostly holds.
 */

#include <assert.h>
#include <errno.h>

#include "cache/base/origin.h"
#include "cache/folio/range-ops.h"
#include "cache/folio/reclaim.h"
#include "cache/index/index.h"

void
folios_remove (struct folios *folios, struct folio *folio)
{
  assert (folio_locked (folio));
  assert (!folio_unsaved (folios->arena, folio));

  index_lock (folios->index);
  index_remove (folios->index, folio);
  index_unlock (folios->index);
  reclaim_remove (folios->reclaim, folio);
  folio_put (folios->arena, folio);
}

typedef void folio_fn (struct folios *folios, struct folio *folio,
                       unsigned first, unsigned last);

/* The first folio of the range, referenced, that holds a page from `page' on, and its
 * sectors there: what ends with the disk ends with a folio.
 */
static struct folio *
next_clipped (struct folios *folios, uint64_t page, uint64_t start,
              uint64_t end, unsigned *first, unsigned *last)
{
  struct folio *folio =
    index_get_next (folios->index, page, (end - 1) >> PAGE_SHIFT);

  if (folio)
    folio_clip (folio, start, end == folios->size ? UINT64_MAX : end, first,
                last);
  return folio;
}

/* Call fn for each folio in the range, locked and in the index, with its
 * sectors there; or gone, from where on the origin's client is.  -ESTALE: not for
 * all, see folios_drop_range.
 */
static int
for_each_folio_of (struct folios *folios, struct origin *origin,
                   const struct undone *undone, uint64_t start, uint64_t end,
                   folio_fn *fn, folio_fn *gone)
{
  uint64_t page = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
  unsigned from, to;
  struct folio *folio;
  int r = 0;

  while (r == 0 && page <= last &&
         (folio = next_clipped (folios, page, start, end, &from, &to)) !=
           NULL) {
    if (folio_lock (folios->env, folio))
      origin_waited (origin);
    if (folio_mapped (folio)) {
      page = folio_index (folio) + folio_pages (folio);
      if (origin_gone (origin))
        gone (folios, folio, from, to);
      else if (undone && undone_since (undone))
        r = -ESTALE;
      else
        fn (folios, folio, from, to);
    }
    folio_unlock (folios, folio);
    folio_put (folios->arena, folio);
    origin_progress (origin, sector_bytes (to - from));
  }
  return r;
}

static void
for_each_folio (struct folios *folios, uint64_t start, uint64_t end,
                folio_fn *fn)
{
  for_each_folio_of (folios, NULL, NULL, start, end, fn, fn);
}

static void
drop (struct folios *folios, struct folio *folio, unsigned first, unsigned last)
{
  folio_transition (folios, folio, first, last, FOLIO_DROPPED);
  if (first == 0 && last == folio_sectors (folio))
    folios_remove (folios, folio);
}

/* Drop the sectors that are not unsaved. */
static void
drop_clean (struct folios *folios, struct folio *folio, unsigned first,
            unsigned last)
{
  unsigned end;

  for (; first < last; first = end + 1) {
    end =
      folio_find_sector (folios->arena, folio, first, last, IN_UNSAVED, true);
    if (first < end)
      folio_transition (folios, folio, first, end, FOLIO_DROPPED);
  }
}

static void
distrust (struct folios *folios, struct folio *folio, unsigned first,
          unsigned last)
{
  bool unstable = folio_find_sector (folios->arena, folio, first, last,
                                     IN_UNSTABLE, true) < last;

  /* First: who sees that it is not unstable any more sees that it was. */
  if (unstable)
    atomic_fetch_add (&folios->overwritten, 1);
  folio_transition (folios, folio, first, last, FOLIO_LOST);
  drop_clean (folios, folio, first, last);
}

int
folios_drop_range (struct folios *folios, struct origin *origin,
                   const struct undone *undone, uint64_t start, uint64_t end)
{
  int r =
    for_each_folio_of (folios, origin, undone, start, end, drop, distrust);

  /* Once it is known, it is for good. */
  return r == 0 && origin_gone (origin) ? -ECONNABORTED : r;
}

/* Drop sectors of the folio, and the folio if it is all of it and not in use.
 * Returns false if it was out of the index, where there may be another now.
 */
static bool
zero_folio (struct folios *folios, struct folio *folio, unsigned first,
            unsigned last, bool gone)
{
  folio_transition (folios, folio, first, last,
                    gone ? FOLIO_OVERTAKEN : FOLIO_ZEROED);
  if (!folio_mapped (folio))
    return false;
  if (first > 0 || last < folio_sectors (folio) || gone ||
      !folio_trylock (folio))
    return true;
  if (folio_mapped (folio) && !folio_unsaved (folios->arena, folio))
    folios_remove (folios, folio);
  folio_unlock (folios, folio);
  return true;
}

int
folios_zero_range (struct folios *folios, struct origin *origin, uint64_t start,
                   uint64_t end)
{
  uint64_t page = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
  unsigned from, to;
  struct folio *folio;

  atomic_fetch_add (&folios->zeroes, 1);
  watches_zero (&folios->watches, start, end);
  while (page <= last && (folio = next_clipped (folios, page, start, end, &from,
                                                &to)) != NULL) {
    if (zero_folio (folios, folio, from, to, origin_gone (origin)))
      page = folio_index (folio) + folio_pages (folio);
    folio_put (folios->arena, folio);
    origin_progress (origin, sector_bytes (to - from));
  }
  return origin_gone (origin) ? -ECONNABORTED : 0;
}

void
folios_forget_clean (struct folios *folios)
{
  for_each_folio (folios, 0, folios->size, drop_clean);
}

void
folios_distrust_range (struct folios *folios, uint64_t start, uint64_t end)
{
  for_each_folio (folios, start, end, distrust);
}

/* Not by tags, of which a folio may change one for another while they are looked
 * at.
 */
bool
folios_next_unsaved (struct folios *folios, uint64_t pos, uint64_t end,
                     uint64_t *first, uint64_t *last)
{
  struct arena *arena = folios->arena;
  unsigned from, to;
  struct folio *folio;

  for (; pos < end; pos = *last) {
    folio = next_clipped (folios, pos >> PAGE_SHIFT, pos, end, &from, &to);
    if (folio == NULL)
      return false;
    to = folio_sectors (folio);
    from = folio_find_sector (arena, folio, from, to, IN_UNSAVED, true);
    *first = sector_pos (folio, from);
    *last = sector_pos (
      folio, folio_find_sector (arena, folio, from, to, IN_UNSAVED, false));
    folio_put (arena, folio);
    if (*first < *last)
      return *first < end;
  }
  return false;
}

void
folios_end_range (struct folios *folios, struct range *range)
{
  if (ranges_remove (&folios->ranges, range))
    bell_ring (folios->bell);
}
