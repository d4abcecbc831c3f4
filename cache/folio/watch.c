/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads of the store under way.  There are as many as store reads, which take far
 * longer than going through the list.
 */

#include <stddef.h>

#include "fs/num.h"
#include "cache/folio/watch.h"

void
watches_init (struct watches *watches)
{
  pthread_mutex_init (&watches->lock, NULL);
  watches->head = NULL;
}

void
watches_destroy (struct watches *watches)
{
  pthread_mutex_destroy (&watches->lock);
}

void
watch_begin (struct watches *watches, struct watch *watch, uint64_t start,
             uint64_t end)
{
  watch->start = start;
  watch->end = end;
  atomic_store (&watch->zeroed, UINT64_MAX);
  atomic_store (&watch->zeroed_end, 0);
  pthread_mutex_lock (&watches->lock);
  watch->next = watches->head;
  watch->prev = &watches->head;
  if (watch->next)
    watch->next->prev = &watch->next;
  watches->head = watch;
  pthread_mutex_unlock (&watches->lock);
}

void
watch_end (struct watches *watches, struct watch *watch)
{
  pthread_mutex_lock (&watches->lock);
  *watch->prev = watch->next;
  if (watch->next)
    watch->next->prev = watch->prev;
  pthread_mutex_unlock (&watches->lock);
}

void
watches_zero (struct watches *watches, uint64_t start, uint64_t end)
{
  struct watch *w;

  pthread_mutex_lock (&watches->lock);
  for (w = watches->head; w; w = w->next)
    if (w->start < end && start < w->end) {
      atomic_store (&w->zeroed, min_u64 (atomic_load (&w->zeroed), start));
      atomic_store (&w->zeroed_end,
                    max_u64 (atomic_load (&w->zeroed_end), end));
    }
  pthread_mutex_unlock (&watches->lock);
}
