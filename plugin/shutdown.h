/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end: a thread that notices when nbdkit is told to stop and writes
 * everything back at once.  nbdkit itself waits for its clients to leave
 * before it calls the plugin, which idle ones may never do.
 */

#ifndef FOLIO_SHUTDOWN_H
#define FOLIO_SHUTDOWN_H

#include "cache/cache.h"
#include "fs/env.h"

struct watcher;

/* Start the thread, after any fork and signals_start.  env and mapping outlive it.
 * timeout, ns: how long it is tried to write back when nothing succeeds; 0: for
 * ever.  Returns 0 or a negative errno.
 */
extern int watcher_start (struct env *env, struct mapping *mapping,
                          uint64_t timeout, struct watcher **watcher);

/* No requests will come any more: wait until all is written back, then end the
 * thread and free it.  Returns 0 when everything is on the store; or the
 * negative errno for which it gave up, the ranges that are lost being logged.
 */
extern int watcher_finish (struct watcher *watcher);

#endif /* FOLIO_SHUTDOWN_H */
