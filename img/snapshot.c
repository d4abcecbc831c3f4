/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img snapshot: make, list, delete and go back to snapshots of a disk that is
 * not served.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "img/args.h"
#include "img/image.h"
#include "img/json.h"
#include "img/say.h"

/* --- list --- */

static int
print_json (const struct thin_snapshot *s, uint64_t own, bool first)
{
  return json_print_element (
    json_pack ("{s:s, s:I, s:I, s:I, s:I, s:I}", "name", s->name, "created",
               (json_int_t) s->created, "disk-size", (json_int_t) s->disk_bytes,
               "data-size", (json_int_t) (s->mapped * THIN_BLOCK),
               "unwritten-size", (json_int_t) (s->unwritten * THIN_BLOCK),
               "own-size", (json_int_t) (own * THIN_BLOCK)),
    first);
}

static void
print_text (const struct thin_snapshot *s, uint64_t own, bool first)
{
  char size[24], data[24], owned[24], when[24] = "?";
  time_t created = (time_t) s->created;
  struct tm tm;

  if (first)
    printf ("%-19s  %10s %10s %10s  %s\n", "CREATED", "DISK", "DATA", "OWN",
            "NAME");
  if (localtime_r (&created, &tm))
    strftime (when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
  printf ("%-19s  %10s %10s %10s  %s\n", when,
          say_size (size, sizeof size, s->disk_bytes),
          say_size (data, sizeof data, s->mapped * THIN_BLOCK),
          say_size (owned, sizeof owned, own * THIN_BLOCK), s->name);
}

static int
list (struct image *image, const struct img_args *args)
{
  bool json = args_given (args, OPT_JSON);
  struct thin_snapshot *all;
  uint64_t own;
  size_t n, i;
  int r = thin_snapshot_list (image->meta, &all, &n);

  if (r < 0)
    return image_failed (image, "listed", r);
  for (i = 0; i < n && r == 0; i++) {
    r = thin_snapshot_usage (image->meta, &all[i], &own);
    if (r < 0)
      image_failed (image, "looked up", r);
    else if (json)
      r = print_json (&all[i], own, i == 0);
    else
      print_text (&all[i], own, i == 0);
  }
  if (json)
    json_print_end (n == 0);
  free (all);
  return r;
}

/* --- what changes something --- */

static int
create (struct image *image, const char *name)
{
  return thin_snapshot_create (image->meta, name, (uint64_t) time (NULL));
}

static int delete (struct image *image, const char *name)
{
  return thin_snapshot_delete (image->meta, name);
}

static int
revert (struct image *image, const char *name)
{
  return thin_snapshot_revert (image->meta, name);
}

static const struct {
  const char *name;
  int operands;
  int (*run) (struct image *image, const char *name);
} actions[] = {
  { "create", 3, create },
  { "list", 2, NULL },
  { "delete", 3, delete },
  { "revert", 3, revert },
};

static int
explain (const struct image *image, const char *action, const char *name, int r)
{
  const char *why = r == -EEXIST   ? "there is one of that name"
                    : r == -ENOENT ? "there is none of that name"
                    : r == -EINVAL ? "that is no name; allowed: 1 to 63 bytes "
                                     "without '/' and control characters"
                                   : strerror (-r);

  if (r < 0)
    say_error ("%s: snapshot %s %s: %s", image->at.name, action, name, why);
  return r;
}

static int
act (size_t i, const struct img_args *args)
{
  const char *name = args->operand[1];
  struct image image;
  int r = image_open (&image, args->operand[actions[i].operands - 1],
                      actions[i].run != NULL);

  if (r < 0)
    return r;
  if (actions[i].run)
    r = explain (&image, actions[i].name, name, actions[i].run (&image, name));
  else
    r = list (&image, args);
  image_close (&image);
  return r;
}

int
img_snapshot (const struct img_args *args)
{
  size_t i;

  for (i = 0; i < sizeof actions / sizeof *actions; i++)
    if (strcmp (args->operand[0], actions[i].name) == 0 &&
        args->operands == actions[i].operands)
      return img_status (act (i, args));
  say_error ("snapshot: it takes: %s", args->command->synopsis);
  return IMG_USAGE;
}
