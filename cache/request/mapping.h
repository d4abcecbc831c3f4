/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The insides of a cache, a mapping and a connection, for the files of this
 * folder.  What others use is in cache.h.
 */

#ifndef FOLIO_MAPPING_H
#define FOLIO_MAPPING_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/arena.h"
#include "cache/pace/balance.h"
#include "cache/cache.h"
#include "cache/request/fill.h"
#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/base/num.h"
#include "cache/base/origin.h"
#include "cache/folio/range-ops.h"
#include "cache/folio/ranges.h"
#include "cache/request/readahead.h"
#include "cache/folio/reclaim.h"
#include "cache/base/stats.h"
#include "cache/request/stream.h"
#include "cache/pace/throttle.h"
#include "cache/writeback/writeback.h"
#include "cache/post/inbox.h"
#include "cache/post/outbox.h"
#include "cache/post/zeroes.h"

#define MAX_MAPPINGS 64

struct cache {
  struct env *env;
  struct arena *arena;  /* folios */
  struct arena *bounce; /* for what bypasses the folios, see bounce.h */
  struct reclaim *reclaim;
  _Atomic uint64_t wasted_seen; /* of reclaim_wasted_readahead, passed on */
  uint32_t max_nodes;           /* of each mapping's index */

  pthread_mutex_t lock; /* for changes of mappings; a leaf */
  /* Held by the reclaimer's thread while it works on a mapping's index, and when
   * a mapping goes away; before all other locks.
   */
  pthread_mutex_t index_work;
  struct mapping *_Atomic mappings[MAX_MAPPINGS + 1]; /* by id; 0 is none */
  bool ids[MAX_MAPPINGS + 1]; /* those in use: longer than they are above */
};

/* What unit tests replace to make the rare happen. */
struct mapping_hooks {
  /* A folio of this order; see reclaim_alloc. */
  struct folio *(*alloc) (struct mapping *mapping, unsigned order, bool wait);

  /* Copy in n bytes (zeroes if src is NULL); returns how many were copied. */
  size_t (*copy_in) (struct mapping *mapping, void *dst, const void *src,
                     size_t n);
};

struct mapping {
  struct cache *cache;
  struct env *env;
  struct arena *bounce; /* copies that write-back is sending */
  struct fs *fs;
  struct bell bell; /* wakes the loop thread */
  struct folios folios;
  struct mapping_config config;
  struct mapping_hooks hooks;
  uint16_t id;
  bool readonly; /* the store's: here a hit finds it without a miss */

  struct inbox inbox;   /* what is left for the loop thread, */
  struct outbox outbox; /* and what that leaves for others */
  struct zeroes zeroes; /* zeroes and trims not flushed yet */
  struct throttle throttle;
  struct fill_pool fills;
  struct writeback wb;
  struct flusher *flusher; /* the thread that runs wb */
  struct stats *stats;
};

struct conn {
  struct mapping *mapping;
  struct client client;
  struct readahead *ra;
  struct pace pace; /* of its writes */
  struct streams streams;
  _Atomic uint32_t lost_writes; /* of the outbox's, already reported */
};

/* Take a reference to the folio of `page', or make it, no larger than order
 * and inside [page's own alignment, last].  It comes back locked and in the
 * index.  cold: see reclaim_add.  GRAB_WAIT_*: what may be slept for;
 * where it may not, NULL with *err -EAGAIN (locked) or -ENOMEM.  NULL with
 * another error if memory cannot be had because the store fails, or at
 * shutdown.  With a folio *err is 0, or 1 if something was slept for.
 */
#define GRAB_WAIT_LOCK 0x1u
#define GRAB_WAIT_MEMORY 0x2u
extern struct folio *mapping_grab_folio (struct mapping *mapping, uint64_t page,
                                         uint64_t last, unsigned order,
                                         bool cold, unsigned wait, int *err);

/* The index has no node left: make some free, by eviction.  wait: also for
 * write-back, if all is dirty.  Returns 0 when there may be one, -ENOMEM without
 * wait, or why there can't be.  No locks held.
 */
extern int mapping_index_room (struct mapping *mapping, bool wait);

/* The same for all mappings whose indexes will soon have none left; see
 * reclaim_ops.
 */
extern void cache_index_work (void *cache);

/* Is [offset, offset+count) inside the disk? */
static inline bool
mapping_in_range (const struct mapping *mapping, uint64_t offset,
                  uint64_t count)
{
  return offset <= mapping->folios.size &&
         count <= mapping->folios.size - offset;
}

#endif /* FOLIO_MAPPING_H */
