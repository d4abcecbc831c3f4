/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs: batches of them, and the store flushes they share.  Loop thread only,
 * but for what says otherwise.
 */

#ifndef FOLIO_SYNC_H
#define FOLIO_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/writeback.h"

/* It is over, and not ours any more. */
extern void sync_complete (struct writeback *wb, struct sync_req *req);

/* They are over, with this error if it is not 0. */
extern void sync_complete_all (struct writeback *wb, struct sync_list *list,
                               int error);

/* Bring the batch that is writing, and what is queued, as far as possible.
 * Returns true if there is more to do at once.
 */
extern bool sync_step (struct writeback *wb);

/* What was sent for the batch is waited for, by each of its syncs for itself. */
extern void sync_drain (struct writeback *wb);

/* An ioend is over. */
extern void sync_ioend_over (struct writeback *wb, const struct ioend *ioend);

/* See to those whose data is written.  Returns true if there is more to do at
 * once.
 */
extern bool sync_drain_step (struct writeback *wb);

/* Is a flush of the store all that some are missing, and held for more syncs to
 * share it, until wb.flush_at at most?
 */
extern bool sync_awaits_flush (struct writeback *wb);

/* The syncs that no flush is on for are to begin anew, once it has settled. */
extern void sync_restart (struct writeback *wb);

/* Take note of what the store has lost since it was last looked at. */
extern void sync_see_losses (struct writeback *wb);

/* Begin a store flush although nobody asked, if none is on. */
extern void sync_start_flush (struct writeback *wb);

/* See to the store flush and the sweep after it.  Returns true if there is
 * more to do at once.
 */
extern bool sync_flush_step (struct writeback *wb);

/* How often something that the store had became dirty behind the tags of syncs.
 * Those under way begin anew when it has changed.
 */
extern uint32_t sync_redone (struct writeback *wb);

/* Of these ranges, n that were to be written as one, none could be: syncs of any
 * of them will fail, with the first error, but for -ENOSPC only if there is no
 * other.  cut: they will be written in smaller parts from now on, so those that
 * want only some of them are tried again.
 */
extern void sync_note_error (struct writeback *wb, const struct range *ranges,
                             unsigned n, int error, bool cut);

#endif /* FOLIO_SYNC_H */
