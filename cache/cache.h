/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The page cache, as those above use it.
 *
 *   cache     folio memory, eviction: one for a process, shared by disks
 *   mapping   one disk: its folios, its write-back, over an fs and its store
 *   conn      what the cache remembers of one client connection
 *
 * All functions here return 0 or a negative errno unless they say otherwise,
 * may be called from any thread but a mapping's loop thread, side by side, and
 * take byte offsets and lengths.  Ranges must lie inside the disk (else
 * -EINVAL).
 */

#ifndef FOLIO_CACHE_H
#define FOLIO_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/env.h"
#include "fs/iomap.h"

struct cache;
struct mapping;
struct conn;

/* --- the cache --- */

/* The largest order of folios, at most `order', that a cache of so many bytes
 * has: no folio should be much of it.
 */
extern unsigned cache_fit_order (uint64_t bytes, unsigned order);

/* Make a cache of `bytes' of folio memory (at least CACHE_SIZE_MIN), with
 * bookkeeping of at most 4 % of that and 16 MiB besides.  env outlives
 * it.  No thread is made.
 */
#define CACHE_SIZE_MIN (UINT64_C (1) << 20)
extern int cache_create (struct env *env, uint64_t bytes, struct cache **cache);

/* Start the background reclaimer's thread (after any fork). */
extern int cache_start (struct cache *cache);

/* Stop it and free all; no mappings are left. */
extern void cache_destroy (struct cache *cache);

/* --- mappings --- */

enum cache_mode {
  CACHE_WRITEBACK,    /* writes are acknowledged from memory */
  CACHE_WRITETHROUGH, /* writes are acknowledged when the store has them */
  CACHE_NONE,         /* reads and writes go straight to the store */
};

struct mapping_config {
  enum cache_mode mode;
  unsigned folio_max_order;    /* 0 to 9 */
  uint64_t dirty_limit;        /* bytes that may wait for the store */
  uint64_t dirty_background;   /* bytes above which write-back begins */
  uint64_t flush_target;       /* ns that a flush should take at most; 0: any */
  uint64_t dirty_expire;       /* ns after which dirty data is written back */
  uint64_t writeback_interval; /* ns between periodic passes */
  uint64_t readahead;          /* bytes, largest window; 0: off */
  uint64_t sequential_cutoff;  /* bytes; longer streams bypass; 0: off */
  unsigned io_depth;           /* store writes in flight at most */
};

/* Make the mapping of fs, whose store is open but not attached.  Both outlive
 * it.  No thread is made.
 */
extern int mapping_create (struct cache *cache, struct fs *fs,
                           const struct mapping_config *config,
                           struct mapping **mapping);

/* Start the loop thread, attach the store: from here on requests are taken. */
extern int mapping_start (struct mapping *mapping);

/* Have another configuration in force, while requests go on: all of it but mode and
 * folio_max_order, which stay; io_depth at most what it was when the mapping was made.
 */
extern void mapping_configure (struct mapping *mapping,
                               const struct mapping_config *config);

/* Have write-back pause: nothing of what is in memory is sent to the store, nor is
 * that flushed, and who waits for that waits on; requests past the cache go on.  Or have
 * it go on.  mapping_shutdown ends a pause.
 */
extern void mapping_pause (struct mapping *mapping, bool paused);
extern bool mapping_is_paused (const struct mapping *mapping);

/* Drop from memory what is clean and not in use, so that it is read from the store
 * again.  Returns how many bytes that were, about.
 */
extern uint64_t mapping_drop_clean (struct mapping *mapping);

/* How far a sync has come. */
struct sync_progress {
  uint64_t done_bytes, total_bytes; /* total: what was dirty at the start */
  uint64_t elapsed;                 /* ns */
};
typedef void sync_progress_fn (void *opaque, const struct sync_progress *p);

/* Write back everything and flush, reporting once a second through fn (may be
 * NULL).  As cache_flush but for the reports.
 */
extern int mapping_sync (struct mapping *mapping, sync_progress_fn *fn,
                         void *opaque);

/* Begin to write back and flush everything in the background, as when the last
 * client leaves.
 */
extern void mapping_kick (struct mapping *mapping);

/* From now on new writes fail with -ESHUTDOWN and long ones end early; reads,
 * flushes and mapping_sync go on.
 */
extern void mapping_shutdown (struct mapping *mapping);

/* Has that begun?  Then, and only then, -ESHUTDOWN may be our own. */
extern bool mapping_is_shutdown (const struct mapping *mapping);

/* Is something lost that was written past the cache, and of those who may have
 * written it one has not been told, or nobody?
 */
extern bool mapping_lost_untold (struct mapping *mapping);

/* Call fn for each range of bytes that is not safely on the store (dirty, in
 * writeback or unstable), in order; then for zeroes and trims that are not.
 */
typedef void mapping_range_fn (void *opaque, uint64_t offset, uint64_t length);
extern void mapping_unsaved (struct mapping *mapping, mapping_range_fn *fn,
                             void *opaque);

/* How much there is to do until all is safely on the store: a number that falls
 * with each page that is written, and again when it is flushed.
 */
extern uint64_t mapping_work_left (struct mapping *mapping);

/* Stop the loop thread, detach the store, free.  What is dirty is lost: call
 * mapping_sync first.  No requests are running or will come.
 */
extern void mapping_destroy (struct mapping *mapping);

/* --- connections --- */

extern int conn_create (struct mapping *mapping, struct conn **conn);
extern void conn_destroy (struct conn *conn);

/* Is the connection's client gone?  Called on the thread of one of its requests, by
 * several at once, perhaps with a folio locked: does not wait.
 */
typedef bool conn_gone_fn (void *opaque);

/* Have fn asked, before the first request.  As soon as it has said yes nothing
 * is changed for this client any more: what has not begun fails with
 * -ECONNABORTED.
 */
extern void conn_set_gone (struct conn *conn, conn_gone_fn *fn, void *opaque);

/* --- requests --- */

#define CACHE_FUA 0x1u       /* durable before it returns */
#define CACHE_MAY_TRIM 0x2u  /* zero: space may be given back */
#define CACHE_FAST_ZERO 0x4u /* zero: -ENOTSUP rather than slow */

/* Errors: -EINVAL, -EIO and others from the store. */
extern int cache_read (struct conn *conn, void *buf, uint32_t count,
                       uint64_t offset);

/* Errors: -EINVAL, -EROFS, -ENOSPC, -ESHUTDOWN, -ECONNABORTED (see
 * conn_set_gone); with CACHE_FUA, or when not in writeback mode, also those of
 * the store.
 */
extern int cache_write (struct conn *conn, const void *buf, uint32_t count,
                        uint64_t offset, unsigned flags);

/* All writes acknowledged before the call are durable when it returns 0. */
extern int cache_flush (struct conn *conn);

/* The range reads as zero when it returns 0. */
extern int cache_zero (struct conn *conn, uint64_t count, uint64_t offset,
                       unsigned flags);

/* As zero, giving back the space where the store can. */
extern int cache_trim (struct conn *conn, uint64_t count, uint64_t offset,
                       unsigned flags);

/* Bring the range into memory. */
extern int cache_prefetch (struct conn *conn, uint64_t count, uint64_t offset);

/* Report extents of the range in order, from offset on, without gaps, until
 * the end or until fn returns false.  Adjacent reports may be of one type.
 * hole: no data stands there; zero: it reads as zero.
 */
typedef bool cache_extent_fn (void *opaque, uint64_t offset, uint64_t length,
                              bool hole, bool zero);
extern int cache_extents (struct conn *conn, uint64_t count, uint64_t offset,
                          cache_extent_fn *fn, void *opaque);

#endif /* FOLIO_CACHE_H */
