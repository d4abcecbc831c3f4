/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk to be read, in either format.
 */

#include <errno.h>
#include <stddef.h>

#include "img/disk.h"
#include "img/say.h"

const char *const disk_formats[] = { "raw", "thin", NULL };

/* --- raw --- */

struct answer {
  uint64_t pos, end; /* what is known: pos moves on */
  bool data, over;
};

/* Neighbours of one kind are one part. */
static void
take_run (void *opaque, uint64_t offset, uint64_t length,
          enum store_extent type)
{
  struct answer *answer = opaque;
  bool data = type == STORE_DATA;

  if (answer->end > answer->pos && answer->data != data)
    answer->over = true;
  if (answer->over)
    return;
  answer->data = data;
  answer->end = offset + length;
}

/* Requests are of whole blocks: what is data in part is data. */
static void
round_part (struct disk_part *part, uint64_t length)
{
  uint64_t rest = part->length % DISK_BLOCK;

  if (rest == 0 || part->length == length)
    return;
  part->length -= rest;
  if (part->data || part->length == 0)
    part->length += DISK_BLOCK;
  part->data |= part->length == DISK_BLOCK && rest;
  if (part->length > length)
    part->length = length;
}

static int
look_raw (struct disk *d, uint64_t pos, uint64_t length, struct disk_part *part)
{
  struct store *store = d->image.at.store;
  struct answer answer = { .pos = pos, .end = pos };
  int r;

  *part = (struct disk_part) { length, true, pos };
  if (!store->geo.can_extents)
    return 0;
  r = store->ops->block_status (store, pos, length, take_run, &answer);
  if (r < 0)
    return attached_failed (&d->image.at, "cannot be asked for holes", r);
  if (answer.end <= pos) /* it knows nothing */
    return 0;
  part->data = answer.data;
  if (answer.end - pos < length)
    part->length = answer.end - pos;
  round_part (part, length);
  return 0;
}

/* --- thin --- */

static int
open_thin (struct disk *d, const char *name, const char *snapshot, bool salvage)
{
  struct thin_super super;
  int r = salvage ? image_salvage (&d->image, name)
                  : image_open (&d->image, name, false);

  if (r < 0)
    return r;
  thin_meta_super (d->image.meta, &super);
  d->size = super.disk_bytes;
  if (snapshot == NULL && d->image.log_gaps > 0)
    say_error ("%s: its log is damaged: some of what was written last is as it "
               "was before",
               name);
  if (snapshot == NULL)
    return 0;
  r = image_snapshot (&d->image, snapshot, &d->snapshot);
  if (r < 0) {
    image_close (&d->image);
    return r;
  }
  d->is_snapshot = true;
  d->size = d->snapshot.disk_bytes;
  return 0;
}

static int
look_thin (struct disk *d, uint64_t pos, uint64_t length,
           struct disk_part *part)
{
  uint64_t blocks = (length + THIN_BLOCK - 1) / THIN_BLOCK;
  struct thin_extent e;
  int r = image_look (&d->image, d->is_snapshot ? &d->snapshot : NULL,
                      pos / THIN_BLOCK, blocks, &e);

  if (r < 0)
    return r;
  *part = (struct disk_part) {
    .length = e.length < blocks ? e.length * THIN_BLOCK : length,
    .data = e.type == IOMAP_MAPPED,
    .addr = e.physical * THIN_BLOCK,
  };
  return 0;
}

/* --- both --- */

static int
open_raw (struct disk *d, const char *name, const char *snapshot)
{
  int r;

  if (snapshot) {
    say_error ("%s: a raw disk has no snapshots", name);
    return -EINVAL;
  }
  r = attached_open (&d->image.at, name, true);
  if (r == 0)
    d->size = d->image.at.store->geo.size;
  return r;
}

int
disk_open (struct disk *d, const char *name, enum img_format format,
           const char *snapshot, bool salvage)
{
  *d = (struct disk) { .format = format };
  return format == FORMAT_THIN ? open_thin (d, name, snapshot, salvage)
                               : open_raw (d, name, snapshot);
}

bool
disk_is_damaged (const struct disk *d)
{
  return d->image.lost > 0 || (d->image.log_gaps > 0 && !d->is_snapshot);
}

int
disk_look (struct disk *d, uint64_t pos, uint64_t length,
           struct disk_part *part)
{
  return d->format == FORMAT_THIN ? look_thin (d, pos, length, part)
                                  : look_raw (d, pos, length, part);
}

void
disk_close (struct disk *d)
{
  image_close (&d->image);
}
