/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The replay to the cache itself, see trace-cache.h: as the plugin sets it up,
 * with its threads, over a store that counts.
 */

#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "fs/raw/raw.h"
#include "tests/bench/counting-store.h"
#include "tests/bench/trace-cache.h"

static void
check (int r, const char *what)
{
  if (r == 0)
    return;
  fprintf (stderr, "trace-replay: %s: %s\n", what, strerror (-r));
  exit (EXIT_FAILURE);
}

static void
send_all (struct conn *conn, const struct trace *trace, uint32_t interval)
{
  uint32_t flushed = trace->reqs[0].time;
  void *buf = trace_check (calloc (trace->largest, 1u << TRACE_SECTOR_SHIFT));

  for (size_t i = 0; i < trace->nr; ++i) {
    const struct trace_req *req = &trace->reqs[i];
    uint32_t count = req->sectors << TRACE_SECTOR_SHIFT;
    uint64_t offset = req->sector << TRACE_SECTOR_SHIFT;

    check (req->is_read ? cache_read (conn, buf, count, offset)
                        : cache_write (conn, buf, count, offset, 0),
           "request");
    if (interval && req->time - flushed >= interval) {
      check (cache_flush (conn), "flush");
      flushed = req->time;
    }
  }
  free (buf);
}

struct cache_result
cache_replay (const struct trace *trace, uint32_t pages,
              const struct cache_options *options)
{
  uint64_t bytes = (uint64_t) pages << TRACE_PAGE_SHIFT;
  const struct mapping_config config = {
    .mode = CACHE_WRITEBACK,
    .folio_max_order = options->order,
    .dirty_limit = bytes * 40 / 100,
    .dirty_background = bytes * 10 / 100,
    .flush_target = 10 * NSEC_PER_SEC,
    .dirty_expire = 30 * NSEC_PER_SEC,
    .writeback_interval = 5 * NSEC_PER_SEC,
    .readahead = options->readahead,
    .io_depth = 32,
  };
  struct counting_store counting;
  struct cache_result result;
  struct mapping *mapping;
  struct cache *cache;
  struct conn *conn;
  struct env env;
  struct fs *fs;

  env_init (&env);
  counting_store_init (&counting, &env, trace->sectors << TRACE_SECTOR_SHIFT);
  check (raw_open (&counting.store, &fs), "raw_open");
  check (cache_create (&env, bytes, &cache), "cache_create");
  check (cache_start (cache), "cache_start");
  check (mapping_create (cache, fs, &config, &mapping), "mapping_create");
  check (mapping_start (mapping), "mapping_start");
  check (conn_create (mapping, &conn), "conn_create");

  send_all (conn, trace, options->flush);
  result.store_reads = atomic_load (&counting.requests[STORE_READ]);
  result.store_read_bytes = atomic_load (&counting.bytes[STORE_READ]);
  check (cache_flush (conn), "flush");
  result.store_writes = atomic_load (&counting.requests[STORE_WRITE]);
  result.store_write_bytes = atomic_load (&counting.bytes[STORE_WRITE]);

  conn_destroy (conn);
  mapping_destroy (mapping);
  cache_destroy (cache);
  fs->ops->close (fs);
  return result;
}
