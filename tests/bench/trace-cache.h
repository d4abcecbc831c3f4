/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The replay of requests to the cache itself, from cache_read and cache_write
 * down.
 */

#ifndef FOLIO_TRACE_CACHE_H
#define FOLIO_TRACE_CACHE_H

#include <stdint.h>

#include "tests/bench/trace-load.h"

struct cache_result {
  uint64_t store_reads, store_read_bytes;
  uint64_t store_writes, store_write_bytes;
};

struct cache_options {
  uint64_t readahead; /* bytes */
  unsigned order;     /* of the largest folios */
  uint32_t flush;     /* seconds of the trace until clients flush; 0: never */
};

/* pages: the size of the cache.  Everything else is as by default. */
extern struct cache_result cache_replay (const struct trace *trace,
                                         uint32_t pages,
                                         const struct cache_options *options);

#endif /* FOLIO_TRACE_CACHE_H */
