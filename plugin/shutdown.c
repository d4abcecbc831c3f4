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
 *
 * When nbdkit aborts everything is written back in the same way, in whatever
 * state that finds us, and given up a little before the thread that dies would do
 * so by itself.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/abort.h"
#include "plugin/log.h"
#include "plugin/progress.h"
#include "plugin/shutdown.h"
#include "plugin/signals.h"
#include "plugin/stats-log.h"

/* How long after an abort it is tried, so that there is time to log what is lost.
 */
#define GIVE_UP_ABORT ((ABORT_SECONDS - 5) * NSEC_PER_SEC)

/* More lines than this about lost ranges help nobody. */
#define MAX_RANGES 10000

struct watcher {
  struct env *env;
  struct mapping *mapping;
  uint64_t timeout; /* ns; 0: none */
  pthread_t thread;
  _Atomic bool finish; /* no client is there any more */
  int result;          /* the thread's; read after joining it */

  /* Of the thread. */
  uint64_t stats_at;    /* when counters are logged next, ns */
  bool stopping;        /* signals were seen, and nbdkit told */
  bool shut;            /* writes are refused */
  uint64_t least;       /* of mapping_work_left so far ... */
  uint64_t least_since; /* ... since then, ns */
  bool reported;        /* what is not saved was logged */
  uint64_t abort_since; /* an abort was seen then, ns; 0: none */
  bool released;        /* what has aborted may die */
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

/* Those that are under way, too: what is written back now misses what comes to
 * its end later, and the next time may be long after, when the last client has
 * left.
 */
static void
refuse_writes (struct watcher *w)
{
  if (w->shut)
    return;
  abort_refuse ();
  mapping_shutdown (w->mapping);
  w->shut = true;
}

static void
release (struct watcher *w)
{
  w->released = true;
  abort_saved ();
}

/* Does a thread of nbdkit's that has aborted wait for us? */
static bool
is_awaited (struct watcher *w)
{
  if (!abort_begun () || w->released)
    return false;
  if (w->abort_since == 0) {
    w->abort_since = w->env->now (w->env);
    refuse_writes (w);
    log_bypass ();
    env_log (w->env, LOG_ERROR,
             "nbdkit has aborted; everything is written back before it ends");
  }
  return true;
}

/* If so, has it waited long enough? */
static void
look_at_abort (struct watcher *w)
{
  if (!is_awaited (w) ||
      (!timed_out (w) && w->env->now (w->env) - w->abort_since < GIVE_UP_ABORT))
    return;
  log_unsaved (w, "are lost: giving up, as nbdkit has aborted");
  release (w);
}

/* Called once a second while the store is at it. */
static void
log_progress (void *opaque, const struct sync_progress *p)
{
  struct watcher *w = opaque;
  char line[PROGRESS_MAX];

  progress_format (line, sizeof line, p);
  env_log (w->env, LOG_INFO, "%s", line);
  look_at_abort (w);
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
    look_at_abort (w);
    if (w->released)
      return r;
    if (timed_out (w)) {
      if (w->finish) {
        log_unsaved (w, "are lost: giving up");
        return r;
      }
      report (w, "are not saved; trying on while clients are there");
    }
    env_sleep (w->env, w->env->now (w->env) + NSEC_PER_SEC);
  }
  if (failed || w->reported)
    env_log (w->env, LOG_INFO, "everything is written back after all");
  w->reported = false;
  return 0;
}

/* --- the thread --- */

/* Until something has happened, perhaps, or counters are due. */
static void
wait_a_while (struct watcher *w)
{
  uint64_t now = w->env->now (w->env);
  int timeout = -1;

  if (folio_debug_stats) {
    if (w->stats_at == 0)
      w->stats_at = now + STATS_SECONDS * NSEC_PER_SEC;
    if (now >= w->stats_at) {
      stats_log (w->env, w->mapping);
      w->stats_at = now + STATS_SECONDS * NSEC_PER_SEC;
    }
    timeout = (int) ((w->stats_at - now) / NSEC_PER_MSEC) + 1;
  }
  signals_wait (timeout);
}

static void
stop (struct watcher *w)
{
  w->stopping = true;
  /* With --run nbdkit's parent may have been told, and not the server. */
  nbdkit_shutdown ();
  refuse_writes (w);
  w->result = write_back (w);
}

/* What was on when it aborted may have missed what was acknowledged since. */
static void
save_before_abort (struct watcher *w)
{
  if (write_back (w) == 0 && !w->released) {
    env_log (w->env, LOG_INFO, "everything is written back");
    release (w);
  }
}

/* No clients are there any more. */
static void
save_at_last (struct watcher *w)
{
  refuse_writes (w);
  if (w->result == 0)
    w->result = write_back (w);
  if (w->result == 0 && mapping_lost_untold (w->mapping)) {
    env_log (w->env, LOG_ERROR,
             "what was written past the cache may be lost, and no client that "
             "may have written it was told");
    w->result = -EIO;
  }
  if (is_awaited (w))
    save_before_abort (w);
  abort_saved (); /* who aborts now need not wait */
}

static void *
watch (void *opaque)
{
  struct watcher *w = opaque;

  while (!w->finish) {
    if (is_awaited (w))
      save_before_abort (w);
    else if (signals_seen () && !w->stopping)
      stop (w);
    else
      wait_a_while (w);
  }
  env_log (w->env, LOG_DEBUG, "the end: writing back");
  save_at_last (w);
  env_log (w->env, LOG_DEBUG, "the end: %s",
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
  r = env_thread (&w->thread, 0, watch, w);
  if (r < 0) {
    free (w);
    return r;
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
  r = watcher->result;
  stats_log (watcher->env, watcher->mapping);
  free (watcher);
  return r;
}
