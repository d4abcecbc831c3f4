/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The list of zeroes and trims that are not flushed yet.
 */

#include <string.h>

#include "cache/mapping.h"

void
zeroes_init (struct zeroes *zeroes)
{
  memset (zeroes, 0, sizeof *zeroes);
  pthread_mutex_init (&zeroes->lock, NULL);
  pthread_mutex_init (&zeroes->redo_lock, NULL);
}

void
zeroes_destroy (struct zeroes *zeroes)
{
  pthread_mutex_destroy (&zeroes->redo_lock);
  pthread_mutex_destroy (&zeroes->lock);
}

/* Can the new one go on where `old' ends? */
static bool
extends (const struct zero_op *old, const struct zero_op *new)
{
  return old->offset + old->length == new->offset && old->flags == new->flags &&
         old->trim == new->trim && !old->flushing;
}

bool
zeroes_add (struct zeroes *zeroes, const struct zero_op *op)
{
  struct zero_op *last = NULL;
  bool ok = true;

  pthread_mutex_lock (&zeroes->lock);
  if (zeroes->n > 0)
    last = &zeroes->op[zeroes->n - 1];
  if (last && extends (last, op))
    last->length += op->length;
  else if (zeroes->n < MAX_ZEROES)
    zeroes->op[zeroes->n++] = *op;
  else
    ok = false;
  pthread_mutex_unlock (&zeroes->lock);
  return ok;
}

bool
zeroes_overlap (struct zeroes *zeroes, uint64_t offset, uint64_t length)
{
  bool found = false;
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < zeroes->n && !found; i++)
    found = zeroes->op[i].offset < offset + length &&
            offset < zeroes->op[i].offset + zeroes->op[i].length;
  pthread_mutex_unlock (&zeroes->lock);
  return found;
}

void
zeroes_flush_begin (struct zeroes *zeroes)
{
  unsigned i;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < zeroes->n; i++)
    zeroes->op[i].flushing = true;
  pthread_mutex_unlock (&zeroes->lock);
}

void
zeroes_flush_end (struct zeroes *zeroes, int error)
{
  unsigned i, kept = 0;

  pthread_mutex_lock (&zeroes->lock);
  for (i = 0; i < zeroes->n; i++) {
    if (zeroes->op[i].flushing && error == 0)
      continue;
    zeroes->op[kept] = zeroes->op[i];
    zeroes->op[kept++].flushing = false;
  }
  zeroes->n = kept;
  if (error && kept > 0)
    atomic_store (&zeroes->redo, true);
  pthread_mutex_unlock (&zeroes->lock);
}

static int
redo_one (struct mapping *mapping, const struct zero_op *op)
{
  struct range range = { .start = op->offset, .end = op->offset + op->length };
  int r;

  ranges_add_wait (&mapping->ranges, &range);
  /* What was written over it since must go out after it. */
  mapping_redirty_range (mapping, range.start, range.end);
  r = mapping->fs->ops->zero (mapping->fs, op->offset, op->length, op->flags,
                              op->trim);
  mapping_end_range (mapping, &range);
  return r;
}

/* With redo set no flush begins, so the list only grows at its end. */
static int
redo_all (struct mapping *mapping)
{
  struct zeroes *zeroes = &mapping->zeroes;
  struct zero_op op;
  unsigned i;
  bool more;
  int r = 0;

  for (i = 0; r == 0; i++) {
    pthread_mutex_lock (&zeroes->lock);
    more = i < zeroes->n;
    if (more)
      op = zeroes->op[i];
    else
      atomic_store (&zeroes->redo, false);
    pthread_mutex_unlock (&zeroes->lock);
    if (!more)
      break;
    r = redo_one (mapping, &op);
  }
  return r;
}

int
zeroes_redo (struct mapping *mapping)
{
  struct zeroes *zeroes = &mapping->zeroes;
  int r = 0;

  if (!atomic_load (&zeroes->redo))
    return 0;
  pthread_mutex_lock (&zeroes->redo_lock);
  if (atomic_load (&zeroes->redo)) {
    r = redo_all (mapping);
    writeback_note_unflushed (mapping);
    writeback_kick (mapping);
  }
  pthread_mutex_unlock (&zeroes->redo_lock);
  return r;
}
