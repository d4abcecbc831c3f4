/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes and trims that the store has done but not flushed yet.  If the flush
 * fails they must be done again, like unstable data.  Whatever was written over
 * one since is either in the cache, not durable, and will be written again
 * after it; or durable, and then so is the zero.  (Direct writes, of which the
 * cache has nothing, flush it first.)
 */

#ifndef FOLIO_ZEROES_H
#define FOLIO_ZEROES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mapping;

#define MAX_ZEROES 64

struct zero_op {
  uint64_t offset, length; /* bytes */
  unsigned flags;          /* of store_req */
  bool trim;
  bool flushing; /* it was done before the flush now in flight */
};

struct zeroes {
  pthread_mutex_t lock;      /* protects op, n; a leaf */
  pthread_mutex_t redo_lock; /* held by who does them again; taken before any
                              * range */
  struct zero_op op[MAX_ZEROES];
  unsigned n;
  _Atomic bool redo; /* a flush has failed: do all of them again */
};

extern void zeroes_init (struct zeroes *zeroes);
extern void zeroes_destroy (struct zeroes *zeroes);

/* Remember one that the store has done.  False if there is no room before the
 * next flush.
 */
extern bool zeroes_add (struct zeroes *zeroes, const struct zero_op *op);

/* A store flush begins; it has ended (loop thread). */
extern void zeroes_flush_begin (struct zeroes *zeroes);
extern void zeroes_flush_end (struct zeroes *zeroes, int error);

/* Is a zero or trim that overlaps [offset, offset+length) not flushed yet? */
extern bool zeroes_overlap (struct zeroes *zeroes, uint64_t offset,
                            uint64_t length);

/* After a failed flush: do them again.  Waits; not on the loop thread, with no
 * lock held.  Returns 0, also when there is nothing to do, or the error.
 */
extern int zeroes_redo (struct mapping *mapping);

#endif /* FOLIO_ZEROES_H */
