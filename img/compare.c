/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img compare: do two disks hold the same?
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img/args.h"
#include "img/batch.h"
#include "img/disk.h"
#include "img/progress.h"
#include "img/say.h"
#include "img/stop.h"

#define CHUNK (UINT64_C (4) << 20) /* bytes read at once of either */

struct comparison {
  struct disk disk[2];
  struct batch batch;
  char *buf[2]; /* CHUNK bytes */
};

/* Have the part's first n bytes read, or zeroes. */
static void
fetch (struct comparison *c, int i, const struct disk_part *part, uint64_t n,
       struct batch_req *req)
{
  uint64_t whole = (n + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;

  if (part->data)
    batch_add (&c->batch, req, &c->disk[i].image.at, STORE_READ, part->addr,
               c->buf[i], whole);
  else
    memset (c->buf[i], 0, n);
}

static uint64_t
first_difference (const char *a, const char *b, uint64_t n)
{
  uint64_t i;

  for (i = 0; i < n && a[i] == b[i]; i++)
    ;
  return i;
}

/* Compare n bytes from pos on.  Returns 0; 1, and has said that they differ; or a
 * negative errno, and has said why.
 */
static int
compare_chunk (struct comparison *c, uint64_t pos, uint64_t n,
               const struct disk_part *parts)
{
  struct batch_req reqs[2];
  uint64_t same;
  int i, r;

  for (i = 0; i < 2; i++)
    fetch (c, i, &parts[i], n, &reqs[i]);
  r = batch_wait (&c->batch);
  if (r < 0) {
    say_error ("cannot be read at byte %" PRIu64 ": %s", pos, strerror (-r));
    return r;
  }
  if (memcmp (c->buf[0], c->buf[1], n) == 0)
    return 0;
  same = first_difference (c->buf[0], c->buf[1], n);
  printf ("different at byte %" PRIu64 "\n", pos + same);
  return 1;
}

/* What both parts are, as far as neither ends.  Returns as compare_chunk. */
static int
look_at_both (struct comparison *c, uint64_t pos, struct disk_part *parts,
              uint64_t *length)
{
  uint64_t n = c->disk[0].size - pos;
  int i, r;

  for (i = 0; i < 2; i++) {
    r = disk_look (&c->disk[i], pos, n, &parts[i]);
    if (r < 0)
      return r;
    n = parts[i].length < n ? parts[i].length : n;
  }
  if ((parts[0].data || parts[1].data) && n > CHUNK)
    n = CHUNK;
  *length = n;
  return 0;
}

static int
compare_all (struct comparison *c)
{
  struct disk_part parts[2];
  uint64_t pos, n, size = c->disk[0].size;
  int r = 0;

  for (pos = 0; pos < size && r == 0; pos += n) {
    if (stop_wanted ())
      return -EINTR;
    progress_show (pos);
    r = look_at_both (c, pos, parts, &n);
    if (r == 0 && (parts[0].data || parts[1].data))
      r = compare_chunk (c, pos, n, parts);
  }
  return r;
}

static int
compare (struct comparison *c, bool quiet)
{
  int i, r;

  if (c->disk[0].size != c->disk[1].size) {
    printf ("different sizes: %" PRIu64 " and %" PRIu64 " bytes\n",
            c->disk[0].size, c->disk[1].size);
    return 1;
  }
  for (i = 0; i < 2; i++)
    if (posix_memalign ((void **) &c->buf[i], DISK_BLOCK, CHUNK) != 0) {
      c->buf[i] = NULL;
      say_error ("out of memory");
      return -ENOMEM;
    }
  batch_begin (&c->batch, &c->disk[0].image.at.env);
  progress_begin (c->disk[0].size, quiet);
  r = compare_all (c);
  progress_end ();
  for (i = 0; i < 2 && r >= 0; i++)
    if (image_still (&c->disk[i].image) < 0)
      r = -EBUSY;
  if (r == 0 && !quiet)
    puts ("the same");
  return r;
}

static int
open_both (struct comparison *c, const struct img_args *args)
{
  unsigned format[2] = { FORMAT_THIN, FORMAT_THIN };
  int r;

  if (args_choice (args, OPT_FROM, disk_formats, &format[0]) < 0 ||
      args_choice (args, OPT_OTHER, disk_formats, &format[1]) < 0)
    return -EINVAL;
  r = disk_open (&c->disk[0], args->operand[0], format[0],
                 args->option[OPT_SNAPSHOT], false);
  if (r < 0)
    return r;
  r = disk_open (&c->disk[1], args->operand[1], format[1], NULL, false);
  if (r < 0)
    disk_close (&c->disk[0]);
  return r;
}

int
img_compare (const struct img_args *args)
{
  struct comparison c = { 0 };
  int i, r = open_both (&c, args);

  if (r < 0)
    return IMG_USAGE; /* not what a difference is */
  r = compare (&c, args_given (args, OPT_QUIET));
  for (i = 0; i < 2; i++) {
    disk_close (&c.disk[i]);
    free (c.buf[i]);
  }
  return r == -EINTR ? IMG_STOPPED
         : r < 0     ? IMG_USAGE
         : r         ? IMG_FAILED
                     : IMG_OK;
}
