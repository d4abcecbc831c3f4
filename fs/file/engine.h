/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: calls to the kernel, and what makes them.
 */

#ifndef FOLIO_FILE_ENGINE_H
#define FOLIO_FILE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fs/store.h"

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

/* A request (request.h) goes through begin once, then prepare and advance in turn, as long
 * as advance says FILE_AGAIN, or, not before FILE_PAUSE later, FILE_LATER; 0 or
 * a negative errno ends it.  The same holds in io.h and zero.h for
 * their kinds.  Under the lock.
 */

#define FILE_AGAIN 1
#define FILE_LATER 2

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

#endif /* FOLIO_FILE_ENGINE_H */
