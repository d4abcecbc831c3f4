/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Long sequential streams of a connection, which may bypass the cache.  Readahead has
 * others: it sees what misses alone, and takes what is near for the same stream.
 * Here all requests count, and each byte.
 */

#ifndef FOLIO_STREAM_H
#define FOLIO_STREAM_H

#include <pthread.h>
#include <stdint.h>

#define NR_STREAMS 8

struct streams {
  pthread_mutex_t lock; /* a leaf */
  struct {
    uint64_t next;   /* byte where it would go on */
    uint64_t length; /* bytes so far */
    uint64_t used;   /* when, by clock */
  } stream[NR_STREAMS];
  uint64_t clock; /* requests seen */
};

extern void streams_init (struct streams *streams);
extern void streams_destroy (struct streams *streams);

/* A request for [offset, offset+count) bytes: how long is the stream that it
 * belongs to, in bytes, this request included?
 */
extern uint64_t streams_note (struct streams *streams, uint64_t offset,
                              uint64_t count);

#endif /* FOLIO_STREAM_H */
