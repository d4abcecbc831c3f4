/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Lists that grow.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/lists.h"

int
thin_places_add (struct thin_places *places, uint64_t place)
{
  if (places->n == places->room) {
    size_t room = places->room ? 2 * places->room : 16;
    uint64_t *list = realloc (places->list, room * sizeof *list);

    if (list == NULL)
      return -ENOMEM;
    places->list = list;
    places->room = room;
  }
  places->list[places->n++] = place;
  return 0;
}

int
thin_ranges_add (struct thin_ranges *ranges, uint64_t start, uint64_t length)
{
  struct thin_range *last = ranges->n > 0 ? &ranges->list[ranges->n - 1] : NULL;

  if (last && last->start + last->length == start) {
    last->length += length;
    return 0;
  }
  if (ranges->n == ranges->room) {
    size_t room = ranges->room ? 2 * ranges->room : 64;
    struct thin_range *list = realloc (ranges->list, room * sizeof *list);

    if (list == NULL)
      return -ENOMEM;
    ranges->list = list;
    ranges->room = room;
  }
  ranges->list[ranges->n++] = (struct thin_range) { start, length };
  return 0;
}

int
thin_events_add (struct thin_events *events, uint64_t at, int64_t change)
{
  if (events->n == events->room) {
    size_t room = events->room ? 2 * events->room : 256;
    struct thin_event *list = realloc (events->list, room * sizeof *list);

    if (list == NULL)
      return -ENOMEM;
    events->list = list;
    events->room = room;
  }
  events->list[events->n++] = (struct thin_event) { at, change };
  return 0;
}

static int
by_place (const void *a, const void *b)
{
  const struct thin_event *x = a, *y = b;

  return x->at < y->at ? -1 : x->at > y->at;
}

void
thin_events_sort (struct thin_events *events)
{
  if (events->n > 0)
    qsort (events->list, events->n, sizeof *events->list, by_place);
}
