/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img info: what a thin image is, and how full.
 */

#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "img/args.h"
#include "img/image.h"
#include "img/json.h"
#include "img/say.h"

static void
format_uuid (char *buf, const uint8_t *uuid)
{
  int i;

  for (i = 0; i < 16; i++)
    buf += sprintf (buf, "%s%02x",
                    i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static int
print_json (const struct image *image, const struct thin_super *s)
{
  char uuid[37];

  format_uuid (uuid, s->uuid);
  return json_print (json_pack (
    "{s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
    "format", "thin", "disk-size", (json_int_t) s->disk_bytes, "block-size",
    (json_int_t) 1 << s->block_shift, "uuid", uuid, "generation",
    (json_int_t) s->generation, "store-size",
    (json_int_t) image->at.store->geo.size, "store-used-size",
    (json_int_t) (s->store_blocks * THIN_BLOCK), "log-size",
    (json_int_t) (s->log_blocks * THIN_BLOCK), "data-size",
    (json_int_t) (s->mapped * THIN_BLOCK), "unwritten-size",
    (json_int_t) (s->unwritten * THIN_BLOCK), "free-size",
    (json_int_t) (s->free_blocks * THIN_BLOCK), "metadata-size",
    (json_int_t) (s->metadata_blocks * THIN_BLOCK), "snapshots",
    (json_int_t) s->snapshot_count, "log-entries",
    (json_int_t) image->log_entries));
}

static void
print_line (const char *what, uint64_t bytes)
{
  char shown[24];

  printf ("%-16s%s\n", what, say_size (shown, sizeof shown, bytes));
}

static void
print_text (const struct image *image, const struct thin_super *s)
{
  char uuid[37];

  format_uuid (uuid, s->uuid);
  printf ("%-16s%s\n", "store:", image->at.name);
  printf ("%-16s%s\n", "uuid:", uuid);
  print_line ("disk:", s->disk_bytes);
  print_line ("store size:", image->at.store->geo.size);
  print_line ("data:", s->mapped * THIN_BLOCK);
  print_line ("unwritten:", s->unwritten * THIN_BLOCK);
  print_line ("free:", s->free_blocks * THIN_BLOCK);
  print_line ("metadata:", s->metadata_blocks * THIN_BLOCK);
  print_line ("log:", s->log_blocks * THIN_BLOCK);
  printf ("%-16s%" PRIu64 "\n", "snapshots:", s->snapshot_count);
  printf ("%-16s%" PRIu64 "\n", "generation:", s->generation);
  if (image->log_entries)
    printf ("%-16s%" PRIu64
            " changes that the next server puts in their place\n",
            "in the log:", image->log_entries);
}

int
img_info (const struct img_args *args)
{
  struct image image;
  struct thin_super super;
  int r = image_open (&image, args->operand[0], false);

  if (r < 0)
    return IMG_FAILED;
  thin_meta_super (image.meta, &super);
  if (args_given (args, OPT_JSON))
    r = print_json (&image, &super);
  else
    print_text (&image, &super);
  image_close (&image);
  return img_status (r);
}
