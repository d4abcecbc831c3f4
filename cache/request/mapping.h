/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The insides of a cache, a mapping and a connection, for requests and for the life
 * of these three.  What others use is in cache.h.
 */

#ifndef FOLIO_MAPPING_H
#define FOLIO_MAPPING_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/arena.h"
#include "fs/num.h"
#include "cache/base/origin.h"
#include "cache/base/stats.h"
#include "cache/cache.h"
#include "cache/folio/folio.h"
#include "cache/folio/range-ops.h"
#include "cache/folio/ranges.h"
#include "cache/folio/reclaim.h"
#include "cache/index/index.h"
#include "cache/pace/balance.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "cache/post/outbox.h"
#include "cache/request/stream.h"
#include "cache/writeback/writeback.h"

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

/* What of the configuration requests look at, and may change. */
struct mapping_settings {
  _Atomic uint64_t readahead;         /* bytes, largest window; 0: off */
  _Atomic uint64_t sequential_cutoff; /* bytes; longer streams bypass; 0: off */
  _Atomic uint64_t flush_target;      /* ns; 0: off */
};

struct mapping {
  struct cache *cache;
  struct env *env;
  struct arena *bounce; /* copies that write-back is sending */
  struct fs *fs;
  struct bell bell; /* wakes the loop thread */
  struct folios folios;
  struct mapping_config config; /* as it was made */
  struct mapping_settings settings;
  struct mapping_hooks hooks;
  uint16_t id;
  bool readonly; /* the fs's: here a hit finds it without a miss */

  struct inbox inbox;   /* what is left for the loop thread, */
  struct outbox outbox; /* and what that leaves for others */
  struct throttle throttle;
  struct fill_pool *fills;
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
  struct told told; /* of what is lost */
};

/* Is [offset, offset+count) inside the disk? */
static inline bool
mapping_in_range (const struct mapping *mapping, uint64_t offset,
                  uint64_t count)
{
  return offset <= mapping->folios.size &&
         count <= mapping->folios.size - offset;
}

/* The largest readahead window now, in pages. */
static inline uint64_t
mapping_readahead (const struct mapping *mapping)
{
  if (mapping->config.mode == CACHE_NONE)
    return 0;
  /* Relaxed: a number, from which nothing else is concluded. */
  return atomic_load_explicit (&mapping->settings.readahead,
                               memory_order_relaxed) >>
         PAGE_SHIFT;
}

#endif /* FOLIO_MAPPING_H */
