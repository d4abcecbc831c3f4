/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Syncs, as the rest of write-back sees them: what becomes of writes is told here,
 * and what they wait for is counted.
 */

#ifndef FOLIO_SYNC_LIST_H
#define FOLIO_SYNC_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/state.h"

static inline void
sync_set_state (struct wb_sync *sync, struct sync_req *req,
                enum sync_state state)
{
  sync->nr[req->state]--;
  req->state = state;
  sync->nr[state]++;
}

/* Are there any, or any that have something to send, or wait for it? */
static inline bool
sync_any (const struct wb_sync *sync)
{
  return sync->list != NULL;
}

static inline bool
sync_writing (const struct wb_sync *sync)
{
  return sync->nr[SYNC_QUEUED] + sync->nr[SYNC_TAGGING] +
           sync->nr[SYNC_SENDING] + sync->nr[SYNC_DRAINING] >
         0;
}

/* Until what was in flight when the store lost something is over, and all that
 * was unstable is dirty, nothing is sent.
 */
static inline bool
sync_settling (const struct wb_sync *sync)
{
  return sync->flush_state == FLUSH_VOID || sync->flush_state == FLUSH_LOST ||
         sync->flush_state == FLUSH_SETTLE;
}

/* Does the store's FUA do for data, so that no flush is needed? */
extern bool sync_has_fua (const struct writeback *wb);

/* These ranges, n of them, are to be sent again. */
extern void sync_send_again (struct writeback *wb, const struct range *ranges,
                             unsigned n);

/* Of these ranges, n that were to be written as one, none could be: syncs of any
 * of them will fail, with the first error, but for -ENOSPC only if there is no
 * other.  cut: they will be written in smaller parts from now on, so those that
 * want only some of them are tried again.
 */
extern void sync_note_error (struct writeback *wb, const struct range *ranges,
                             unsigned n, int error, bool cut);

/* How often something that the store had became dirty behind the backs of syncs.
 * Those under way begin anew when it has changed.
 */
extern uint32_t sync_redone (struct writeback *wb);

/* The whole blocks of the disk that it is about. */
extern uint64_t sync_first_byte (const struct writeback *wb,
                                 const struct sync_req *req);
extern uint64_t sync_last_byte (const struct writeback *wb,
                                const struct sync_req *req);

/* Of what is in flight now, count what the sync waits for.  An ioend is over. */
extern void sync_count_awaited (struct writeback *wb, struct sync_req *req);
extern void sync_ioend_over (struct writeback *wb, const struct ioend *ioend);

/* The folio has become clean. */
extern void sync_cleaned (struct writeback *wb, struct folio *folio);

#endif /* FOLIO_SYNC_LIST_H */
