/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Who has left a sync in the inbox has nothing else to do.  If the loop thread sleeps,
 * he takes its steps himself, until there is nothing to be done at once.  And if all
 * that is to be sent is one store write, he makes it (STORE_AWAITED), so that
 * nobody has to be woken: neither the loop thread, twice, nor he.
 */

#include <stddef.h>

#include "cache/base/store-io.h"
#include "cache/post/inbox.h"
#include "cache/writeback/help.h"
#include "cache/writeback/writeback.h"

/* For so long (ns). */
#define MOMENT (NSEC_PER_MSEC / 20)

bool
help_wanted (const struct writeback *wb)
{
  const struct wb_sync *sync = &wb->sync;

  return sync->alone >= 2 && sync->list == NULL &&
         sync->flush_state == FLUSH_IDLE && wb->ioends.in_flight == 0;
}

bool
help (struct writeback *wb, uint64_t alarm, struct store_req **own)
{
  struct env *env = wb->env;
  uint64_t end = env->now (env) + MOMENT;
  bool more;

  wb->helper = (struct wb_helper) { .here = true };
  do
    more = writeback_step (wb);
  while (more && env->now (env) < end);
  *own = wb->helper.own;
  wb->helper = (struct wb_helper) { 0 };
  /* When that is over, it is asked again. */
  return more || (*own == NULL && writeback_deadline (wb) < alarm);
}

bool
help_wait (struct writeback *wb, struct store_req *own)
{
  struct inbox *inbox = wb->inbox;
  struct ioend *ioend = (struct ioend *) own;
  bool over;

  pthread_mutex_lock (&inbox->lock);
  inbox->held = ioend;
  pthread_mutex_unlock (&inbox->lock);
  own->flags |= STORE_AWAITED;
  store_io_submit (wb->fs->store, &own, 1);
  pthread_mutex_lock (&inbox->lock);
  over = inbox->held != ioend;
  if (!over)
    inbox->held = NULL;
  pthread_mutex_unlock (&inbox->lock);
  return over;
}
