/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end: noticing it, and writing everything back.
 *
 *   watching      -- nbdkit is told to stop -->     writing back
 *   writing back  -- all is on the store -->         done
 *   writing back  -- fails -->                       waits a second, tries again
 *
 * If nothing could be saved for as long as the timeout, what is not saved is
 * logged, range by range; and then, if no clients are there, that is the end,
 * else it is tried on until they have left.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/progress.h"
#include "plugin/shutdown.h"
#include "plugin/signals.h"
#include "plugin/stats-log.h"

/* More lines than this about lost ranges help nobody. */
#define MAX_RANGES 10000

struct watcher {
  struct env *env;
  struct mapping *mapping;
  uint64_t timeout; /* ns; 0: none */
  pthread_t thread;
  _Atomic bool finish; /* no client is there any more */
  int result;          /* the thread's; read after joining it */

  /* Of the thread that writes back. */
  uint64_t least;       /* of mapping_work_left so far ... */
  uint64_t least_since; /* ... since then, ns */
  bool reported;        /* what is not saved was logged */
};

/* --- what is lost --- */

struct unsaved {
  struct env *env;
  uint64_t offset, length; /* the range being put together */
  uint64_t ranges, bytes;
};

static void
log_range (struct unsaved *u)
{
  if (u->length == 0)
    return;
  u->ranges++;
  u->bytes += u->length;
  if (u->ranges <= MAX_RANGES)
    env_log (u->env, LOG_ERROR,
             "not written back: %" PRIu64 " bytes at %" PRIu64, u->length,
             u->offset);
}

static void
add_range (void *opaque, uint64_t offset, uint64_t length)
{
  struct unsaved *u = opaque;

  if (u->length && u->offset + u->length == offset) {
    u->length += length;
    return;
  }
  log_range (u);
  u->offset = offset;
  u->length = length;
}

static void
log_unsaved (struct watcher *w, const char *fate)
{
  struct unsaved u = { .env = w->env };

  mapping_unsaved (w->mapping, add_range, &u);
  log_range (&u);
  if (u.ranges > MAX_RANGES)
    env_log (w->env, LOG_ERROR,
             "and %" PRIu64 " ranges more, the last at %" PRIu64,
             u.ranges - MAX_RANGES, u.offset);
  if (u.ranges == 0)
    env_log (w->env, LOG_ERROR,
             "nothing is left here to be written back, but the store was not "
             "flushed and may lose what it has");
  else
    env_log (w->env, LOG_ERROR, "%" PRIu64 " bytes in %" PRIu64 " ranges %s",
             u.bytes, u.ranges, fate);
}

/* --- writing back --- */

static void
pause_a_second (struct env *env)
{
  _Atomic uint32_t never = 0;
  uint64_t deadline = env->now (env) + NSEC_PER_SEC;

  while (env->now (env) < deadline)
    env->wait (env, &never, 0, deadline);
}

/* Has nothing been achieved for as long as the timeout? */
static bool
timed_out (struct watcher *w)
{
  uint64_t now = w->env->now (w->env);
  uint64_t left = mapping_work_left (w->mapping);

  if (left < w->least) {
    w->least = left;
    w->least_since = now;
  }
  return w->timeout > 0 && now - w->least_since >= w->timeout;
}

static void
report (struct watcher *w, const char *fate)
{
  if (!w->reported)
    log_unsaved (w, fate);
  w->reported = true;
}

/* Called once a second while the store is at it. */
static void
log_progress (void *opaque, const struct sync_progress *p)
{
  struct watcher *w = opaque;
  char line[PROGRESS_MAX];

  progress_format (line, sizeof line, p);
  env_log (w->env, LOG_INFO, "%s", line);
  if (timed_out (w))
    report (w, "are not saved; waiting for the store, which does not answer");
}

static int
write_back (struct watcher *w)
{
  bool failed = false;
  int r;

  w->least = UINT64_MAX;
  timed_out (w);
  while ((r = mapping_sync (w->mapping, log_progress, w)) < 0) {
    errno = -r;
    if (!failed)
      env_log (w->env, LOG_ERROR, "writing back failed: %m; trying again");
    failed = true;
    if (timed_out (w)) {
      if (w->finish) {
        log_unsaved (w, "are lost: giving up");
        return r;
      }
      report (w, "are not saved; trying on while clients are there");
    }
    pause_a_second (w->env);
  }
  if (failed || w->reported)
    env_log (w->env, LOG_INFO, "everything is written back after all");
  w->reported = false;
  return 0;
}

/* --- the thread --- */

/* Return when nbdkit is told to stop, or ends. */
static void
wait_for_shutdown (struct watcher *w)
{
  uint64_t interval = STATS_SECONDS * NSEC_PER_SEC;
  uint64_t next = w->env->now (w->env) + interval, now;
  int timeout = -1;

  while (!w->finish && !signals_seen ()) {
    if (folio_debug_stats) {
      now = w->env->now (w->env);
      if (now >= next) {
        stats_log (w->env, w->mapping);
        next = now + interval;
      }
      timeout = (int) ((next - now) / NSEC_PER_MSEC) + 1;
    }
    signals_wait (timeout);
  }
}

static void *
watch (void *opaque)
{
  struct watcher *w = opaque;

  wait_for_shutdown (w);
  env_log (w->env, LOG_DEBUG, "shutting down: writing back");
  /* With --run nbdkit's parent may have been told, and not the server. */
  nbdkit_shutdown ();
  mapping_shutdown (w->mapping);
  w->result = write_back (w);
  env_log (w->env, LOG_DEBUG, "shutting down: %s",
           w->result == 0 ? "everything is on the store"
                          : "not everything is on the store");
  return NULL;
}

int
watcher_start (struct env *env, struct mapping *mapping, uint64_t timeout,
               struct watcher **watcher)
{
  struct watcher *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return -ENOMEM;
  w->env = env;
  w->mapping = mapping;
  w->timeout = timeout;
  r = pthread_create (&w->thread, NULL, watch, w);
  if (r != 0) {
    free (w);
    return -r;
  }
  *watcher = w;
  return 0;
}

int
watcher_finish (struct watcher *watcher)
{
  int r;

  watcher->finish = true;
  /* nbdkit may be ending without a signal, as after the one client of nbdkit
   * -s: the thread then still sleeps.
   */
  signals_wake ();
  pthread_join (watcher->thread, NULL);
  /* Requests that were under way then have been answered since; now there are
   * none.
   */
  r = watcher->result;
  if (r == 0)
    r = write_back (watcher);
  stats_log (watcher->env, watcher->mapping);
  free (watcher);
  return r;
}
