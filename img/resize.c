/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img resize: another size for a disk, or more of its store.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "img/args.h"
#include "img/image.h"
#include "img/say.h"

/* What is cut off is gone. */
static int
check_shrink (const struct img_args *args, const struct thin_super *super,
              uint64_t size)
{
  char was[24];

  if (size >= super->disk_bytes || args_given (args, OPT_FORCE))
    return 0;
  say_error ("%s: the disk has %s; with --force it is cut off, and what is "
             "behind is lost",
             args->operand[0], say_size (was, sizeof was, super->disk_bytes));
  return -EINVAL;
}

/* The store may have grown, too. */
static int
change (struct image *image, const struct thin_super *super, uint64_t size)
{
  uint64_t blocks = image->at.store->geo.size / THIN_BLOCK;
  struct thin_txn *t;
  int r = thin_txn_begin (image->meta, &t);

  if (r < 0)
    return r;
  if (blocks > super->store_blocks)
    r = thin_txn_grow (t, blocks);
  if (r == 0 && size != super->disk_bytes)
    r = thin_txn_resize (t, size);
  if (r < 0) {
    thin_txn_abort (t);
    return r;
  }
  return thin_txn_commit (t, NULL, NULL, NULL);
}

/* size: bytes; 0: as it is. */
static int
resize (struct image *image, const struct img_args *args, uint64_t size)
{
  struct thin_super super;
  char shown[24];
  int r;

  thin_meta_super (image->meta, &super);
  if (size == 0)
    size = super.disk_bytes;
  size = (size + THIN_BLOCK - 1) / THIN_BLOCK * THIN_BLOCK;
  r = check_shrink (args, &super, size);
  if (r < 0)
    return r;
  r = change (image, &super, size);
  if (r < 0)
    return image_failed (image, "resized", r);
  if (!args_given (args, OPT_QUIET))
    printf ("%s: a disk of %s\n", image->at.name,
            say_size (shown, sizeof shown, size));
  return 0;
}

int
img_resize (const struct img_args *args)
{
  struct image image;
  uint64_t size = 0;
  int r;

  if (args->operands > 1 &&
      args_size_of ("SIZE", args->operand[1], 1, THIN_MAX_DISK, &size) < 0)
    return IMG_USAGE;
  r = image_open (&image, args->operand[0], true);
  if (r < 0)
    return IMG_FAILED;
  r = resize (&image, args, size);
  image_close (&image);
  return img_status (r);
}
