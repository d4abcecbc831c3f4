/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * I/O on the store, counted.
 */

#include "cache/base/store-io.h"

void
store_io_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  uint64_t now = store->env->now (store->env);
  unsigned i;

  for (i = 0; i < n; i++)
    reqs[i]->submitted = now;
  store->ops->submit (store, reqs, n);
}

void
store_io_done (struct stats *stats, struct env *env,
               const struct store_req *req, int error)
{
  uint64_t ns = env->now (env) - req->submitted;

  switch (req->op) {
  case STORE_READ:
    stats_add (stats, STAT_STORE_READS, 1);
    stats_add (stats, STAT_STORE_READ_BYTES, req->length);
    stats_add (stats, STAT_STORE_READ_ERRORS, error != 0);
    stats_note (stats, HIST_STORE_READ, ns);
    break;
  case STORE_WRITE:
    stats_add (stats, STAT_STORE_WRITES, 1);
    stats_add (stats, STAT_STORE_WRITE_BYTES, req->length);
    stats_add (stats, STAT_STORE_WRITE_ERRORS, error != 0);
    stats_note (stats, HIST_STORE_WRITE, ns);
    break;
  case STORE_FLUSH:
    stats_add (stats, STAT_STORE_FLUSHES, 1);
    stats_add (stats, STAT_STORE_FLUSH_ERRORS, error != 0);
    stats_note (stats, HIST_STORE_FLUSH, ns);
    break;
  case STORE_ZERO:
  case STORE_TRIM: break;
  }
}

int
store_io_wait (struct stats *stats, struct store *store, enum store_op op,
               unsigned flags, uint64_t addr, void *buf, uint64_t length)
{
  struct iovec iov = { .iov_base = buf, .iov_len = length };
  struct store_req req = {
    .op = op,
    .flags = flags,
    .offset = addr,
    .length = length,
    .iov = &iov,
    .niov = 1,
    .submitted = store->env->now (store->env),
  };
  int r = store_submit_wait (store, &req);

  store_io_done (stats, store->env, &req, r);
  return r;
}
