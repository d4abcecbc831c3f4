/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img convert: copy a disk, from one format to the other.  Holes and zeroes
 * are not written; many requests are under way at once.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "img/args.h"
#include "img/batch.h"
#include "img/disk.h"
#include "img/progress.h"
#include "img/say.h"
#include "img/stop.h"
#include "img/target.h"

#define PIECE (UINT64_C (1) << 20) /* bytes of one read */
#define LOAD (UINT64_C (8) << 20)  /* bytes of a load */
#define MAX_PIECES 64
#define MAX_WRITES 256

/* A part of the disk in memory, or a part of that on the target. */
struct piece {
  uint64_t pos, length, addr; /* bytes */
  char *buf;
};

/* What is read together and then written together, while the other load is read. */
struct load {
  struct batch batch;
  struct batch_req reqs[MAX_WRITES];
  char *buf; /* LOAD bytes */
  struct piece read[MAX_PIECES], written[MAX_WRITES];
  unsigned nr_read, nr_written;
};

struct conversion {
  struct disk from;
  struct target to;
  uint64_t store_size; /* of a target that is made, bytes; 0: as it needs */
  struct load load[2];
  uint64_t pos; /* what is before it has been read, or is zero */
};

/* --- reading --- */

static uint64_t
whole_blocks (uint64_t length)
{
  return (length + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

static void
read_piece (struct conversion *c, struct load *load,
            const struct disk_part *part, uint64_t used)
{
  struct piece *piece = &load->read[load->nr_read];

  *piece =
    (struct piece) { c->pos, part->length, part->addr, load->buf + used };
  memset (piece->buf + whole_blocks (part->length) - DISK_BLOCK, 0, DISK_BLOCK);
  batch_add (&load->batch, &load->reqs[load->nr_read++], &c->from.image.at,
             STORE_READ, part->addr, piece->buf, whole_blocks (part->length));
}

/* Have the next data of the disk read, as much as there is room for. */
static int
read_load (struct conversion *c, struct load *load)
{
  struct disk_part part;
  uint64_t used = 0;
  int r = 0;

  load->nr_read = 0;
  while (c->pos < c->from.size && used < LOAD && load->nr_read < MAX_PIECES) {
    r = disk_look (&c->from, c->pos, c->from.size - c->pos, &part);
    if (r < 0)
      break;
    if (part.data) {
      part.length = part.length < PIECE ? part.length : PIECE;
      part.length = part.length < LOAD - used ? part.length : LOAD - used;
      read_piece (c, load, &part, used);
      used += whole_blocks (part.length);
    }
    else
      r = target_zero (&c->to, c->pos, part.length);
    if (r < 0)
      break;
    c->pos += part.length;
  }
  return r;
}

/* --- writing --- */

/* All that was written has been. */
static int
end_load (struct conversion *c, struct load *load)
{
  unsigned i;
  int r = batch_wait (&load->batch);

  if (r < 0)
    return attached_failed (&c->to.image.at, "cannot be written", r);
  for (i = 0; i < load->nr_written && r == 0; i++)
    r = target_written (&c->to, load->written[i].pos, load->written[i].length,
                        load->written[i].addr);
  load->nr_written = 0;
  return r;
}

static int
write_data (struct conversion *c, struct load *load, uint64_t pos, char *buf,
            uint64_t length)
{
  struct piece *piece;
  int r = 0;

  for (; length > 0 && r == 0; pos += piece->length, buf += piece->length) {
    if (load->nr_written == MAX_WRITES)
      r = end_load (c, load);
    piece = &load->written[load->nr_written];
    *piece = (struct piece) { .pos = pos, .length = length, .buf = buf };
    if (r == 0)
      r = target_place (&c->to, pos, &piece->length, &piece->addr);
    if (r < 0)
      break;
    batch_add (&load->batch, &load->reqs[load->nr_written++], &c->to.image.at,
               STORE_WRITE, piece->addr, buf,
               attached_units (&c->to.image.at, piece->length));
    length -= piece->length;
  }
  return r;
}

static bool
is_zero (const char *buf, uint64_t length)
{
  return buf[0] == 0 && memcmp (buf, buf + 1, length - 1) == 0;
}

/* How many bytes of the piece from done on are of one kind, zero or not? */
static uint64_t
same_kind (const struct piece *piece, uint64_t done, bool *zero)
{
  uint64_t n = 0, length = piece->length - done, block;

  do {
    block = length - n < DISK_BLOCK ? length - n : DISK_BLOCK;
    if (n == 0)
      *zero = is_zero (piece->buf + done, block);
    else if (is_zero (piece->buf + done + n, block) != *zero)
      break;
    n += block;
  } while (n < length);
  return n;
}

static int
write_piece (struct conversion *c, struct load *load, const struct piece *piece)
{
  uint64_t done, n;
  bool zero;
  int r = 0;

  for (done = 0; done < piece->length && r == 0; done += n) {
    n = same_kind (piece, done, &zero);
    if (zero)
      r = target_zero (&c->to, piece->pos + done, n);
    else
      r = write_data (c, load, piece->pos + done, piece->buf + done, n);
  }
  return r;
}

/* --- all of it --- */

/* Block by block; what cannot be read is zero. */
static void
salvage_piece (struct conversion *c, const struct piece *piece)
{
  struct image *image = &c->from.image;
  uint64_t done;
  int r;

  for (done = 0; done < piece->length; done += DISK_BLOCK) {
    r = attached_io (&image->at, STORE_READ, 0, piece->addr + done,
                     piece->buf + done, DISK_BLOCK);
    if (r == 0)
      continue;
    memset (piece->buf + done, 0, DISK_BLOCK);
    image->lost++;
    say_error ("%s: cannot be read at byte %" PRIu64 " of the disk: %s",
               image->at.name, piece->pos + done, strerror (-r));
  }
}

static int
copy_load (struct conversion *c, struct load *load)
{
  unsigned i;
  int error, r = end_load (c, load);

  if (r == 0)
    r = read_load (c, load);
  error = batch_wait (&load->batch);
  if (error < 0 && !c->from.image.salvage)
    return attached_failed (&c->from.image.at, "cannot be read", error);
  for (i = 0; i < load->nr_read && error < 0; i++)
    salvage_piece (c, &load->read[i]);
  for (i = 0; i < load->nr_read && r == 0; i++)
    r = write_piece (c, load, &load->read[i]);
  return r;
}

static int
end_loads (struct conversion *c)
{
  int r = end_load (c, &c->load[0]), other = end_load (c, &c->load[1]);

  return r < 0 ? r : other;
}

static int
copy_all (struct conversion *c)
{
  unsigned turn = 0;
  int r = 0;

  while (c->pos < c->from.size && r == 0) {
    r = stop_wanted () ? -EINTR : copy_load (c, &c->load[turn]);
    turn = !turn;
    if (r == 0 && target_is_full (&c->to)) {
      r = end_loads (c);
      r = r < 0 ? r : target_commit (&c->to);
    }
    progress_show (c->pos);
  }
  if (r == 0)
    return end_loads (c);
  batch_wait (&c->load[0].batch); /* what has gone wrong was said */
  batch_wait (&c->load[1].batch);
  return r;
}

static int
convert (struct conversion *c, bool quiet)
{
  unsigned i;
  int r;

  for (i = 0; i < 2; i++) {
    batch_begin (&c->load[i].batch, &c->from.image.at.env);
    if (posix_memalign ((void **) &c->load[i].buf, DISK_BLOCK, LOAD) != 0) {
      c->load[i].buf = NULL;
      say_error ("out of memory");
      return -ENOMEM;
    }
  }
  progress_begin (c->from.size, quiet);
  r = copy_all (c);
  progress_end ();
  if (r == 0 && stop_wanted ())
    r = -EINTR;
  if (r == 0)
    r = image_still (&c->from.image);
  return r < 0 ? r : target_end (&c->to);
}

static int
open_target (struct conversion *c, const struct img_args *args, unsigned format)
{
  struct target_options o = {
    .name = args->operand[1],
    .format = format,
    .size = c->from.size,
    .store_size = c->store_size,
    .force = args_given (args, OPT_FORCE),
  };

  return target_open (&c->to, &o);
}

static int
run (struct conversion *c, const struct img_args *args, unsigned from,
     unsigned to)
{
  unsigned i;
  int r =
    disk_open (&c->from, args->operand[0], from, args->option[OPT_SNAPSHOT],
               args_given (args, OPT_SALVAGE));

  if (r < 0)
    return r;
  r = open_target (c, args, to);
  if (r == 0) {
    r = convert (c, args_given (args, OPT_QUIET));
    target_close (&c->to);
  }
  if (r == 0 && disk_is_damaged (&c->from)) {
    say_error ("%s: what is left was copied; it is not all", args->operand[0]);
    r = -EIO;
  }
  disk_close (&c->from);
  for (i = 0; i < 2; i++)
    free (c->load[i].buf);
  return r;
}

/* What options there are for which format. */
static int
check_options (const struct img_args *args, unsigned from, unsigned to,
               uint64_t *store_size)
{
  if (args_size (args, OPT_STORE_SIZE, 1, INT64_MAX, store_size) < 0)
    return -EINVAL;
  if (args_given (args, OPT_STORE_SIZE) && to != FORMAT_THIN)
    say_error ("convert: --store-size is for -O thin");
  else if (args_given (args, OPT_SNAPSHOT) && from != FORMAT_THIN)
    say_error ("convert: --snapshot is for -f thin; a raw disk has none");
  else if (args_given (args, OPT_SALVAGE) && from != FORMAT_THIN)
    say_error ("convert: --salvage is for -f thin");
  else
    return 0;
  return -EINVAL;
}

int
img_convert (const struct img_args *args)
{
  unsigned from = FORMAT_THIN, to = FORMAT_THIN;
  uint64_t store_size = 0;
  struct conversion *c;
  int r;

  if (!args_given (args, OPT_TO)) {
    say_error ("convert: -O raw or -O thin is needed: what is it to be?");
    return IMG_USAGE;
  }
  if (args_choice (args, OPT_TO, disk_formats, &to) < 0)
    return IMG_USAGE;
  from = to == FORMAT_THIN ? FORMAT_RAW : FORMAT_THIN;
  if (args_choice (args, OPT_FROM, disk_formats, &from) < 0 ||
      check_options (args, from, to, &store_size) < 0)
    return IMG_USAGE;
  c = calloc (1, sizeof *c);
  if (c == NULL) {
    say_error ("out of memory");
    return IMG_FAILED;
  }
  c->store_size = store_size;
  r = run (c, args, from, to);
  free (c);
  return img_status (r);
}
