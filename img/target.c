/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a disk is copied to, in either format.
 */

#include <errno.h>
#include <inttypes.h>

#include "img/say.h"
#include "img/target.h"

/* --- opening --- */

static int
refuse_held (struct target *t)
{
  say_error ("%s: it holds something already; with --force that is "
             "overwritten",
             t->at.name);
  return -EEXIST;
}

static int
open_there (struct target *t, const struct target_options *o)
{
  int r = attached_open (&t->at, o->name, false);

  if (r < 0)
    return r;
  r = attached_blank (&t->at);
  t->blank = r == 1;
  if (r == 0 && !o->force)
    r = refuse_held (t);
  if (r < 0)
    attached_close (&t->at);
  return r < 0 ? r : 0;
}

static int
check_room (struct target *t)
{
  char has[24], wants[24];

  if (t->at.store->geo.size >= t->size)
    return 0;
  say_error ("%s: has %s, and the disk %s", t->at.name,
             say_size (has, sizeof has, t->at.store->geo.size),
             say_size (wants, sizeof wants, t->size));
  return -ENOSPC;
}

int
target_open (struct target *t, const struct target_options *o)
{
  int r;

  *t = (struct target) { .format = o->format, .size = o->size };
  if (attached_missing (o->name)) {
    r = attached_make (&t->at, o->name, o->size);
    t->blank = true;
  }
  else
    r = open_there (t, o);
  if (r < 0)
    return r;
  r = check_room (t);
  if (r < 0)
    attached_close (&t->at);
  else
    t->losses = store_losses (t->at.store);
  return r;
}

/* --- what is put there --- */

int
target_zero (struct target *t, uint64_t pos, uint64_t length)
{
  bool trims = t->at.store->geo.can_trim;
  int r;

  if (t->blank)
    return 0;
  r = attached_io (&t->at, trims ? STORE_TRIM : STORE_ZERO, 0, pos, NULL,
                   attached_units (&t->at, length));
  return r < 0 ? attached_failed (&t->at, "cannot be zeroed", r) : 0;
}

int
target_place (struct target *t, uint64_t pos, uint64_t *length, uint64_t *addr)
{
  (void) t;
  (void) length;
  *addr = pos;
  return 0;
}

int
target_written (struct target *t, uint64_t pos, uint64_t length, uint64_t addr)
{
  (void) t;
  (void) pos;
  (void) length;
  (void) addr;
  return 0;
}

/* --- the end --- */

static int
flush (struct target *t)
{
  int r = attached_io (&t->at, STORE_FLUSH, 0, 0, NULL, 0);

  if (r < 0)
    return attached_failed (&t->at, "cannot be flushed", r);
  if (store_losses (t->at.store) == t->losses)
    return 0;
  say_error ("%s: its server was restarted meanwhile, and may have lost what "
             "was written; begin again",
             t->at.name);
  return -ECONNRESET;
}

int
target_end (struct target *t)
{
  int r = flush (t);

  return r < 0 ? r : attached_keep (&t->at);
}

void
target_close (struct target *t)
{
  attached_close (&t->at);
}
