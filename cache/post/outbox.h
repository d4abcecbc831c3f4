/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The outbox of a disk's loop thread: what write-back lets others know of how it
 * is doing, and for how long they should wait for it.
 */

#ifndef FOLIO_OUTBOX_H
#define FOLIO_OUTBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/post/lost.h"
#include "fs/env.h"

struct outbox {
  struct env *env;

  _Atomic int last_error; /* why something cannot be written or flushed; 0
                                * when all can */
  _Atomic int fs_error;   /* the same of what the fs has to do; see settled */
  _Atomic uint64_t cleaned_at; /* ns, when a folio last became clean */

  /* ns, since when the oldest is dirty of what the periodic passes have seen; 0:
   * nothing is.
   */
  _Atomic uint64_t oldest_dirty;

  struct lost lost; /* what clients are told of */

  _Atomic uint32_t flush_failures; /* counts them */

  _Atomic bool shutdown; /* nobody should begin to wait any more */
};

/* How long to wait while nothing can be written back; or while some of it can't
 * and there is no room.
 */
#define PATIENCE (10 * NSEC_PER_SEC)
#define PATIENCE_BOUND (60 * NSEC_PER_SEC)

/* Why something cannot be written, flushed or zeroed; 0 when all can. */
static inline int
outbox_error (const struct outbox *outbox)
{
  int error = atomic_load (&outbox->last_error);

  return error ? error : atomic_load (&outbox->fs_error);
}

/* How often what was written past the cache may have been lost. */
static inline uint32_t
lost_count (const struct outbox *outbox)
{
  return atomic_load (&outbox->lost.count);
}

/* Why one who has waited since then (ns) for room or memory should not wait any
 * longer: -ESHUTDOWN, or the store's error after PATIENCE; else 0.
 */
extern int outbox_give_up (const struct outbox *outbox, uint64_t since);

#endif /* FOLIO_OUTBOX_H */
