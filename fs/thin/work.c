/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the fs's own thread, which does what waits.
 */

#include <errno.h>
#include <string.h>

#include "fs/thin/thin-impl.h"

/* Between two tries of what fails: ns. */
#define RETRY (NSEC_PER_SEC / 2)

void
thin_stop_work (struct fs *fs)
{
  struct thin *t = thin_of (fs);

  pthread_mutex_lock (&t->lock);
  t->work.stopping = true;
  pthread_mutex_unlock (&t->lock);
  thin_wake_now (t);
}

static void
note_checkpoint (struct thin *t, int error, uint64_t now)
{
  struct thin_work *work = &t->work;
  struct env *env = t->fs.store->env;
  bool was = work->logged;

  pthread_mutex_lock (&t->lock);
  work->error = error;
  work->retry = error ? now + RETRY : 0;
  work->checkpoint |= error != 0;
  work->logged = error != 0;
  pthread_mutex_unlock (&t->lock);
  if (error && thin_usable (t) < 0)
    return; /* that was told */
  if (error && !was)
    env_log (env, LOG_ERROR,
             "the image's metadata cannot be written, it will be tried again: "
             "%s",
             strerror (-error));
  else if (was && !error)
    env_log (env, LOG_ERROR, "the image's metadata is written again");
}

/* A checkpoint, if one is wanted and worth trying. */
static void
checkpoint (struct thin *t)
{
  struct env *env = t->fs.store->env;
  uint64_t now = env->now (env);
  bool wanted;

  pthread_mutex_lock (&t->lock);
  wanted = t->work.checkpoint && now >= t->work.retry;
  if (wanted)
    t->work.checkpoint = false;
  pthread_mutex_unlock (&t->lock);
  if (!wanted || t->fs.readonly || thin_usable (t) < 0)
    return;
  note_checkpoint (t, thin_checkpoint (t), env->now (env));
  fs_ring (&t->fs);
  thin_changed (t);
}

static uint64_t
next_try (struct thin *t)
{
  uint64_t when;

  pthread_mutex_lock (&t->lock);
  when = t->work.checkpoint && t->work.retry ? t->work.retry : ENV_FOREVER;
  pthread_mutex_unlock (&t->lock);
  return when;
}

static bool
is_stopping (struct thin *t)
{
  bool stopping;

  pthread_mutex_lock (&t->lock);
  stopping = t->work.stopping;
  pthread_mutex_unlock (&t->lock);
  return stopping;
}

static void
serve (struct thin *t)
{
  struct env *env = t->fs.store->env;
  uint32_t seen = atomic_load (&t->work.word);

  while (!is_stopping (t)) {
    thin_serve (t);
    checkpoint (t);
    if (!is_stopping (t))
      env->wait (env, &t->work.word, seen, next_try (t));
    seen = atomic_load (&t->work.word);
  }
}

/* How many entries are in these layers? */
static size_t
count_in (struct thin *t, unsigned first, unsigned last)
{
  size_t n = 0;

  pthread_mutex_lock (&t->lock);
  for (; first <= last; first++)
    n += t->layers.map[first].count;
  if (first == LAYER_RECORDING + 1)
    n += t->flying.count;
  pthread_mutex_unlock (&t->lock);
  return n;
}

/* Leave the log empty, so that opening it again costs nothing; and say that it is
 * nobody's, if all that was done is there.
 */
static void
finish (struct thin *t)
{
  int r =
    count_in (t, LAYER_LOGGED, LAYER_FROZEN) > 0 ? thin_checkpoint (t) : 0;

  thin_break (t, -ESHUTDOWN);
  if (r == 0 && count_in (t, LAYER_FRESH, LAYER_RECORDING) == 0)
    thin_owner_release (&t->owner);
}

void
thin_work (struct fs *fs)
{
  struct thin *t = thin_of (fs);
  int r = thin_load (t);

  atomic_store (&t->state, r);
  completion_signal (fs->store->env, &t->opened);
  fs_ring (fs);
  if (r == 0)
    serve (t);
  if (r == 0 && !fs->readonly && thin_usable (t) == 0)
    finish (t);
  else if (r == 0 && thin_usable (t) == 0)
    thin_break (t, -ESHUTDOWN);
  fs_ring (fs);
}
