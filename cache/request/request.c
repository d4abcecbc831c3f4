/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests: which path, cached or direct, a read or write takes, and what is
 * done before it is acknowledged.  (Zero and trim are in zero.c.)
 */

#include <errno.h>

#include "cache/request/direct.h"
#include "cache/request/mapping.h"
#include "cache/request/read.h"
#include "cache/request/write.h"
#include "cache/writeback/sync-list.h"

/* It has waited, and what the client sent meanwhile is still to be done by whoever
 * is free first: so whether it is gone is asked here too.
 */
static int
do_read (struct conn *conn, void *buf, uint32_t count, uint64_t offset)
{
  struct stats *stats = conn->mapping->stats;
  int r;

  if (!mapping_in_range (conn->mapping, offset, count))
    return -EINVAL;
  if (direct_wanted (conn, offset, count)) {
    stats_add (stats, STAT_DIRECT_READS, 1);
    stats_add (stats, STAT_DIRECT_READ_BYTES, count);
    r = direct_read (conn, buf, count, offset);
    client_ask (&conn->client);
    return r;
  }
  r = read_buffered (conn, buf, count, offset);
  if (r != 0) {
    stats_add (stats, STAT_MISSES, 1);
    client_ask (&conn->client);
  }
  return r < 0 ? r : 0;
}

/* Write past the cache, and then have it flushed: *again, if the store has lost
 * something before it was.
 */
static int
write_and_flush (struct conn *conn, const void *buf, uint32_t count,
                 uint64_t offset, bool *again)
{
  struct mapping *mapping = conn->mapping;
  struct store *store = mapping->fs->store;
  uint32_t losses = store_losses (store);
  uint32_t lost = lost_count (&mapping->outbox);
  int r = direct_write (conn, buf, count, offset, false);

  if (r == 0)
    r = write_sync_durable (mapping, offset, offset + count, SYNC_FLUSH);
  *again = r == 0 && store_losses (store) != losses;
  /* A flush that failed meanwhile may have lost it. */
  return r == 0 && lost_count (&mapping->outbox) != lost ? -EIO : r;
}

/* What others were told of before it was over it has to do again: nobody would know
 * that it was not over then.  Where data moves its place is not durable by FUA.
 */
static int
write_direct (struct conn *conn, const void *buf, uint32_t count,
              uint64_t offset, unsigned flags)
{
  struct mapping *mapping = conn->mapping;
  bool fua = flags & CACHE_FUA, by_store, again;
  uint32_t lost;
  int r;

  stats_add (mapping->stats, STAT_DIRECT_WRITES, 1);
  stats_add (mapping->stats, STAT_DIRECT_WRITE_BYTES, count);
  do {
    by_store = fua && sync_has_fua (&mapping->wb) && !mapping->fs->moves;
    lost = lost_count (&mapping->outbox);
    if (fua && !by_store)
      r = write_and_flush (conn, buf, count, offset, &again);
    else {
      r = direct_write (conn, buf, count, offset, by_store);
      again = (by_store && inbox_lost_fua (&mapping->inbox, r)) ||
              (r == 0 && lost_count (&mapping->outbox) != lost);
    }
  } while (again);
  if (r == 0 && !fua)
    atomic_store (&conn->told.wrote, true);
  return r;
}

int
cache_read (struct conn *conn, void *buf, uint32_t count, uint64_t offset)
{
  int r = do_read (conn, buf, count, offset);

  stats_request (conn->mapping->stats, STAT_READS, count, r);
  return r;
}

static int
do_write (struct conn *conn, const void *buf, uint32_t count, uint64_t offset,
          unsigned flags)
{
  struct mapping *mapping = conn->mapping;
  struct origin origin = { .client = &conn->client,
                           .pace = flags & CACHE_FUA ? NULL : &conn->pace };
  uint32_t lost = lost_count (&mapping->outbox);
  int r;

  if (!mapping_in_range (mapping, offset, count))
    return -EINVAL;
  r = write_allowed (mapping);
  if (r < 0 || count == 0)
    return r;
  if (direct_wanted (conn, offset, count))
    return write_direct (conn, buf, count, offset, flags);
  r = write_buffered (mapping, &origin, buf, count, offset);
  return r < 0 ? r : write_sync (mapping, lost, offset, count, flags, SYNC_FUA);
}

int
cache_write (struct conn *conn, const void *buf, uint32_t count,
             uint64_t offset, unsigned flags)
{
  struct stats *stats = conn->mapping->stats;
  int r = do_write (conn, buf, count, offset, flags);

  stats_request (stats, STAT_WRITES, count, r);
  if (flags & CACHE_FUA)
    stats_add (stats, STAT_FUA, 1);
  return r;
}

static int
do_flush (struct conn *conn)
{
  struct mapping *mapping = conn->mapping;
  struct lost *lost = &mapping->outbox.lost;
  struct told_flush flush;
  int r;

  told_begin (lost, &conn->told, &flush);
  r = write_sync_durable (mapping, 0, UINT64_MAX, SYNC_FLUSH);
  if (!told_end (lost, &conn->told, &flush, r))
    return r;
  /* Before it is told, so that what it reads then stays. */
  folios_forget_clean (&mapping->folios);
  told_fail (lost, &conn->told);
  return r ? r : -EIO;
}

int
cache_flush (struct conn *conn)
{
  struct mapping *mapping = conn->mapping;
  struct env *env = mapping->env;
  uint64_t begun = env->now (env);
  int r = do_flush (conn);

  client_ask (&conn->client); /* as after a read */
  stats_add (mapping->stats, STAT_FLUSHES, 1);
  if (r < 0)
    stats_add (mapping->stats, STAT_FAILED, 1);
  stats_note (mapping->stats, HIST_FLUSH, env->now (env) - begun);
  return r;
}
