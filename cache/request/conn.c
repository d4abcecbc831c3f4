/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Connections, and whether their clients are still there.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/mapping.h"

int
conn_create (struct mapping *mapping, struct conn **ret)
{
  struct conn *conn = calloc (1, sizeof *conn);

  if (conn == NULL)
    return -ENOMEM;
  conn->mapping = mapping;
  atomic_init (&conn->lost_writes, atomic_load (&mapping->lost_writes));
  conn->ra = readahead_create (mapping->config.mode == CACHE_NONE
                                 ? 0
                                 : mapping->config.readahead >> PAGE_SHIFT);
  if (conn->ra == NULL) {
    free (conn);
    return -ENOMEM;
  }
  streams_init (&conn->streams);
  atomic_fetch_add (&mapping->nr_conns, 1);
  *ret = conn;
  return 0;
}

void
conn_destroy (struct conn *conn)
{
  atomic_fetch_sub (&conn->mapping->nr_conns, 1);
  streams_destroy (&conn->streams);
  readahead_destroy (conn->ra);
  free (conn);
}

void
conn_set_gone (struct conn *conn, conn_gone_fn *fn, void *opaque)
{
  conn->ask_gone = fn;
  conn->ask_opaque = opaque;
}

bool
conn_ask_gone (struct conn *conn)
{
  if (atomic_load_explicit (&conn->gone, memory_order_relaxed))
    return true;
  if (conn->ask_gone == NULL || conn->mapping->readonly ||
      atomic_load (&conn->mapping->shutdown) ||
      !conn->ask_gone (conn->ask_opaque))
    return false;
  atomic_store (&conn->gone, true);
  return true;
}

/* --- one request --- */

bool
origin_ask (struct origin *origin)
{
  origin->waited = false;
  return conn_ask_gone (origin->conn);
}

void
origin_look (struct origin *origin)
{
  struct env *env = origin->conn->mapping->env;
  uint64_t now = env->now (env);

  if (origin->looked != 0 && now - origin->looked < ORIGIN_PATIENCE)
    now = origin->looked;
  else if (origin->looked != 0)
    origin->waited = true;
  origin->looked = now;
  origin->done = 0;
}
