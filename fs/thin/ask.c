/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: asking the fs's own thread for what waits.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* So long, at least, who asks for what could not be read is told so: ns. */
#define FAILED (20 * NSEC_PER_MSEC)

int
thin_usable (const struct thin *t)
{
  return atomic_load (&((struct thin *) t)->state);
}

static void
want (struct thin *t)
{
  atomic_store (&t->work.wanted, true);
}

static int
failure (struct thin *t, const struct thin_failure *f)
{
  struct env *env = t->fs.store->env;

  return f->until > env->now (env) ? f->error : 0;
}

void
thin_note_failure (struct thin *t, struct thin_failure *f, uint64_t b,
                   int error, uint64_t ns)
{
  struct env *env = t->fs.store->env;

  pthread_mutex_lock (&t->lock);
  *f = (struct thin_failure) { b, error ? env->now (env) + FAILED + ns : 0,
                               error };
  pthread_mutex_unlock (&t->lock);
}

int
thin_want_load (struct thin *t, uint64_t b)
{
  struct thin_work *work = &t->work;
  int r = thin_usable (t);
  unsigned i;

  if (r < 0) /* there may be nobody to do it any more */
    return r;
  for (i = 0; i < THIN_FAILED; i++)
    if (work->failed[i].block == b && failure (t, &work->failed[i]))
      return work->failed[i].error;
  for (i = 0; i < work->nr_loads && work->loads[i] != b; i++)
    ;
  if (i == work->nr_loads && i < THIN_LOADS)
    work->loads[work->nr_loads++] = b;
  want (t);
  return -EAGAIN;
}

int
thin_want_fill (struct thin *t)
{
  int r = thin_usable (t);

  if (r == 0)
    r = failure (t, &t->work.failed_fill);
  if (r < 0)
    return r;
  t->work.fill = true;
  want (t);
  return -EAGAIN;
}

void
thin_want_checkpoint (struct thin *t)
{
  t->work.checkpoint = true;
  want (t);
}

void
thin_wake_now (struct thin *t)
{
  struct env *env = t->fs.store->env;

  atomic_fetch_add (&t->work.word, 1);
  env->wake (env, &t->work.word);
}

void
thin_wake (struct thin *t)
{
  if (atomic_load (&t->work.wanted) && atomic_exchange (&t->work.wanted, false))
    thin_wake_now (t);
}
