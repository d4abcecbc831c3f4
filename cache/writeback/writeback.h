/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back: the state machine that sends dirty data to the store, merged and
 * in order of place, and makes it durable.  Single-threaded: everything here
 * but what is marked otherwise runs on the loop thread (or a test's), in
 * steps that never wait.  flusher.c gives it a thread and a clock.
 *
 * Data is copied out of the folios, under the folio lock, into a bounce buffer
 * that the store then reads: what is being sent cannot change under way, a
 * sector is never torn between two writes, writers never wait for a store, and
 * the runs of many folios make one piece.
 *
 * Syncs (flush, FUA, write-through) have a machine of their own: see sync.c.
 */

#ifndef FOLIO_WRITEBACK_H
#define FOLIO_WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/state.h"

extern int writeback_init (struct writeback *wb);
extern void writeback_destroy (struct writeback *wb);

/* Do a bounded amount of what there is to do.  Returns true if there is more
 * that can be done at once; else wait for the bell, or until
 * writeback_deadline (ns, or ENV_FOREVER).
 */
extern bool writeback_step (struct writeback *wb);
extern uint64_t writeback_deadline (struct writeback *wb);

/* Nothing is in flight, of the fs's own neither, and no sync is waiting or under
 * way.
 */
extern bool writeback_idle (struct writeback *wb);

#endif /* FOLIO_WRITEBACK_H */
