/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img create: make an empty disk.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs/thin/meta.h"
#include "fs/thin/owner.h"
#include "img/args.h"
#include "img/attached.h"
#include "img/create.h"
#include "img/progress.h"
#include "img/say.h"
#include "img/stop.h"

#define PIECE (UINT64_C (64) << 20) /* bytes that are allocated at once */
#define MESSAGE_MAX 400

/* With all of the disk written at random, its metadata takes less than a part of 32. */
uint64_t
create_store_size (uint64_t disk_size)
{
  uint64_t size = disk_size + disk_size / 32 + (UINT64_C (16) << 20);

  return size < INT64_MAX ? size / THIN_BLOCK * THIN_BLOCK : INT64_MAX;
}

/* Zeroes that keep their space take it. */
static int
preallocate (struct attached *a, bool quiet)
{
  uint64_t size = a->store->geo.size, pos, n;
  int r = 0;

  progress_begin (size, quiet);
  for (pos = 0; pos < size && r == 0; pos += n) {
    n = size - pos < PIECE ? size - pos : PIECE;
    r = stop_wanted () ? -EINTR : attached_io (a, STORE_ZERO, 0, pos, NULL, n);
    progress_show (pos);
  }
  progress_end ();
  return r < 0 && r != -EINTR
           ? attached_failed (a, "its space cannot be allocated", r)
           : r;
}

/* Of an image that is there, and that somebody has open. */
static int
check_owner (struct attached *a)
{
  char text[MESSAGE_MAX] = "";
  const struct store_message why = { text, sizeof text };
  const struct thin_open how = { .readonly = true };
  struct thin_super super;
  struct thin_meta *m;
  int r;

  if (thin_meta_open (a->store, &how, &m, &why) < 0)
    return 0;
  thin_meta_super (m, &super);
  thin_meta_close (m);
  r = thin_owner_other (a->store, super.uuid);
  if (r > 0)
    say_error ("%s: another server has it open", a->name);
  else if (r < 0)
    attached_failed (a, "its owner cannot be told", r);
  return r > 0 ? -EBUSY : r;
}

int
create_image (struct attached *a, uint64_t disk_size)
{
  char text[MESSAGE_MAX] = "";
  const struct store_message why = { text, sizeof text };
  const struct thin_create what = { .disk_bytes = disk_size };
  int r = check_owner (a);

  if (r < 0)
    return r;
  r = thin_create (a->store, &what, &why);
  if (r < 0)
    say_error ("%s: %s", a->name, text);
  return r;
}

static int
make (const struct img_args *args, struct attached *a, uint64_t size)
{
  bool quiet = args_given (args, OPT_QUIET);
  char shown[24];
  int r = 0;

  if (args_given (args, OPT_PREALLOCATE))
    r = preallocate (a, quiet);
  if (r == 0)
    r = create_image (a, size);
  if (r == 0)
    r = stop_wanted () ? -EINTR : attached_keep (a);
  if (r == 0 && !quiet)
    printf ("%s: a disk of %s\n", a->name,
            say_size (shown, sizeof shown, size));
  return r;
}

int
img_create (const struct img_args *args)
{
  uint64_t size = 0, store_size, block_size = THIN_BLOCK;
  struct attached a;
  bool blank;
  int r;

  if (!args_given (args, OPT_SIZE)) {
    say_error ("create: -s SIZE is needed: how large is the disk to be?");
    return IMG_USAGE;
  }
  if (args_size (args, OPT_SIZE, 1, THIN_MAX_DISK, &size) < 0)
    return IMG_USAGE;
  size = (size + THIN_BLOCK - 1) / THIN_BLOCK * THIN_BLOCK;
  store_size = create_store_size (size);
  if (args_size (args, OPT_STORE_SIZE, 1, INT64_MAX, &store_size) < 0 ||
      args_size (args, OPT_BLOCK_SIZE, THIN_BLOCK, THIN_BLOCK, &block_size) < 0)
    return IMG_USAGE;
  r = attached_target (&a, args->operand[0], store_size,
                       args_given (args, OPT_FORCE), &blank);
  if (r < 0)
    return IMG_FAILED;
  r = make (args, &a, size);
  attached_close (&a);
  return img_status (r);
}
