/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img map: what stands where, and at which place of the store.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "img/args.h"
#include "img/image.h"
#include "img/json.h"
#include "img/say.h"
#include "img/stop.h"

static const char *
name_of (enum iomap_type type)
{
  return type == IOMAP_MAPPED      ? "mapped"
         : type == IOMAP_UNWRITTEN ? "unwritten"
                                   : "hole";
}

static int
print_json (const struct thin_extent *e)
{
  json_t *json = json_pack (
    "{s:I, s:I, s:s}", "start", (json_int_t) (e->logical * THIN_BLOCK),
    "length", (json_int_t) (e->length * THIN_BLOCK), "type", name_of (e->type));

  if (json && e->type != IOMAP_HOLE) {
    json_object_set_new (
      json, "address", json_integer ((json_int_t) (e->physical * THIN_BLOCK)));
    json_object_set_new (json, "shared", json_boolean (e->shared));
  }
  return json_print_element (json, e->logical == 0);
}

static int
print_text (const struct thin_extent *e)
{
  if (e->logical == 0)
    printf ("%16s %16s %-9s %16s\n", "START", "LENGTH", "TYPE", "ADDRESS");
  printf ("%16" PRIu64 " %16" PRIu64 " %-9s", e->logical * THIN_BLOCK,
          e->length * THIN_BLOCK, name_of (e->type));
  if (e->type != IOMAP_HOLE)
    printf (" %16" PRIu64 "%s", e->physical * THIN_BLOCK,
            e->shared ? " shared" : "");
  putchar ('\n');
  return ferror (stdout) ? -EIO : 0;
}

/* Does b go on where a ends, saying the same? */
static bool
is_same (const struct thin_extent *a, const struct thin_extent *b)
{
  return a->type == b->type && a->shared == b->shared &&
         (a->type == IOMAP_HOLE || a->physical + a->length == b->physical);
}

/* Parts of which the same is said are one line. */
static int
print_map (struct image *image, const struct thin_snapshot *snapshot,
           uint64_t blocks, bool json)
{
  int (*print) (const struct thin_extent *) = json ? print_json : print_text;
  struct thin_extent e, all = { 0 };
  uint64_t pos;
  int r = 0;

  for (pos = 0; pos < blocks && r == 0; pos += e.length) {
    r = stop_wanted () ? -EINTR
                       : image_look (image, snapshot, pos, blocks - pos, &e);
    if (r < 0)
      return r;
    if (pos > 0 && is_same (&all, &e))
      all.length += e.length;
    else {
      r = pos > 0 ? print (&all) : 0;
      all = e;
    }
  }
  if (r == 0 && blocks > 0)
    r = print (&all);
  if (json)
    json_print_end (blocks == 0);
  return r;
}

static int
map (struct image *image, const struct img_args *args)
{
  const char *name = args->option[OPT_SNAPSHOT];
  struct thin_snapshot snapshot;
  struct thin_super super;
  uint64_t bytes;
  int r = name ? image_snapshot (image, name, &snapshot) : 0;

  if (r < 0)
    return r;
  thin_meta_super (image->meta, &super);
  bytes = name ? snapshot.disk_bytes : super.disk_bytes;
  r = print_map (image, name ? &snapshot : NULL, bytes / THIN_BLOCK,
                 args_given (args, OPT_JSON));
  return r < 0 ? r : image_still (image);
}

int
img_map (const struct img_args *args)
{
  struct image image;
  int r = image_open (&image, args->operand[0], false);

  if (r < 0)
    return IMG_FAILED;
  r = map (&image, args);
  image_close (&image);
  return img_status (r);
}
