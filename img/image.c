/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thin image that is open.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "fs/thin/offline.h"
#include "img/image.h"
#include "img/img.h"
#include "img/say.h"

#define MESSAGE_MAX 400

int
image_failed (const struct image *image, const char *what, int error)
{
  say_error ("%s: cannot be %s: %s", image->at.name, what, strerror (-error));
  return error;
}

static void
ring (void *opaque)
{
  struct image *image = opaque;

  attached_ring (&image->at);
}

/* The loop thread: see that the image is still ours, and say so.  If it is not, nothing more is to
 * be written, whatever is under way.
 */
static void
beat (void *opaque)
{
  struct image *image = opaque;
  struct env *env = image->at.store->env;

  if (!atomic_load (&image->owner.taken) ||
      thin_owner_step (&image->owner, env->now (env)) == 0)
    return;
  say_error ("%s: another program has taken it meanwhile", image->at.name);
  _exit (IMG_FAILED);
}

static int
begin_reading (struct image *image)
{
  char text[MESSAGE_MAX] = "";
  const struct store_message why = { text, sizeof text };
  struct thin_super super;
  int r;

  thin_meta_super (image->meta, &super);
  r = thin_reader_begin (&image->reader, image->at.store, super.uuid, &why);
  if (r < 0)
    say_error ("%s: %s", image->at.name, text[0] ? text : strerror (-r));
  image->reading = r == 0;
  return r;
}

int
image_still (struct image *image)
{
  int r = image->reading ? thin_reader_still (&image->reader) : 0;

  if (r < 0)
    say_error ("%s: %s", image->at.name,
               r == -EBUSY ? "another program has written to it meanwhile"
                           : strerror (-r));
  return r;
}

static int
take (struct image *image)
{
  char text[MESSAGE_MAX] = "";
  const struct store_message why = { text, sizeof text };
  struct thin_super super;
  int r;

  thin_meta_super (image->meta, &super);
  image->owner.ring = ring;
  image->owner.opaque = image;
  image->at.opaque = image;
  atomic_store (&image->at.tick, beat);
  r = thin_owner_take (&image->owner, image->at.store, super.uuid, &why);
  if (r < 0) {
    say_error ("%s: %s", image->at.name, text[0] ? text : strerror (-r));
    return r;
  }
  image->owned = true;
  return 0;
}

/* Returns r, having said why if it is an error. */
static int
log_seen (const struct image *image, int r)
{
  if (r < 0)
    say_error ("%s: its log cannot be replayed: %s", image->at.name,
               strerror (-r));
  return r;
}

/* A damaged one as far as it can be. */
static int
collect_log (struct image *image)
{
  int r = thin_log_collect (image->meta, image->at.store, &image->log,
                            &image->log_entries);

  if (r != -EIO)
    return r;
  range_map_clear (&image->log);
  return thin_log_salvage (image->meta, image->at.store, &image->log,
                           &image->log_entries, &image->log_gaps);
}

static int
open_meta (struct image *image, bool writing)
{
  char text[MESSAGE_MAX] = "";
  const struct store_message why = { text, sizeof text };
  const struct thin_open how = { .readonly = !writing };
  int r = thin_meta_open (image->at.store, &how, &image->meta, &why);

  if (r < 0)
    say_error ("%s: %s", image->at.name, text[0] ? text : strerror (-r));
  return r;
}

/* Before it was ours, another may have changed what was read. */
static int
open_again (struct image *image, bool writing)
{
  int r = writing ? take (image) : begin_reading (image);

  if (r < 0)
    return r;
  thin_meta_close (image->meta);
  image->meta = NULL;
  return open_meta (image, writing);
}

int
image_begin_as_is (struct image *image, bool writing)
{
  int r;

  range_nodes_init (&image->nodes);
  range_map_init (&image->log, &image->nodes);
  r = open_meta (image, writing);
  if (r == 0)
    r = open_again (image, writing);
  return r < 0 ? r : log_seen (image, collect_log (image));
}

/* What the server that was there last had no time for. */
int
image_settle (struct image *image)
{
  range_map_clear (&image->log);
  return log_seen (
    image, thin_log_settle (image->meta, image->at.store, &image->log_entries));
}

int
image_begin (struct image *image, bool writing)
{
  int r = image_begin_as_is (image, writing);

  if (r == 0 && image->log_gaps > 0) {
    say_error ("%s: its log is damaged; convert --salvage copies what is left",
               image->at.name);
    return -EIO;
  }
  return r < 0 || !writing ? r : image_settle (image);
}

int
image_salvage (struct image *image, const char *name)
{
  int r;

  *image = (struct image) { .salvage = true };
  r = attached_open (&image->at, name, true);
  if (r == 0)
    r = image_begin_as_is (image, false);
  if (r < 0)
    image_close (image);
  return r;
}

int
image_open (struct image *image, const char *name, bool writing)
{
  int r;

  *image = (struct image) { 0 };
  r = attached_open (&image->at, name, !writing);
  if (r == 0)
    r = image_begin (image, writing);
  if (r < 0)
    image_close (image);
  return r;
}

void
image_close (struct image *image)
{
  if (image->owned && thin_owner_release (&image->owner) < 0)
    say_error ("%s: who opens it next has to wait a little", image->at.name);
  atomic_store (&image->at.tick, NULL);
  if (image->meta)
    thin_meta_close (image->meta);
  image->meta = NULL;
  range_map_clear (&image->log);
  range_nodes_destroy (&image->nodes);
  attached_close (&image->at); /* no look any more */
  thin_owner_destroy (&image->owner);
  thin_reader_destroy (&image->reader);
  image->owned = false;
}

/* What a damaged node has had is a hole. */
static int
leave_out (struct image *image, const struct thin_root *root, uint64_t logical,
           uint64_t length, struct thin_extent *e)
{
  uint64_t end = thin_lost_until (image->meta, root, logical);

  if (length > end - logical)
    length = end - logical;
  *e = (struct thin_extent) { logical, length, IOMAP_HOLE, 0, false };
  image->lost++;
  say_error ("%s: it is not known where bytes %" PRIu64 " to %" PRIu64 " are",
             image->at.name, logical * THIN_BLOCK,
             (logical + length) * THIN_BLOCK - 1);
  return 0;
}

/* Who rescues something does not ask who shares it, but of the disk's tree by its root. */
int
image_look (struct image *image, const struct thin_snapshot *snapshot,
            uint64_t logical, uint64_t length, struct thin_extent *e)
{
  const struct thin_root *root = snapshot ? &snapshot->root : NULL;
  struct thin_super super;
  int r;

  if (image->salvage && root == NULL) {
    thin_meta_super (image->meta, &super);
    root = &super.extents;
  }
  r = snapshot
        ? thin_meta_lookup (image->meta, root, logical, length, false, e)
        : thin_log_lookup (image->meta, &image->log, root, logical, length, e);
  if (r == -EIO && image->salvage)
    return leave_out (image, root, logical, length, e);
  return r < 0 ? image_failed (image, "looked up", r) : 0;
}

int
image_snapshot (struct image *image, const char *name,
                struct thin_snapshot *snapshot)
{
  int r = thin_snapshot_find (image->meta, name, snapshot);

  if (r == -ENOENT)
    say_error ("%s: it has no snapshot %s", image->at.name, name);
  else if (r < 0)
    image_failed (image, "looked up", r);
  return r;
}
