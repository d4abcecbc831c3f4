/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Room in the index: nodes made free by eviction.
 */

#ifndef FOLIO_INDEX_ROOM_H
#define FOLIO_INDEX_ROOM_H

#include <stdbool.h>

struct mapping;

/* The index has no node left: make some free, by eviction.  wait: also for
 * write-back, if all is dirty.  Returns 0 when there may be one, -ENOMEM without
 * wait, or why there can't be.  No locks held.
 */
extern int mapping_index_room (struct mapping *mapping, bool wait);

/* The same for all mappings whose indexes will soon have none left; see
 * reclaim_ops.
 */
extern void cache_index_work (void *cache);

#endif /* FOLIO_INDEX_ROOM_H */
