/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the format's operations, and opening an image.  The rest, each over those it
 * uses:
 *
 * work.c        the fs's own thread
 * load.c        going through an image when it is opened
 * flush.c       what is done becomes durable
 * checkpoint.c  the log's entries go to the trees
 * serve.c       what others have asked the thread for
 * fill.c        free space is found
 * zero.c        zero and trim
 * place.c       where data goes
 * write.c       space is reserved
 * room.c        whether there is any
 * look.c        what stands where
 * peek.c        what is known before all that
 * ask.c         asking the thread
 * reader.c      who only reads it
 * owner.c       who has the image
 * log.c         the log
 * space.c       free space
 * layers.c      the overlay
 * range-map.c   what both are made of
 *
 * and below these the trees: meta.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/thin-impl.h"
#include "fs/thin/thin.h"

/* --- begin and end --- */

static int
begin_read (struct thin *t, uint64_t pos, uint64_t length, bool nowait,
            struct iomap *iomap)
{
  static const enum iomap_type types[] = { IOMAP_HOLE, IOMAP_UNWRITTEN,
                                           IOMAP_UNWRITTEN, IOMAP_MAPPED };
  uint64_t b = thin_first_block (pos);
  struct thin_where w;
  int r;

  /* Before anything is looked up: a change from here on is seen. */
  iomap->cookie = atomic_load (&t->cookie);
  r = thin_look (t, b, thin_end_block (pos + length), nowait, &w);
  if (r < 0)
    return r;
  iomap->type = types[w.kind];
  iomap->offset = b * THIN_BLOCK;
  iomap->length = (w.end - b) * THIN_BLOCK;
  iomap->addr = w.kind == RANGE_MAPPED ? w.physical * THIN_BLOCK : 0;
  return 0;
}

static int
thin_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
            struct iomap *iomap)
{
  struct thin *t = thin_of (fs);
  bool nowait = flags & IOMAP_NOWAIT;
  int r = thin_usable (t);

  if (r < 0)
    return r;
  if (pos >= fs->size || length == 0)
    return -EINVAL;
  if (length > fs->size - pos)
    length = fs->size - pos;
  if (!(flags & IOMAP_WRITE))
    return begin_read (t, pos, length, nowait, iomap);
  if (flags & IOMAP_DIRECT)
    return thin_begin_direct (t, pos, length, iomap);
  return thin_begin_write (t, pos, length, nowait, iomap);
}

static int
thin_end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
          unsigned flags, const struct iomap *iomap)
{
  struct thin *t = thin_of (fs);

  if (!(flags & IOMAP_WRITE))
    return 0;
  if (flags & IOMAP_DIRECT)
    return thin_end_direct (t, pos, written, iomap);
  thin_end_write (t, pos, length, written, iomap);
  return 0;
}

/* --- its life --- */

static void
ring_fs (void *opaque)
{
  struct thin *t = opaque;

  fs_ring (&t->fs);
}

static int
thin_attach (struct fs *fs, uint64_t expire)
{
  struct thin *t = thin_of (fs);

  (void) expire;
  t->owner.ring = t->reader.ring = ring_fs;
  t->owner.opaque = t->reader.opaque = t;
  atomic_store (&t->losses, store_losses (fs->store));
  return 0;
}

static bool
settle_space (struct thin *t)
{
  bool any;

  pthread_mutex_lock (&t->lock);
  any = space_settle (&t->space, &t->fs);
  pthread_mutex_unlock (&t->lock);
  if (any)
    thin_changed (t);
  return any;
}

/* It is read only, and nobody else's; or what was sent to see that has to end. */
static bool
is_looking (const struct thin *t)
{
  return t->fs.readonly && (thin_usable (t) == 0 || t->reader.looking);
}

/* See to whose the image is. */
static int
step_owner (struct thin *t, uint64_t now)
{
  if (atomic_load (&t->owner.taken))
    return thin_owner_step (&t->owner, now);
  return is_looking (t) ? thin_reader_step (&t->reader, now) : 0;
}

static bool
thin_step (struct fs *fs, uint64_t now)
{
  struct thin *t = thin_of (fs);
  bool more = thin_flush_step (t);
  int r = step_owner (t, now);

  /* While it is being opened, or closed, who does that meets the same error. */
  if (r < 0 && thin_usable (t) == 0) {
    env_log (fs->store->env, LOG_ERROR,
             "another server has taken the image: nothing is %s any more",
             fs->readonly ? "read" : "written");
    thin_break (t, r);
  }
  return settle_space (t) || more;
}

static uint64_t
thin_deadline (struct fs *fs)
{
  struct thin *t = thin_of (fs);

  if (atomic_load (&t->owner.taken))
    return thin_owner_deadline (&t->owner);
  return is_looking (t) && !t->reader.looking ? t->reader.due : ENV_FOREVER;
}

static bool
thin_idle (struct fs *fs)
{
  struct thin *t = thin_of (fs);

  return t->flush.state == THIN_IDLE && thin_owner_idle (&t->owner) &&
         !t->reader.looking;
}

static int
thin_ready (struct fs *fs)
{
  struct thin *t = thin_of (fs);

  completion_wait (fs->store->env, &t->opened);
  return thin_usable (t);
}

static void
thin_close (struct fs *fs)
{
  struct thin *t = thin_of (fs);

  layers_clear (&t->layers);
  range_map_clear (&t->flying);
  range_map_clear (&t->again);
  range_map_clear (&t->reserved);
  range_map_clear (&t->converts);
  space_destroy (&t->space);
  range_nodes_destroy (&t->nodes);
  if (t->meta)
    thin_meta_close (t->meta);
  thin_owner_destroy (&t->owner);
  thin_reader_destroy (&t->reader);
  pthread_mutex_destroy (&t->lock);
  free (t->flush.buf);
  free (t);
}

static const struct iomap_ops thin_ops = {
  .name = "thin",
  .begin = thin_begin,
  .end = thin_end,
  .make_room = thin_make_room,
  .valid = thin_valid,
  .survey = thin_survey,
  .map_for_writeback = thin_map_for_writeback,
  .ioend_done = thin_ioend_done,
  .zero = thin_zero,
  .unsettled = thin_unsettled,
  .placed = thin_is_placed,
  .flush = thin_flush,
  .attach = thin_attach,
  .ready = thin_ready,
  .step = thin_step,
  .deadline = thin_deadline,
  .idle = thin_idle,
  .lost = thin_lost,
  .work = thin_work,
  .stop_work = thin_stop_work,
  .close = thin_close,
};

/* --- opening --- */

static struct thin *
new_thin (struct store *store, const struct thin_super *super,
          const struct thin_snapshot *snapshot)
{
  struct thin *t = calloc (1, sizeof *t);

  if (t == NULL)
    return NULL;
  t->super = *super;
  if (snapshot)
    t->snapshot = *snapshot;
  t->fs = (struct fs) {
    .ops = &thin_ops,
    .store = store,
    .size = snapshot ? snapshot->disk_bytes : super->disk_bytes,
    .block_size = THIN_BLOCK,
    .max_runs = IOMAP_MAX_RUNS,
    .moves = true,
    .readonly = store->geo.readonly || snapshot,
    .rotational = store->geo.rotational,
    .can_fua = store->geo.can_fua,
    .can_trim = true,
    .can_fast_zero = true,
  };
  t->blocks = t->fs.size / THIN_BLOCK;
  atomic_init (&t->state, -EAGAIN);
  pthread_mutex_init (&t->lock, NULL);
  range_nodes_init (&t->nodes);
  layers_init (&t->layers, &t->nodes);
  range_map_init (&t->flying, &t->nodes);
  range_map_init (&t->again, &t->nodes);
  range_map_init (&t->reserved, &t->nodes);
  range_map_init (&t->converts, &t->nodes);
  space_init (&t->space, &t->nodes, 0);
  return t;
}

int
thin_open (struct store *store, const char *snapshot, struct fs **fs,
           const struct store_message *why)
{
  struct thin_snapshot found;
  struct thin_super super;
  struct thin *t;
  int r = thin_peek_super (store, &super, why);

  if (r == 0 && snapshot)
    r = thin_peek_snapshot (store, snapshot, &found, why);
  if (r < 0)
    return r;
  t = new_thin (store, &super, snapshot ? &found : NULL);
  if (t == NULL)
    return store_refuse (why, -ENOMEM, "out of memory");
  r = thin_flush_init (t);
  if (r < 0) {
    thin_close (&t->fs);
    return store_refuse (why, r, "out of memory");
  }
  *fs = &t->fs;
  return 0;
}
