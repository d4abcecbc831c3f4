/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Connections.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/request/mapping.h"
#include "cache/request/readahead.h"

int
conn_create (struct mapping *mapping, struct conn **ret)
{
  struct conn *conn = calloc (1, sizeof *conn);

  if (conn == NULL)
    return -ENOMEM;
  conn->mapping = mapping;
  conn->client.env = mapping->env;
  conn->client.shutdown = &mapping->outbox.shutdown;
  conn->ra = readahead_create (mapping_readahead (mapping));
  if (conn->ra == NULL) {
    free (conn);
    return -ENOMEM;
  }
  streams_init (&conn->streams);
  told_open (&mapping->outbox.lost, &conn->told);
  atomic_fetch_add (&mapping->throttle.nr_conns, 1);
  *ret = conn;
  return 0;
}

void
conn_destroy (struct conn *conn)
{
  atomic_fetch_sub (&conn->mapping->throttle.nr_conns, 1);
  told_close (&conn->mapping->outbox.lost, &conn->told);
  streams_destroy (&conn->streams);
  readahead_destroy (conn->ra);
  free (conn);
}

void
conn_set_gone (struct conn *conn, conn_gone_fn *fn, void *opaque)
{
  if (conn->mapping->readonly)
    return; /* nothing can be changed */
  conn->client.ask = fn;
  conn->client.opaque = opaque;
}
