/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bad ranges: a sorted array.
 */

#include <string.h>

#include "fs/num.h"
#include "cache/writeback/bad-ranges.h"

/* The number of the first that ends behind pos; n if none does. */
static unsigned
search (const struct bad_ranges *list, uint64_t pos)
{
  unsigned low = 0, high = list->n;

  while (low < high) {
    unsigned middle = (low + high) / 2;

    if (list->at[middle].end > pos)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

const struct bad_range *
bad_ranges_find (const struct bad_ranges *list, uint64_t pos)
{
  unsigned i = search (list, pos);

  return i < list->n ? &list->at[i] : NULL;
}

static void
insert (struct bad_ranges *list, unsigned i, const struct bad_range *range)
{
  memmove (&list->at[i + 1], &list->at[i], (list->n - i) * sizeof list->at[0]);
  list->at[i] = *range;
  list->n++;
}

static void
erase (struct bad_ranges *list, unsigned i)
{
  list->n--;
  memmove (&list->at[i], &list->at[i + 1], (list->n - i) * sizeof list->at[0]);
}

/* Take [start, end) out of the ranges; what is left of them stays as it is.
 * Returns false if nothing of it was in any; else the longest backoff of those
 * in *backoff.
 */
static bool
carve (struct bad_ranges *list, uint64_t start, uint64_t end, uint64_t *backoff)
{
  unsigned i = search (list, start);
  bool any = false;

  *backoff = 0;
  while (i < list->n && list->at[i].start < end) {
    struct bad_range old = list->at[i];

    any = true;
    *backoff = max_u64 (*backoff, old.backoff);
    erase (list, i);
    if (old.start < start) {
      insert (list, i, &old);
      list->at[i++].end = start;
    }
    if (old.end > end && list->n < MAX_BAD_RANGES) {
      insert (list, i, &old);
      list->at[i++].start = end;
    }
  }
  return any;
}

/* Make one of range i and the next, with what is between them. */
static void
merge (struct bad_ranges *list, unsigned i)
{
  struct bad_range *a = &list->at[i], *b = a + 1;

  a->end = b->end;
  a->retry_at = max_u64 (a->retry_at, b->retry_at);
  a->backoff = max_u64 (a->backoff, b->backoff);
  erase (list, i + 1);
}

/* What lies between range i and the next, if both are bad; else UINT64_MAX. */
static uint64_t
gap (const struct bad_ranges *list, unsigned i)
{
  const struct bad_range *a = &list->at[i], *b = a + 1;

  if (i + 1 >= list->n || !a->bad || !b->bad)
    return UINT64_MAX;
  return b->start - a->end;
}

/* Have room for two more at `start', by taking those bad ranges together that
 * are nearest to each other.  Returns false if it is not possible.
 */
static bool
make_room (struct bad_ranges *list, uint64_t start)
{
  unsigned i, nearest;
  uint64_t least;

  while (list->n + 2 > MAX_BAD_RANGES) {
    least = UINT64_MAX;
    for (i = nearest = 0; i + 1 < list->n; i++) {
      bool between = list->at[i].end <= start && start < list->at[i + 1].start;

      if (!between && gap (list, i) < least) {
        nearest = i;
        least = gap (list, i);
      }
    }
    if (least == UINT64_MAX)
      return false;
    merge (list, nearest);
  }
  return true;
}

/* Make one of i and the next, if they touch and have failed alike. */
static void
join (struct bad_ranges *list, unsigned i)
{
  if (gap (list, i) == 0 && list->at[i].error == list->at[i + 1].error)
    merge (list, i);
}

static void
add_bad (struct bad_ranges *list, uint64_t start, uint64_t end, int error,
         uint64_t backoff, uint64_t now)
{
  struct bad_range range = {
    .start = start,
    .end = end,
    .retry_at = now + backoff,
    .backoff = backoff,
    .bad = true,
    .error = error,
  };
  unsigned i = search (list, start);

  insert (list, i, &range);
  join (list, i);
  if (i > 0)
    join (list, i - 1);
}

static void
add_suspect (struct bad_ranges *list, uint64_t start, uint64_t end,
             uint64_t backoff, uint64_t now)
{
  struct bad_range range = {
    .start = start,
    .end = end,
    .retry_at = now,
    .backoff = backoff,
  };

  insert (list, search (list, start), &range);
}

/* One of the ranges has failed again.  If nothing else happens they pause, each
 * time a little longer: there may be much to cut before something is written, and
 * backoffs of their own do not bound how many writes many of them make.
 */
static void
count_failure (struct bad_ranges *list, uint64_t now)
{
  if (++list->failed < BAD_RANGES_PATIENCE)
    return;
  list->failed = 0;
  list->pause = min_u64 (list->pause + BACKOFF_MIN, BACKOFF_MAX);
  list->paused_until = now + list->pause;
}

static void
end_pause (struct bad_ranges *list)
{
  list->failed = 0;
  list->pause = 0;
  list->paused_until = 0;
}

bool
bad_ranges_failed (struct bad_ranges *list, uint64_t start, uint64_t end,
                   int error, uint32_t block, uint64_t now)
{
  uint64_t backoff, half = (end - start) / 2 / block * block;
  struct bad_range *old = &list->at[search (list, start)];

  if (half == 0 && old < &list->at[list->n] && old->bad &&
      old->start <= start) {
    old->error = error;
    count_failure (list, now);
    return true;
  }
  if (carve (list, start, end, &backoff))
    count_failure (list, now);
  if (!make_room (list, start))
    return false;
  if (half == 0) {
    add_bad (list, start, end, error, max_u64 (backoff, BACKOFF_MIN), now);
    return true;
  }
  add_suspect (list, start, start + half, backoff, now);
  add_suspect (list, start + half, end, backoff, now);
  return true;
}

bool
bad_ranges_suspect (struct bad_ranges *list, uint64_t start, uint64_t end,
                    uint64_t now)
{
  uint64_t backoff;

  if (carve (list, start, end, &backoff))
    count_failure (list, now);
  if (!make_room (list, start))
    return false;
  add_suspect (list, start, end, backoff, now);
  return true;
}

void
bad_ranges_written (struct bad_ranges *list, uint64_t start, uint64_t end)
{
  uint64_t backoff;

  if (carve (list, start, end, &backoff))
    end_pause (list);
}

/* What comes first: what was never tried alone, in which there may be nothing
 * wrong; then what is bad, which costs one write; and last the parts of what was
 * bad, which may be many.  A cursor each, so that what was begun to be cut is cut
 * to its end before something else is: that keeps the list short.
 */
static unsigned
rank (const struct bad_range *range)
{
  if (range->bad)
    return 1;
  return range->backoff == 0 ? 0 : 2;
}

/* The first of this rank that is due, going round the disk from where the last
 * one was, so that none is forgotten over others that are due again and again.
 */
static const struct bad_range *
first_due (const struct bad_ranges *list, uint64_t now, unsigned wanted)
{
  unsigned i, first = search (list, list->cursor[wanted]);

  for (i = 0; i < list->n; i++) {
    const struct bad_range *range = &list->at[(first + i) % list->n];

    if (range->retry_at <= now && rank (range) == wanted)
      return range;
  }
  return NULL;
}

const struct bad_range *
bad_ranges_due (const struct bad_ranges *list, uint64_t now)
{
  const struct bad_range *range = NULL;
  unsigned i;

  if (now < list->paused_until)
    return NULL;
  for (i = 0; i < NR_RANKS && range == NULL; i++)
    range = first_due (list, now, i);
  return range;
}

uint64_t
bad_ranges_deadline (const struct bad_ranges *list, uint64_t now)
{
  uint64_t next = UINT64_MAX, at;
  unsigned i;

  for (i = 0; i < list->n; i++) {
    at = max_u64 (list->at[i].retry_at, list->paused_until);
    if (at > now)
      next = min_u64 (next, at);
  }
  return next;
}

/* The number of the range, or n. */
static unsigned
find_exactly (const struct bad_ranges *list, uint64_t start, uint64_t end)
{
  unsigned i = search (list, start);

  if (i < list->n && list->at[i].start == start && list->at[i].end == end)
    return i;
  return list->n;
}

void
bad_ranges_tried (struct bad_ranges *list, uint64_t start, uint64_t end,
                  uint64_t now)
{
  unsigned i = find_exactly (list, start, end);
  struct bad_range *range = &list->at[i];

  if (i == list->n)
    return;
  list->cursor[rank (range)] = start;
  if (range->bad)
    range->backoff = backoff_next (range->backoff);
  range->retry_at = now + max_u64 (range->backoff, BACKOFF_MIN);
}

void
bad_ranges_forget (struct bad_ranges *list, uint64_t start, uint64_t end)
{
  unsigned i = find_exactly (list, start, end);

  if (i < list->n)
    erase (list, i);
}

void
bad_ranges_hope (struct bad_ranges *list)
{
  unsigned i;

  for (i = 0; i < list->n; i++)
    list->at[i].retry_at = 0;
  end_pause (list);
}
