/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs, and the store flushes they share.  sync.c has the table of the syncs'
 * states, sync-flush.c that of the flush.  Loop thread only.
 */

#ifndef FOLIO_SYNC_H
#define FOLIO_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/sync-list.h"

extern void sync_init (struct writeback *wb);

/* --- the syncs --- */

/* Begin syncs and have them sent, a slice at a time.  Returns true if there is more
 * to do at once.
 */
extern bool sync_step (struct writeback *wb, uint64_t now);

/* See to those whose data is written.  Returns true if there is more to do at
 * once.
 */
extern bool sync_drain_step (struct writeback *wb, uint64_t now);

/* Tell those who wait for syncs that are over. */
extern void sync_complete (struct writeback *wb);

/* --- the store flush --- */

/* Is a flush of the store all that some are missing, and held for more syncs to
 * share it, until flush_at at most?
 */
extern bool sync_awaits_flush (struct writeback *wb);

/* Take note of what the store has lost since it was last looked at. */
extern void sync_see_losses (struct writeback *wb);

/* Begin a store flush although nobody asked, if none is on. */
extern void sync_start_flush (struct writeback *wb);

/* See to the store flush and the sweep after it.  Returns true if there is
 * more to do at once.
 */
extern bool sync_flush_step (struct writeback *wb);

#endif /* FOLIO_SYNC_H */
