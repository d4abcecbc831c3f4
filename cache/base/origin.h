/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a change of the disk comes from, and whether its client is still there.
 *
 * A request whose client is gone must not change anything any more: the next
 * client may have written there since, and flushed.  So it is asked, after the
 * last wait, before each part of a request is carried out; with what keeps others
 * from changing the same (the folio's lock, the range) held.  Then what comes
 * from others and was acknowledged before was so while the client was still
 * there, and what comes later is done later.
 *
 * Asking costs a system call, so it is done only by requests that have waited or
 * are some time under way.  Once a connection is known to be gone, all its
 * requests see it without asking.
 */

#ifndef FOLIO_ORIGIN_H
#define FOLIO_ORIGIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/env.h"

struct pace;

/* The client of a connection. */
struct client {
  struct env *env;
  const _Atomic bool
    *shutdown; /* then it no longer matters whether it is gone */

  /* Is it gone?  Once it is known to be, for good. */
  _Atomic bool gone;
  bool (*ask) (void *opaque); /* NULL: it never is */
  void *opaque;
};

/* Is it gone?  Asks, unless it is known; on the thread of one of its requests.
 * Never when that no longer matters.
 */
extern bool client_ask (struct client *client);

/* One request that changes something.  Begin with client and pace set. */
struct origin {
  struct client *client;
  struct pace *pace; /* the connection's; NULL: it is not to be paced by it */
  bool waited;       /* for anything since it was last asked */
  uint64_t looked;   /* ns, at the clock; 0: not yet */
  uint64_t done;     /* bytes since then */
};

/* A request is asked after this time (ns) even if it has not waited; the clock is
 * looked at each time so many bytes are done.
 */
#define ORIGIN_PATIENCE (10 * NSEC_PER_MSEC)
#define ORIGIN_LOOK (UINT64_C (256) << 10)

/* May be called with any lock held but env's log's.  Slow. */
extern bool origin_ask (struct origin *origin);
extern void origin_look (struct origin *origin);

/* It has waited.  origin may be NULL, here and below: of nobody who could go. */
static inline void
origin_waited (struct origin *origin)
{
  if (origin)
    origin->waited = true;
}

/* Before the request changes something: is its client gone?  (-ECONNABORTED.)  */
static inline bool
origin_gone (struct origin *origin)
{
  if (origin == NULL)
    return false;
  if (origin->waited)
    return origin_ask (origin);
  /* Relaxed: whoever knows of it has been told in no other way. */
  return atomic_load_explicit (&origin->client->gone, memory_order_relaxed);
}

/* n bytes more are done, and it goes on. */
static inline void
origin_progress (struct origin *origin, uint64_t n)
{
  if (origin == NULL)
    return;
  origin->done += n;
  if (origin->looked == 0 || origin->done >= ORIGIN_LOOK)
    origin_look (origin);
}

#endif /* FOLIO_ORIGIN_H */
