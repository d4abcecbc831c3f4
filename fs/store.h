/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores: what holds the bytes.  A driver fills in a struct store_ops; the
 * layers above hand it requests and are called back when each is done.
 */

#ifndef FOLIO_STORE_H
#define FOLIO_STORE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fs/env.h"

struct ev_loop;
struct store;

enum store_op {
  STORE_READ,  /* into iov; what lies past the store's end reads as zero */
  STORE_WRITE, /* from iov; what lies past the store's end is dropped */
  STORE_ZERO,  /* the range reads as zero afterwards */
  STORE_TRIM,  /* the range reads as zero afterwards, space given back */
  STORE_FLUSH, /* all writes, zeroes and trims completed before are durable */
};

/* Flags of a request. */
#define STORE_FUA 0x1u        /* WRITE: durable when done */
#define STORE_BACKGROUND 0x2u /* READ, WRITE: nobody waits for it */
#define STORE_AWAITED                                                          \
  0x4u /* READ, WRITE: the thread that submits it, alone,
                               * has nothing else to do until it is done */
#define STORE_FAST_ZERO                                                        \
  0x8u /* ZERO, TRIM: -ENOTSUP if it would take as long as writing zeroes */
#define STORE_RENEWS                                                           \
  0x10u /* READ, WRITE: the lease hangs on it, so it never waits for that: a
                               * write that may not go fails when ops->resume is called */

/* One request.  The caller owns it, the iov and the memory, and keeps all
 * three until done is called, which happens exactly once for each request.
 */
struct store_req {
  enum store_op op;
  unsigned flags;
  uint64_t offset; /* bytes; a multiple of the store's min_io for READ, WRITE */
  uint64_t length; /* bytes; multiple of min_io, or up to the store's end */
  struct iovec *iov; /* sums up to length; READ and WRITE only */
  int niov;

  /* Called with 0 or a negative errno when the request is done, from the
   * store's loop thread, or from within submit on the submitting thread.  A
   * read or write is complete or failed: short ones were continued by the
   * driver.  The request may be freed or used again from inside.
   *
   * -EHOSTDOWN, or -ESHUTDOWN if the server said so, mean that the store is out
   * of reach as a whole, and nothing of the request's range; `changed' is
   * called when it is back.
   *
   * -EOPNOTSUPP of a WRITE with STORE_FUA means that it may have been written, but
   * is to be written again without and flushed, as all others from now on.
   */
  void (*done) (struct store_req *req, int error);

  uint64_t submitted; /* the caller's own: ns, when it was */

  /* The driver's own while the request is with it. */
  struct store_req *next;
  uint64_t progress; /* bytes done so far */
  uint64_t failing;  /* ns, since when it has made none; 0: it has */
  int error;         /* of one that is done, until done is called */
  uint8_t phase;     /* of its work: a table of the driver's has them */
  uint8_t tried;     /* bits of the driver's: what is not to be tried again */
  uint8_t losses;    /* of a connection, with it in flight */
  uint8_t late;      /* how much it is to blame for these */
};

/* What a store is and can do; fixed while it is open. */
struct store_geometry {
  uint64_t size;    /* bytes; need not be a multiple of anything */
  uint32_t min_io;  /* smallest unit of reads and writes, bytes: a power of
                     * two from 512 to 4096.  (The tail of a store whose
                     * size is no multiple is served up to its end.) */
  uint32_t best_io; /* preferred size of a large request, bytes */
  uint32_t max_io;  /* largest read or write request, bytes */
  bool readonly;
  bool rotational;
  bool exclusive;   /* nobody else on this machine who asks can open it to
                     * write; */
  bool shared;      /* but others on another can, for all that is known */
  bool can_fua;     /* WRITE with STORE_FUA is cheaper than a flush of its own,
                     * and fails for nothing but its own bytes */
  bool can_zero;    /* STORE_ZERO is more than writing zeroes; */
  bool doubt_zero;  /* but may not be, which STORE_FAST_ZERO finds out */
  bool can_trim;    /* STORE_TRIM gives back space */
  bool can_extents; /* block_status knows more than "all is data" */
};

/* What block_status reports of one run of bytes. */
enum store_extent { STORE_HOLE, STORE_UNWRITTEN, STORE_DATA };

typedef void store_extent_fn (void *opaque, uint64_t offset, uint64_t length,
                              enum store_extent type);

struct store_ops {
  const char *name;

  /* Read n bytes at offset, before attach: of a disk that says what it is, say.  What lies
   * past the store's end reads as zero.  Blocks.  Returns 0 or a negative errno.  NULL:
   * the store can be asked before it is attached.
   */
  int (*peek) (struct store *store, uint64_t offset, void *buf, size_t n);

  /* Begin I/O: to be called once, after any fork.  The driver adds its own
   * watchers to loop, whose thread then calls requests' done.  Returns 0 or a
   * negative errno, with the reason logged.
   */
  int (*attach) (struct store *store, struct ev_loop *loop);

  /* Remove the watchers.  The loop is not running any more, nothing is in
   * flight.
   */
  void (*detach) (struct store *store);

  /* Start n requests, as one batch.  Any thread.  Never blocks on I/O, but for one
   * that is STORE_AWAITED, never fails: what goes wrong arrives in done.
   */
  void (*submit) (struct store *store, struct store_req **reqs, unsigned n);

  /* What is held for the lease (below) may go on now, if it has been renewed; or, with a
   * negative errno, fails with that, but for reads.  Any thread, no lock held.  NULL:
   * nothing is ever held.
   */
  void (*resume) (struct store *store, int error);

  /* Report what is known of [offset, offset+length), in order and without
   * gaps from offset on; may stop early, after at least one run.  Blocks; any
   * thread but the loop's.  Returns 0 or a negative errno.
   */
  int (*block_status) (struct store *store, uint64_t offset, uint64_t length,
                       store_extent_fn *fn, void *opaque);

  /* Close and free.  Not attached (any more). */
  void (*close) (struct store *store);
};

/* The right to change a store that others may come to have too.  It ends by itself, for
 * who was stopped or cut off may have lost it without knowing, and the time is all that
 * tells.  The driver looks at it as late as it can, before each time that it sends a
 * request or a part of one.  When it has ended, changes and flushes are held, and what
 * comes behind them, and who has it is asked to renew it and to call ops->resume.
 */
struct store_lease {
  _Atomic uint64_t until; /* ns of env_boottime; 0: it does not end */
  void (*ask) (
    void *opaque); /* any thread, any lock held; set before until is */
  void *opaque;
};

struct store {
  const struct store_ops *ops;
  struct store_geometry geo;
  struct env *env;
  struct store_lease lease;

  /* How often whatever was not flushed may have been lost without an error (a
   * remote server was restarted, say).  Changed by the driver, on the loop
   * thread, before any request is completed that began after the loss.
   * Requests in flight meanwhile are done once more by the driver, but for a
   * FLUSH, which fails with -ECONNRESET, after losses has changed: it would
   * prove nothing of what was written before.  So a write is durable only after
   * a flush that was submitted after the write was done, succeeded, and saw
   * losses unchanged since the write was submitted.
   */
  _Atomic uint32_t losses;

  /* Out of reach now, as far as the driver knows, which tries to reach it again.
   * For who looks on: nothing is concluded from it.
   */
  _Atomic bool away;

  /* How often a flush has failed otherwise, which may have undone all that was not
   * flushed, whoever had written it and whoever flushed.  Counted in done of the
   * flush, by who has submitted it, where others than the cache write to the store.
   */
  _Atomic uint32_t failed_flushes;

  /* Called on the loop thread when losses has changed, and when a store that
   * had been failing requests because it was out of reach is back.  Set before
   * attach by whoever uses the store, or NULL.
   */
  void (*changed) (void *opaque);
  void *opaque;
};

/* The store's losses so far.  Any thread. */
static inline uint32_t
store_losses (const struct store *store)
{
  return atomic_load (&store->losses);
}

/* How often the store may have undone what was not flushed.  Any thread. */
static inline uint32_t
store_undone (const struct store *store)
{
  /* Both only grow, so the sum is the same only if both are. */
  return atomic_load (&store->losses) + atomic_load (&store->failed_flushes);
}

/* Such a request has ended with that: count it if it is a flush that failed, and not
 * by a loss, which is counted already.
 */
static inline void
store_note_flush (struct store *store, enum store_op op, int error)
{
  if (op == STORE_FLUSH && error && error != -ECONNRESET)
    atomic_fetch_add (&store->failed_flushes, 1);
}

/* May the store be changed now?  Any thread. */
static inline bool
store_may_change (const struct store *store)
{
  uint64_t until = atomic_load (&store->lease.until);

  return until == 0 || env_boottime (store->env) < until;
}

/* Where the request ends, but not past the store's end. */
static inline uint64_t
store_req_end (const struct store *store, const struct store_req *req)
{
  uint64_t size = store->geo.size;

  if (req->offset >= size)
    return req->offset;
  return req->length < size - req->offset ? req->offset + req->length : size;
}

/* The element of the request's memory in which its byte req->progress is, and in *skip
 * where in there; the end if there is none left.
 */
static inline const struct iovec *
store_req_iov (const struct store_req *req, uint64_t *skip)
{
  const struct iovec *iov = req->iov, *end = iov + req->niov;

  for (*skip = req->progress; iov < end && *skip >= iov->iov_len; iov++)
    *skip -= iov->iov_len;
  return iov;
}

/* A READ is done but for what lies past the store's end: its memory behind the
 * first req->progress bytes becomes zero.
 */
extern void store_req_clear_rest (const struct store_req *req);

/* Memory that reads as zero and takes none before it is written to; protection is
 * mmap's.  NULL: there is none.
 */
extern void *store_map (size_t size, int protection);

/* Submit one request and wait until it is done.  Not on the loop thread.
 * req->done is overwritten.  Returns 0 or the request's negative errno.
 */
extern int store_submit_wait (struct store *store, struct store_req *req);

/* Where a driver that does not open says why, for who started it. */
struct store_message {
  char *text;
  size_t size; /* bytes of text */
};

/* Write a message of one line, whatever the names and answers in it hold.
 * Returns error.
 */
extern int store_refuse (const struct store_message *m, int error,
                         const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4)));

#endif /* FOLIO_STORE_H */
