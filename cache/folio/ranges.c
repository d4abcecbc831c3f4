/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ranges under way.  There are few (io-depth and the requests in progress), so
 * a list in order of arrival does.
 */

#include <stddef.h>

#include "cache/folio/ranges.h"

void
ranges_init (struct ranges *ranges, struct env *env)
{
  pthread_mutex_init (&ranges->lock, NULL);
  ranges->head = NULL;
  ranges->tail = &ranges->head;
  atomic_init (&ranges->released, 0);
  ranges->refused = false;
  ranges->waiters = 0;
  ranges->env = env;
}

void
ranges_destroy (struct ranges *ranges)
{
  pthread_mutex_destroy (&ranges->lock);
}

/* Does one that came before `stop' (NULL: any) overlap the range? */
static bool
overlaps_earlier (struct ranges *ranges, const struct range *range,
                  const struct range *stop)
{
  const struct range *r;

  for (r = ranges->head; r != stop; r = r->next)
    if (r->start < range->end && range->start < r->end)
      return true;
  return false;
}

static void
append (struct ranges *ranges, struct range *range)
{
  range->next = NULL;
  *ranges->tail = range;
  ranges->tail = &range->next;
}

bool
ranges_try_add (struct ranges *ranges, struct range *range)
{
  bool ok;

  pthread_mutex_lock (&ranges->lock);
  ok = !overlaps_earlier (ranges, range, NULL);
  if (ok)
    append (ranges, range);
  else
    ranges->refused = true;
  pthread_mutex_unlock (&ranges->lock);
  return ok;
}

void
ranges_add_wait (struct ranges *ranges, struct range *range)
{
  uint32_t seen;
  bool blocked;

  pthread_mutex_lock (&ranges->lock);
  append (ranges, range);
  for (;;) {
    blocked = overlaps_earlier (ranges, range, range);
    seen = atomic_load (&ranges->released);
    ranges->waiters += blocked;
    pthread_mutex_unlock (&ranges->lock);
    if (!blocked)
      return;
    ranges->env->wait (ranges->env, &ranges->released, seen, ENV_FOREVER);
    pthread_mutex_lock (&ranges->lock);
    ranges->waiters--;
  }
}

/* Something that others may wait for is gone.  Unlocks. */
static void
unlock_released (struct ranges *ranges)
{
  bool wake = ranges->waiters > 0;

  atomic_fetch_add (&ranges->released, 1);
  pthread_mutex_unlock (&ranges->lock);
  if (wake)
    ranges->env->wake (ranges->env, &ranges->released);
}

void
ranges_shrink (struct ranges *ranges, struct range *range, uint64_t end)
{
  pthread_mutex_lock (&ranges->lock);
  range->end = end;
  unlock_released (ranges);
}

/* Lock held. */
static void
unlink_range (struct ranges *ranges, struct range *range)
{
  struct range **p;

  for (p = &ranges->head; *p != range; p = &(*p)->next)
    ;
  *p = range->next;
  if (ranges->tail == &range->next)
    ranges->tail = p;
}

void
ranges_cancel (struct ranges *ranges, struct range *range)
{
  pthread_mutex_lock (&ranges->lock);
  unlink_range (ranges, range);
  unlock_released (ranges);
}

bool
ranges_remove (struct ranges *ranges, struct range *range)
{
  bool refused;

  pthread_mutex_lock (&ranges->lock);
  unlink_range (ranges, range);
  refused = ranges->refused;
  ranges->refused = false;
  unlock_released (ranges);
  return refused;
}
