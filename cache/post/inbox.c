/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inbox.
 */

#include <errno.h>

#include "cache/post/inbox.h"

void
inbox_init (struct inbox *inbox, struct env *env, const struct bell *bell)
{
  *inbox = (struct inbox) { .env = env, .bell = bell };
  pthread_mutex_init (&inbox->lock, NULL);
  sync_list_init (&inbox->queue);
}

void
inbox_destroy (struct inbox *inbox)
{
  pthread_mutex_destroy (&inbox->lock);
}

void
inbox_kick (struct inbox *inbox)
{
  atomic_store (&inbox->want_clean, true);
  bell_ring (inbox->bell);
}

void
inbox_store_changed (struct inbox *inbox)
{
  atomic_store (&inbox->store_changed, true);
  inbox_kick (inbox);
}

void
inbox_configure (struct inbox *inbox, const struct inbox_settings *settings)
{
  pthread_mutex_lock (&inbox->lock);
  inbox->settings = *settings;
  atomic_store (&inbox->configured, true);
  pthread_mutex_unlock (&inbox->lock);
  bell_ring (inbox->bell);
}

void
inbox_pause (struct inbox *inbox, bool paused)
{
  atomic_store (&inbox->paused, paused);
  bell_ring (inbox->bell);
}

void
inbox_note_unflushed (struct inbox *inbox)
{
  atomic_store (&inbox->unflushed, true);
}

bool
inbox_lost_fua (struct inbox *inbox, int error)
{
  if (error == -EOPNOTSUPP)
    atomic_store (&inbox->no_fua, true);
  return error == -EOPNOTSUPP;
}

static void
add (struct inbox *inbox, struct sync_req *req)
{
  req->asked = inbox->env->now (inbox->env);
  pthread_mutex_lock (&inbox->lock);
  sync_list_append (&inbox->queue, req);
  pthread_mutex_unlock (&inbox->lock);
}

void
inbox_queue (struct inbox *inbox, struct sync_req *req)
{
  add (inbox, req);
  bell_ring (inbox->bell);
}

int
inbox_sync (struct inbox *inbox, uint64_t start, uint64_t end,
            enum sync_kind kind)
{
  struct sync_req req = { .start = start, .end = end, .kind = kind };

  add (inbox, &req);
  bell_work (inbox->bell);
  completion_wait (inbox->env, &req.done);
  return req.error;
}
