/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Lists that grow: of blocks, and of ranges of them.  All zeroes at first; their owner
 * frees what is in them.
 */

#ifndef FOLIO_THIN_LISTS_H
#define FOLIO_THIN_LISTS_H

#include "fs/thin/meta.h"

struct thin_places {
  uint64_t *list;
  size_t n, room;
};

struct thin_ranges {
  struct thin_range *list;
  size_t n, room;
};

/* From `at' on there are so many more, or less. */
struct thin_event {
  uint64_t at;
  int64_t change;
};

struct thin_events {
  struct thin_event *list;
  size_t n, room;
};

/* Add one.  -ENOMEM. */
extern int thin_places_add (struct thin_places *places, uint64_t place);

/* Add a range; to the last one if it is its neighbour.  -ENOMEM. */
extern int thin_ranges_add (struct thin_ranges *ranges, uint64_t start,
                            uint64_t length);

/* Add one, -ENOMEM; and have all of them in order. */
extern int thin_events_add (struct thin_events *events, uint64_t at,
                            int64_t change);
extern void thin_events_sort (struct thin_events *events);

#endif /* FOLIO_THIN_LISTS_H */
