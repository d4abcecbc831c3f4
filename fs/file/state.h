/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of the file store, for fs/file/ only.
 */

#ifndef FOLIO_FILE_STATE_H
#define FOLIO_FILE_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>

#include <ev.h>

#include "fs/file/options.h"
#include "fs/store-queue.h"

/* Zeroes that are written where nothing better works, bytes at once. */
#define ZEROES_SIZE ((size_t) 4 << 20)

struct file_store {
  struct store store;
  char *path;
  bool block_device;
  bool fixed_medium; /* a device that always has the same */
  bool created;      /* by this open, and not attached yet */

  /* The file is open up to three times.  The kernel reports a failed
   * write-back of its page cache once to each open file: were writes with
   * RWF_DSYNC done on the one that is flushed, they would use up the error that
   * a flush must report.
   */
  int sync_fd;   /* the lock, O_EXCL, FLUSH and fallocate */
  int fd;        /* all other I/O that is not direct */
  int direct_fd; /* O_DIRECT, or -1 */

  uint32_t align;      /* direct I/O: of offsets and lengths, bytes */
  uint32_t mem_align;  /* direct I/O: of memory, bytes */
  bool vouched;        /* the kernel says that what is asked to be direct is */
  uint64_t direct_end; /* direct I/O ends here at the latest */

  void *zeroes; /* ZEROES_SIZE bytes, read only */

  /* fallocate modes that turned out not to exist here. */
  _Atomic bool no_punch, no_zero_range, no_allocate;

  _Atomic uint64_t end;        /* the smallest size seen, bytes */
  _Atomic bool cut_unreported; /* it is new, or the device was out of reach: the
                                * next flush fails */

  /* Attached only. */
  struct ev_loop *loop;
  ev_io watcher;
  ev_timer retry;
  int event_fd;

  enum file_io io; /* as asked for */
  const struct file_engine *engine;
  void *backend; /* the engine's own */

  pthread_mutex_t lock; /* protects what follows, and the engine */
  struct store_queue queue;
  uint64_t flush_errors;   /* flushes that failed, ever */
  struct store_req *later; /* in flight, by req->next: when retry ends */
};

static inline struct file_store *
file_store_of (struct store *store)
{
  return (struct file_store *) store; /* its first member */
}

/* Is some of the request's range cut off? */
static inline bool
file_is_cut (const struct file_store *file, const struct store_req *req)
{
  uint64_t end = atomic_load_explicit (&file->end, memory_order_relaxed);

  return end < file->store.geo.size && req->op != STORE_FLUSH &&
         store_req_end (&file->store, req) > end;
}

/* For engines: have the loop thread look for results.  Any thread. */
static inline void
file_wake_loop (const struct file_store *file)
{
  ssize_t n = eventfd_write (file->event_fd, 1);

  (void) n; /* fails only when the counter is full: it is awake then */
}

#endif /* FOLIO_FILE_STATE_H */
