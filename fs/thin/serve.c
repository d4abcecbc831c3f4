/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: what the fs's own thread was asked for, a piece at a time, also between two pieces
 * of a checkpoint.
 */

#include "fs/thin/thin-impl.h"

static bool
load_next (struct thin *t)
{
  struct thin_work *work = &t->work;
  struct thin_extent e;
  uint64_t b = 0;
  bool any;
  int r;

  pthread_mutex_lock (&t->lock);
  any = work->nr_loads > 0;
  if (any)
    b = work->loads[--work->nr_loads];
  pthread_mutex_unlock (&t->lock);
  if (!any)
    return false;
  r = thin_meta_lookup (t->meta, thin_root_of (t), b, 1, false, &e);
  if (r < 0)
    thin_note_failure (t, &work->failed[work->next_failed++ % THIN_FAILED], b,
                       r);
  return true;
}

static bool
fill (struct thin *t)
{
  bool wanted;

  pthread_mutex_lock (&t->lock);
  wanted = t->work.fill;
  t->work.fill = false;
  pthread_mutex_unlock (&t->lock);
  if (wanted)
    thin_note_failure (t, &t->work.failed_fill, 0, thin_fill_pool (t));
  return wanted;
}

void
thin_serve (struct thin *t)
{
  bool any = false;

  while (load_next (t))
    any = true;
  any |= fill (t);
  if (any) {
    fs_ring (&t->fs);
    thin_changed (t);
  }
}
