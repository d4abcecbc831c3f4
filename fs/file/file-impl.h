/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of the file store, for fs/file/ only.
 */

#ifndef FOLIO_FILE_IMPL_H
#define FOLIO_FILE_IMPL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>

#include <ev.h>
#include "fs/file/file.h"
#include "fs/store-queue.h"

/* Zeroes that are written where nothing better works, bytes at once. */
#define ZEROES_SIZE ((size_t) 4 << 20)

struct file_store;

/* One call to the kernel, the next of a request.  A read or write is of n whole
 * elements, or, if n is 0, of length bytes at base.
 */
struct file_call {
  enum { CALL_READ, CALL_WRITE, CALL_ALLOCATE, CALL_SYNC } kind;
  int fd;
  int flags;               /* WRITE: RWF_*, ALLOCATE: the mode of fallocate */
  uint64_t offset, length; /* bytes; not of SYNC */
  const struct iovec *iov;
  unsigned n;
  void *base;
};

/* What came of one: bytes, 0, or a negative errno. */
struct file_result {
  struct store_req *req;
  int res;
};

/* How calls get to the kernel, and what comes of them back.  No more requests
 * have one under way than file->queue has depth.  All but start and stop need the
 * lock.
 */
struct file_engine {
  const char *name;

  /* Make file->backend.  start may reduce the queue's depth, and returns 0 or a
   * negative errno.  When stop is called nothing is under way.
   */
  int (*start) (struct file_store *file);
  void (*stop) (struct file_store *file);

  /* One more call, which stays this request's only one until it is reaped.  It
   * need not begin before the next kick.
   */
  void (*add) (struct file_store *file, struct store_req *req,
               const struct file_call *call);
  void (*kick) (struct file_store *file);

  /* Take as many results as there are, up to max.  When there is one, and none
   * was before, file->event_fd becomes readable.
   */
  unsigned (*reap) (struct file_store *file, struct file_result *results,
                    unsigned max);
  bool (*ready) (struct file_store *file); /* is there one? */
};

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

/* Where the request ends, but not past the store's end. */
static inline uint64_t
file_req_end (const struct file_store *file, const struct store_req *req)
{
  uint64_t size = file->store.geo.size;

  if (req->offset >= size)
    return req->offset;
  return req->length < size - req->offset ? req->offset + req->length : size;
}

/* Is some of the request's range cut off? */
static inline bool
file_is_cut (const struct file_store *file, const struct store_req *req)
{
  uint64_t end = atomic_load_explicit (&file->end, memory_order_relaxed);

  return end < file->store.geo.size && req->op != STORE_FLUSH &&
         file_req_end (file, req) > end;
}

/* ---- lock.c */

/* Lock sync_fd against other servers and QEMU, exclusively unless the store is
 * read-only; waits for up to a second.  Returns 0 or a negative errno with a message.
 */
extern int file_lock (const struct file_store *file,
                      const struct store_message *m);

/* ---- open.c: all return 0 or a negative errno with a message */

/* Open (or make) sync_fd and fd, lock them, fill in st and the size. */
extern int file_open (struct file_store *file,
                      const struct file_store_options *options, struct stat *st,
                      const struct store_message *m);

/* Remove the file that was created, unless another is there by now. */
extern void file_uncreate (const struct file_store *file);

/* Open the file of st again, with more flags.  Returns the descriptor. */
extern int file_reopen (const char *path, int flags, const struct stat *st);

/* ---- direct.c */

/* Open direct_fd if that works here and find out its alignment. */
extern int file_open_direct (struct file_store *file, enum direct_mode mode,
                             const struct stat *st,
                             const struct store_message *m);

/* A number from the block device's queue directory in sysfs, or def. */
extern uint64_t file_queue_attribute (dev_t dev, const char *name,
                                      uint64_t def);

/* ---- run.c */

extern int file_attach (struct store *store, struct ev_loop *loop);
extern void file_detach (struct store *store);
extern void file_submit (struct store *store, struct store_req **reqs,
                         unsigned n);

/* For engines: have the loop thread look for results.  Any thread. */
extern void file_wake_loop (const struct file_store *file);

/* ---- ring.c */

extern const struct file_engine file_ring;

/* Can it be used here?  Returns 0 or a negative errno with a message. */
extern int file_ring_probe (const struct store_message *m);

/* Why start failed, as a clause. */
extern const char *file_ring_explain (int error);

/* ---- threads.c */

extern const struct file_engine file_threads;

/* ---- request.c
 *
 * A request goes through begin once, then prepare and advance in turn, as long
 * as advance says FILE_AGAIN, or, not before FILE_PAUSE later, FILE_LATER; 0 or
 * a negative errno ends it.  The same holds for the next two, each for its
 * kinds.  Under the lock.
 */

#define FILE_AGAIN 1
#define FILE_LATER 2

#define FILE_PAUSE (10 * NSEC_PER_MSEC)

/* What fails for no reason of its own is tried again for so long. */
#define FILE_PATIENCE (10 * NSEC_PER_SEC)

extern int file_begin (struct file_store *file, struct store_req *req);
extern void file_prepare (struct file_store *file, struct store_req *req,
                          struct file_call *call);
extern int file_advance (struct file_store *file, struct store_req *req,
                         int res);

/* ---- io.c: reads and writes, one piece at a time */

/* req->state: this request is not to be tried with O_DIRECT (again). */
#define FILE_BUFFERED 0x100

/* req->state: this request failed with EFAULT once. */
#define FILE_RETRIED 0x200

extern void file_rw_prepare (struct file_store *file, struct store_req *req,
                             struct file_call *call);
extern int file_rw_advance (struct file_store *file, struct store_req *req,
                            int res);

/* The next write of zeroes from req->progress on. */
extern void file_write_zeroes_prepare (struct file_store *file,
                                       struct store_req *req,
                                       struct file_call *call);

/* ---- zero.c: zero and trim */

/* What zeroing can do here, into geo; the file is not touched. */
extern void file_zero_probe (struct file_store *file, const struct stat *st);
extern int file_zero_begin (struct file_store *file, struct store_req *req);
extern void file_zero_prepare (struct file_store *file, struct store_req *req,
                               struct file_call *call);
extern int file_zero_advance (struct file_store *file, struct store_req *req,
                              int res);

/* Is its next call the sync of STORE_FUA? */
extern bool file_zero_syncs (const struct store_req *req);

/* ---- punch.c */

/* Is the file on a file system that is known to punch holes? */
extern bool file_punches (int fd);

/* The same of a mount by its line in /proc/self/mountinfo, where the type of
 * the file system alone does not tell.
 */
extern bool file_mount_punches (const char *mount);

/* ---- cut.c: any thread */

/* The store ends here, or did. */
extern void file_note_end (struct file_store *file, uint64_t end);

/* Note where it ends now.  Does not block. */
extern void file_look (struct file_store *file);

/* ---- status.c */

/* Can SEEK_DATA and SEEK_HOLE tell anything here? */
extern bool file_status_probe (const struct file_store *file);
extern int file_block_status (struct store *store, uint64_t offset,
                              uint64_t length, store_extent_fn *fn,
                              void *opaque);

#endif /* FOLIO_FILE_IMPL_H */
