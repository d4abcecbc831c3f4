/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: an export of a remote NBD server, by libnbd, over several
 * connections.
 *
 * All connections together are a session.  When one is lost the whole session
 * is: whatever the server has not flushed may be gone, and an answer that still
 * lies in another connection's socket may be that of a server which no longer
 * exists.  So no session ever mixes answers of two lives of the server.  Then
 * the store counts a loss (store->losses), makes a new session, with backoff,
 * and sends again what had not been answered.
 *
 *            all connections made            one lost, or silent
 *   DOWN  ------------------------->   UP  ----------------------> DOWN
 *
 * Requests wait while the store is down; once the server has not answered
 * anything for `retry' they fail with -EHOSTDOWN (or -ESHUTDOWN, if that was
 * its last answer), and new ones fail at once, until it is back.  While it may
 * have much to do, with a flush or zeroes, it has eight times as long.
 * A request that is not answered while others are is sent again, in a new
 * session, and fails with -EIO if it fares no better there.
 *
 * While the store's lease has ended nothing is sent that would change it, be it for the
 * first time or again.  What was sent and not answered can't be taken back; what libnbd
 * has not sent yet, when we have been stopped meanwhile, is, with its session.
 *
 * The old connections of a lost session are shut down for writing, so that
 * their server comes to an end of what it was sent, and read until it has
 * closed them too (or for `retry' at the most).  Before that nothing is
 * written through the new session, lest an old write, stalled in the old
 * server, land on a newer one.
 */

#ifndef FOLIO_NBD_H
#define FOLIO_NBD_H

#include <stddef.h>

#include "fs/store.h"

struct nbd_store_options {
  const char *uri; /* nbd://, nbds://, nbd+unix:// or nbds+unix:// */
  bool readonly;
  bool unsafe_no_flush; /* one that can make nothing durable is served too */
  unsigned connections; /* at most; 1 if the server has no multi-conn */
  unsigned io_depth;    /* requests in flight at most */
  uint64_t retry;       /* ns */
  uint64_t patience;    /* ns: with a server that is not there at the start */
};

/* Make one connection, of which the first session is made later, and learn
 * from it the geometry; if none can be made, try again, for options->patience, with
 * a line in the log.  No threads are made yet.  Returns 0 and the store, or
 * a negative errno with in err (errlen bytes) one line that says what was
 * wrong and what would be right: no such server or export, a certificate that
 * is not trusted, an export that is read-only without options->readonly, one that
 * can neither flush nor do FUA without options->unsafe_no_flush, sizes of blocks
 * that the cache cannot serve (a smallest one of more than 4096 bytes).
 */
extern int nbd_store_open (struct env *env,
                           const struct nbd_store_options *options,
                           struct store **store, char *err, size_t errlen);

#endif /* FOLIO_NBD_H */
