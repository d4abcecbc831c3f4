/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a disk is copied to, in either format.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/io.h"
#include "img/create.h"
#include "img/say.h"
#include "img/target.h"

#define TAKE (UINT64_C (64) << 20) /* bytes of the store taken at once */
#define MAX_MAPPED 50000           /* ranges in one transaction */

/* --- opening --- */

static int
open_raw (struct target *t, const struct target_options *o)
{
  struct attached *at = &t->image.at;
  char has[24], wants[24];
  int r;

  r = attached_target (at, o->name, o->size, o->force, &t->blank);
  if (r < 0 || at->store->geo.size >= o->size)
    return r;
  say_error ("%s: has %s, and the disk %s", at->name,
             say_size (has, sizeof has, at->store->geo.size),
             say_size (wants, sizeof wants, o->size));
  attached_close (at);
  return -ENOSPC;
}

static int
begin_txn (struct target *t)
{
  int r = thin_txn_begin (t->image.meta, &t->txn);

  if (r < 0)
    t->txn = NULL;
  return r < 0 ? image_failed (&t->image, "written", r) : 0;
}

static int
open_thin (struct target *t, const struct target_options *o)
{
  uint64_t size = (t->size + THIN_BLOCK - 1) / THIN_BLOCK * THIN_BLOCK;
  int r =
    attached_target (&t->image.at, o->name,
                     o->store_size ? o->store_size : create_store_size (size),
                     o->force, &t->blank);

  if (r < 0)
    return r;
  t->blank = true; /* the new image, of which no block is anywhere */
  r = create_image (&t->image.at, size);
  t->half = r == 0;
  if (r == 0)
    r = image_begin (&t->image, true);
  if (r == 0)
    r = begin_txn (t);
  if (r < 0)
    target_close (t);
  return r;
}

int
target_open (struct target *t, const struct target_options *o)
{
  int r;

  *t = (struct target) { .format = o->format, .size = o->size };
  r = o->format == FORMAT_THIN ? open_thin (t, o) : open_raw (t, o);
  if (r == 0)
    t->losses = store_losses (t->image.at.store);
  return r;
}

/* --- what is put there --- */

int
target_zero (struct target *t, uint64_t pos, uint64_t length)
{
  struct attached *at = &t->image.at;
  bool trims = at->store->geo.can_trim;
  int r;

  if (t->blank)
    return 0;
  r = attached_io (at, trims ? STORE_TRIM : STORE_ZERO, 0, pos, NULL,
                   attached_units (at, length));
  return r < 0 ? attached_failed (at, "cannot be zeroed", r) : 0;
}

/* From the space that was taken, one range behind the other. */
int
target_place (struct target *t, uint64_t pos, uint64_t *length, uint64_t *addr)
{
  struct thin_range *unused = &t->unused;
  uint64_t blocks = (*length + THIN_BLOCK - 1) / THIN_BLOCK;
  int r;

  *addr = pos;
  if (t->format == FORMAT_RAW)
    return 0;
  if (unused->length == 0) {
    r = thin_meta_take (t->image.meta, TAKE / THIN_BLOCK, unused);
    if (r < 0) {
      unused->length = 0;
      return image_failed (&t->image, "written", r);
    }
  }
  *addr = unused->start * THIN_BLOCK;
  if (blocks > unused->length) {
    blocks = unused->length;
    *length = blocks * THIN_BLOCK;
  }
  unused->start += blocks;
  unused->length -= blocks;
  return 0;
}

int
target_written (struct target *t, uint64_t pos, uint64_t length, uint64_t addr)
{
  int r;

  if (t->format == FORMAT_RAW)
    return 0;
  t->mapped++;
  r = thin_txn_map (t->txn, pos / THIN_BLOCK,
                    (length + THIN_BLOCK - 1) / THIN_BLOCK, addr / THIN_BLOCK,
                    false);
  return r < 0 ? image_failed (&t->image, "written", r) : 0;
}

bool
target_is_full (const struct target *t)
{
  return t->mapped >= MAX_MAPPED;
}

/* Data first. */
static int
commit (struct target *t)
{
  struct thin_txn *txn = t->txn;
  int r = attached_flush (&t->image.at, t->losses);

  if (r < 0 || t->format == FORMAT_RAW)
    return r;
  t->txn = NULL;
  t->mapped = t->unused.length = 0;
  r = thin_txn_commit (txn, NULL, NULL, NULL);
  return r < 0 ? image_failed (&t->image, "written", r) : 0;
}

int
target_commit (struct target *t)
{
  int r = commit (t);

  return r < 0 || t->format == FORMAT_RAW ? r : begin_txn (t);
}

/* --- the end --- */

int
target_end (struct target *t)
{
  int r = commit (t);

  if (r == 0)
    r = attached_keep (&t->image.at);
  t->half &= r < 0;
  return r;
}

/* Half of a disk is none. */
static void
wipe (struct attached *at)
{
  void *zeroes = thin_io_alloc (1);

  if (zeroes == NULL ||
      thin_io_write (at->store, THIN_SUPER_A, zeroes, 1) < 0 ||
      thin_io_write (at->store, THIN_SUPER_B, zeroes, 1) < 0 ||
      thin_io_flush (at->store) < 0)
    say_error ("%s: holds a disk that is not whole", at->name);
  free (zeroes);
}

void
target_close (struct target *t)
{
  struct attached *at = &t->image.at;

  if (t->txn)
    thin_txn_abort (t->txn);
  if (t->half && at->part == NULL)
    wipe (at);
  image_close (&t->image);
}
