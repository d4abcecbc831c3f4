/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end: noticing it, and writing everything back.
 *
 *   watching   -- nbdkit is told to stop -->         writing back
 *   writing back  -- all is on the store -->         done
 *   writing back  -- fails -->                       waits a second, tries again
 *   trying for RETRY_SECONDS, clients still there --> logs what is not saved,
 *                                                    goes on trying
 *   trying for RETRY_SECONDS, no clients -->         logs what is lost, done
 *
 * Messages are logged as errors because nbdkit shows nothing else without -v.
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
#include "plugin/stats-log.h"

/* How long to sleep in nbdkit_nanosleep, which ends when nbdkit does. */
#define WATCH_SECONDS 3600

/* More lines than this about lost ranges help nobody. */
#define MAX_RANGES 10000

struct watcher {
  struct env *env;
  struct mapping *mapping;
  pthread_t thread;
  _Atomic bool finish; /* no client is there any more */
  int result;          /* the thread's; read after joining it */
};

static void
log_progress (void *opaque, const struct sync_progress *p)
{
  struct watcher *w = opaque;
  char line[PROGRESS_MAX];

  progress_format (line, sizeof line, p);
  env_log (w->env, LOG_ERROR, "%s", line);
}

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

static int
write_back (struct watcher *w)
{
  uint64_t since = 0; /* when it first failed */
  bool reported = false;
  int r;

  while ((r = mapping_sync (w->mapping, log_progress, w)) < 0) {
    if (since == 0) {
      since = w->env->now (w->env);
      errno = -r;
      env_log (w->env, LOG_ERROR, "writing back failed: %m; trying again");
    }
    if (w->env->now (w->env) - since >= RETRY_SECONDS * NSEC_PER_SEC) {
      if (w->finish) {
        log_unsaved (w, "are lost: giving up");
        return r;
      }
      if (!reported)
        log_unsaved (w, "are not saved; trying on while clients are there");
      reported = true;
    }
    pause_a_second (w->env);
  }
  if (since)
    env_log (w->env, LOG_ERROR, "everything is written back after all");
  return 0;
}

/* --- the thread --- */

/* Return when nbdkit is told to stop.  (nbdkit then logs an error "aborting
 * sleep because of server shut down", which can't be helped.)
 */
static void
wait_for_shutdown (struct watcher *w)
{
  unsigned seconds = folio_debug_stats ? STATS_SECONDS : WATCH_SECONDS;

  while (!w->finish) {
    if (nbdkit_nanosleep (seconds, 0) == 0) {
      stats_log (w->env, w->mapping);
      continue;
    }
    if (errno == ESHUTDOWN)
      return;
    pause_a_second (w->env);
  }
}

static void *
watch (void *opaque)
{
  struct watcher *w = opaque;

  wait_for_shutdown (w);
  env_log (w->env, LOG_DEBUG, "shutting down: writing back");
  mapping_shutdown (w->mapping);
  w->result = write_back (w);
  env_log (w->env, LOG_DEBUG, "shutting down: %s",
           w->result == 0 ? "everything is on the store"
                          : "not everything is on the store");
  return NULL;
}

int
watcher_start (struct env *env, struct mapping *mapping,
               struct watcher **watcher)
{
  struct watcher *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return -ENOMEM;
  w->env = env;
  w->mapping = mapping;
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
  /* nbdkit may be ending without having been told to, as after the one client
   * of nbdkit -s: the thread then still sleeps.
   */
  nbdkit_shutdown ();
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
