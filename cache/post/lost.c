/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Who has been told of what is lost.
 */

#include "cache/post/lost.h"

/* Is a later than b?  Counts wrap. */
static bool
is_later (uint32_t a, uint32_t b)
{
  return (int32_t) (a - b) > 0;
}

void
lost_init (struct lost *lost)
{
  *lost = (struct lost) { 0 };
  pthread_mutex_init (&lost->lock, NULL);
}

void
lost_destroy (struct lost *lost)
{
  pthread_mutex_destroy (&lost->lock);
}

bool
lost_untold (struct lost *lost)
{
  bool untold;

  pthread_mutex_lock (&lost->lock);
  untold = lost->owed != atomic_load (&lost->count);
  pthread_mutex_unlock (&lost->lock);
  return untold;
}

void
told_open (struct lost *lost, struct told *told)
{
  pthread_mutex_lock (&lost->lock);
  atomic_init (&told->count, lost->owed);
  atomic_init (&told->wrote, false);
  told->came = lost->left;
  pthread_mutex_unlock (&lost->lock);
}

void
told_close (struct lost *lost, struct told *told)
{
  uint32_t count = atomic_load (&told->count);

  if (!atomic_load (&told->wrote))
    return;
  pthread_mutex_lock (&lost->lock);
  if (is_later (lost->owed, count))
    lost->owed = count;
  lost->debt = ++lost->left;
  pthread_mutex_unlock (&lost->lock);
}

void
told_begin (struct lost *lost, struct told *told, struct told_flush *flush)
{
  flush->count = atomic_load (&told->count);
  flush->wrote = atomic_exchange (&told->wrote, false);
  pthread_mutex_lock (&lost->lock);
  flush->left = lost->left;
  pthread_mutex_unlock (&lost->lock);
}

bool
told_end (struct lost *lost, struct told *told, const struct told_flush *flush,
          int r)
{
  if (atomic_load (&lost->count) != flush->count)
    return true;
  if (r < 0) {
    if (flush->wrote)
      atomic_store (&told->wrote, true);
    return false;
  }
  /* What those wrote that had left before it began is durable. */
  pthread_mutex_lock (&lost->lock);
  if (lost->left == flush->left && lost->owed == flush->count)
    lost->debt = 0;
  pthread_mutex_unlock (&lost->lock);
  return false;
}

void
told_fail (struct lost *lost, struct told *told)
{
  uint32_t count = atomic_load (&lost->count);

  pthread_mutex_lock (&lost->lock);
  if (is_later (count, atomic_load (&told->count)))
    atomic_store (&told->count, count);
  if (lost->debt == 0 || !is_later (lost->debt, told->came)) {
    lost->debt = 0;
    if (is_later (count, lost->owed))
      lost->owed = count;
  }
  pthread_mutex_unlock (&lost->lock);
}
