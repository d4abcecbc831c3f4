/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The flusher.  Each turn of the libev loop does write-back for a moment, slice by
 * slice; while there is more, an idle watcher keeps the loop from sleeping, so
 * completions are seen to between turns.
 *
 * There is a lock that the loop thread always has but while it sleeps.  Who takes it
 * then is the loop thread for all that write-back, the fs and the store know of.
 */

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <stdlib.h>

#include "cache/writeback/flusher.h"
#include "cache/writeback/help.h"
#include "fs/num.h"
#include "fs/bell.h"
#include "cache/writeback/writeback.h"
#include "fs/iomap.h"

/* After this time (ns) a turn ends with the slice that it is at. */
#define TURN (NSEC_PER_MSEC / 20)

struct flusher {
  struct writeback *wb;
  struct ev_loop *loop;
  pthread_t thread;
  pthread_t fs; /* the fs's own, if it has work for one */
  _Atomic bool stopping;
  ev_async wake;
  ev_prepare turn;
  ev_idle busy;
  ev_timer timer;

  pthread_mutex_t lock; /* protects what follows, and is outside all others */
  uint64_t alarm;       /* ns, until when the thread sleeps */
  bool helped;          /* since it last looked */

  _Atomic pthread_t self; /* the thread, once it runs */
  bool rung;              /* since its last turn began, by itself */
  bool turned;            /* it has taken that, and falls asleep */
};

static void
on_wake (struct ev_loop *loop, ev_async *watcher, int events)
{
  (void) loop;
  (void) watcher;
  (void) events;
}

static void
on_busy (struct ev_loop *loop, ev_idle *watcher, int events)
{
  (void) loop;
  (void) watcher;
  (void) events;
}

static void
on_timer (struct ev_loop *loop, ev_timer *watcher, int events)
{
  (void) loop;
  (void) watcher;
  (void) events;
}

static void
fall_asleep (struct ev_loop *loop) EV_NOEXCEPT
{
  struct flusher *flusher = ev_userdata (loop);

  pthread_mutex_unlock (&flusher->lock);
}

static void
awake (struct ev_loop *loop) EV_NOEXCEPT
{
  struct flusher *flusher = ev_userdata (loop);

  pthread_mutex_lock (&flusher->lock);
  flusher->turned = false;
}

/* Have the thread look for work, if it has not been stopped.  Any thread; its own,
 * which has heard of a completion, takes a turn before it sleeps anyway.
 */
static void
ring (void *opaque)
{
  struct flusher *flusher = opaque;

  if (pthread_equal (pthread_self (), atomic_load (&flusher->self)) &&
      !flusher->turned)
    flusher->rung = true;
  else
    ev_async_send (flusher->loop, &flusher->wake);
}

/* Take steps in the loop thread's place, if it sleeps.  Returns whether it is to be
 * woken; own: see help.
 */
static bool
help_loop (struct flusher *flusher, bool again, struct store_req **own)
{
  struct writeback *wb = flusher->wb;
  bool wake = true;

  *own = NULL;
  if (pthread_mutex_trylock (&flusher->lock) != 0)
    return true;
  if (again || help_wanted (wb))
    wake = help (wb, flusher->alarm, own);
  flusher->helped = true;
  pthread_mutex_unlock (&flusher->lock);
  return wake;
}

/* See bell.h. */
static void
work (void *opaque)
{
  struct flusher *flusher = opaque;
  struct store_req *own;
  bool again = false;

  do {
    if (help_loop (flusher, again, &own))
      ring (flusher);
    again = true;
  } while (own && help_wait (flusher->wb, own));
}

/* Sleep until write-back has something to do again.  Who helps does not look at the
 * time while the store has him wait.
 */
static void
set_timer (struct flusher *flusher)
{
  struct env *env = flusher->wb->env;
  uint64_t deadline = writeback_deadline (flusher->wb);
  uint64_t now = env->now (env);

  ev_timer_stop (flusher->loop, &flusher->timer);
  if (flusher->helped)
    deadline = min_u64 (deadline, now + NSEC_PER_SEC);
  flusher->helped = false;
  flusher->alarm = deadline;
  if (deadline == ENV_FOREVER)
    return;
  ev_timer_set (&flusher->timer,
                deadline > now ? (double) (deadline - now) / NSEC_PER_SEC : 0,
                0);
  ev_timer_start (flusher->loop, &flusher->timer);
}

/* Returns true if there is more to do at once. */
static bool
take_turn (struct flusher *flusher)
{
  struct env *env = flusher->wb->env;
  uint64_t end = env->now (env) + TURN;

  while (writeback_step (flusher->wb))
    if (env->now (env) >= end)
      return true;
  return false;
}

static void
on_turn (struct ev_loop *loop, ev_prepare *watcher, int events)
{
  struct flusher *flusher = watcher->data;

  (void) events;
  flusher->rung = false;
  if (take_turn (flusher) || flusher->rung) {
    ev_idle_start (loop, &flusher->busy);
    return;
  }
  ev_idle_stop (loop, &flusher->busy);
  flusher->turned = true;
  if (atomic_load (&flusher->stopping) && writeback_idle (flusher->wb))
    ev_break (loop, EVBREAK_ALL);
  ev_now_update (loop);
  set_timer (flusher);
}

static void *
run (void *arg)
{
  struct flusher *flusher = arg;

  atomic_store (&flusher->self, pthread_self ());
  pthread_mutex_lock (&flusher->lock);
  ev_run (flusher->loop, 0);
  pthread_mutex_unlock (&flusher->lock);
  return NULL;
}

static void *
run_fs (void *arg)
{
  struct flusher *flusher = arg;
  struct fs *fs = flusher->wb->fs;

  fs->ops->work (fs);
  return NULL;
}

static int
start_fs (struct flusher *flusher)
{
  if (flusher->wb->fs->ops->work == NULL)
    return 0;
  return env_thread (&flusher->fs, 0, run_fs, flusher);
}

static void
stop_fs (struct flusher *flusher)
{
  struct fs *fs = flusher->wb->fs;

  if (fs->ops->work == NULL)
    return;
  fs->ops->stop_work (fs);
  pthread_join (flusher->fs, NULL);
}

static int
start_threads (struct flusher *flusher)
{
  int r = start_fs (flusher);

  if (r < 0)
    return r;
  r = env_thread (&flusher->thread, 0, run, flusher);
  if (r < 0)
    stop_fs (flusher);
  return r;
}

void
flusher_free (struct flusher *flusher)
{
  if (flusher->loop)
    ev_loop_destroy (flusher->loop);
  pthread_mutex_destroy (&flusher->lock);
  free (flusher);
}

static void
add_watchers (struct flusher *flusher)
{
  ev_async_init (&flusher->wake, on_wake);
  ev_async_start (flusher->loop, &flusher->wake);
  ev_prepare_init (&flusher->turn, on_turn);
  flusher->turn.data = flusher;
  ev_prepare_start (flusher->loop, &flusher->turn);
  ev_idle_init (&flusher->busy, on_busy);
  ev_timer_init (&flusher->timer, on_timer, 0, 0);
}

int
flusher_start (struct writeback *wb, struct bell *bell, struct flusher **ret)
{
  struct flusher *flusher = calloc (1, sizeof *flusher);
  int r;

  if (flusher == NULL)
    return -ENOMEM;
  flusher->wb = wb;
  pthread_mutex_init (&flusher->lock, NULL);
  flusher->loop = ev_loop_new (EVFLAG_AUTO | EVFLAG_NOENV);
  if (flusher->loop == NULL) {
    flusher_free (flusher);
    return -ENOMEM;
  }
  ev_set_userdata (flusher->loop, flusher);
  ev_set_loop_release_cb (flusher->loop, fall_asleep, awake);
  add_watchers (flusher);
  r = fs_attach (wb->fs, flusher->loop, wb->config.dirty_expire);
  if (r < 0) {
    flusher_free (flusher);
    return r;
  }
  *bell = (struct bell) {
    .ring = ring,
    .work = work,
    .opaque = flusher,
  };
  r = start_threads (flusher);
  if (r < 0) {
    bell->ring = NULL;
    fs_detach (wb->fs);
    flusher_free (flusher);
    return r;
  }
  *ret = flusher;
  return 0;
}

void
flusher_stop (struct flusher *flusher)
{
  /* It may wait for the store, and so for the loop, until it ends. */
  stop_fs (flusher);
  atomic_store (&flusher->stopping, true);
  ring (flusher);
  pthread_join (flusher->thread, NULL);
  fs_detach (flusher->wb->fs);
}
