/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs: batches of them, and the store flushes they share.  Loop thread only.
 */

#ifndef FOLIO_SYNC_H
#define FOLIO_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback.h"

struct mapping;

extern void sync_list_init (struct sync_list *list);
extern void sync_list_append (struct sync_list *list, struct sync_req *req);

/* Bring the batch that is writing, and what is queued, as far as possible.
 * Returns true if there is more to do at once.
 */
extern bool sync_step (struct mapping *mapping);

/* Begin a store flush although nobody asked, if none is on. */
extern void sync_start_flush (struct mapping *mapping);

/* See to the store flush and the sweep after it.  Returns true if there is
 * more to do at once.
 */
extern bool sync_flush_step (struct mapping *mapping);

/* Pages [first, last] could not be written: syncs of them will fail. */
extern void sync_note_error (struct mapping *mapping, uint64_t first,
                             uint64_t last, int error);

#endif /* FOLIO_SYNC_H */
