/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: opening an image: it is taken, the trees are as they were committed last, and
 * what the log has is LOGGED.
 */

#include <errno.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/thin-impl.h"

/* How often all is read again because the store may have lost something meanwhile. */
#define TRIES 5

static int
replay_entry (void *opaque, enum thin_log_op op, uint64_t logical,
              uint64_t length, uint64_t physical)
{
  static const uint8_t kinds[] = {
    [THIN_LOG_MAP] = RANGE_MAPPED,
    [THIN_LOG_UNWRITTEN] = RANGE_UNWRITTEN,
    [THIN_LOG_ZERO_KEEP] = RANGE_ZERO_KEEP,
    [THIN_LOG_HOLE] = RANGE_HOLE,
    [THIN_LOG_CONVERT] = RANGE_MAPPED,
  };
  struct thin *t = opaque;
  struct range_entry e = {
    .start = logical,
    .end = logical + length,
    .physical = physical,
    .kind = kinds[op],
    .flags = op == THIN_LOG_MAP || op == THIN_LOG_UNWRITTEN ? LAYER_OWN : 0,
  };

  if (e.flags & LAYER_OWN)
    space_own (&t->space, physical, physical + length);
  layer_set (&t->layers.map[LAYER_LOGGED], &e, thin_give_up_place, t);
  return t->nodes.starved ? -ENOMEM : 0;
}

/* It is still the one that was looked up before.  The log has nothing of it. */
static int
find_snapshot (struct thin *t, const struct store_message *why)
{
  const struct thin_root *root = &t->snapshot.root;
  struct thin_snapshot found;
  int r = thin_snapshot_find (t->meta, t->snapshot.name, &found);

  if (r == 0 && (found.root.address != root->address ||
                 found.root.generation != root->generation ||
                 found.disk_bytes != t->fs.size))
    r = -ENOENT;
  return r < 0 ? store_refuse (why, r, "its snapshot: %s", strerror (-r)) : 0;
}

static int
read_image (struct thin *t, const struct store_message *why)
{
  struct thin_open how = { .readonly = t->fs.readonly, .fan = t->fan };
  struct thin_super super;
  int r = thin_meta_open (t->fs.store, &how, &t->meta, why);

  if (r < 0)
    return r;
  thin_meta_super (t->meta, &super);
  if (super.disk_bytes != t->super.disk_bytes ||
      memcmp (super.uuid, t->super.uuid, sizeof super.uuid) != 0)
    return store_refuse (why, -EIO, "the image has changed meanwhile");
  t->super = super;
  if (thin_root_of (t))
    return find_snapshot (t, why);
  t->space.free = super.free_blocks;
  thin_log_init (&t->log, &super);
  r = thin_log_replay (t->fs.store, &super, replay_entry, t, &t->log.head);
  return r < 0 ? store_refuse (why, r, "its log: %s", strerror (-r)) : 0;
}

static void
forget_image (struct thin *t)
{
  if (t->meta)
    thin_meta_close (t->meta);
  t->meta = NULL;
  layers_clear (&t->layers);
  space_destroy (&t->space);
  space_init (&t->space, &t->nodes, 0);
}

/* What was read may not be durable, if it was another server that wrote it: before
 * anything is written behind it, it is.
 */
static int
read_durably (struct thin *t, const struct store_message *why)
{
  struct store *store = t->fs.store;
  unsigned tries;
  uint32_t undone;
  int r = 0;

  for (tries = 0; tries < TRIES; tries++) {
    undone = store_undone (store);
    r = read_image (t, why);
    if (r < 0 || t->fs.readonly)
      return r;
    r = thin_io_flush (store);
    if (r == 0 && undone == store_undone (store))
      return 0;
    forget_image (t);
  }
  return store_refuse (why, r < 0 ? r : -EIO, "the store cannot flush it");
}

/* A transaction knows what the next may cost, and mends what is bad of the superblocks. */
static int
try_transaction (struct thin *t, const struct store_message *why)
{
  struct thin_txn *txn;
  int r = thin_txn_begin (t->meta, &txn);

  if (r < 0)
    return store_refuse (why, r, "its metadata: %s", strerror (-r));
  thin_txn_abort (txn);
  return 0;
}

/* The store has grown: who comes first should not find the disk full.  An image that is
 * too full for that is used as it is, until a checkpoint succeeds.
 */
static void
take_growth (struct thin *t)
{
  int r;

  if (thin_meta_limit (t->meta) <= t->super.store_blocks)
    return;
  r = thin_checkpoint (t);
  if (r == 0)
    return;
  env_log (t->fs.store->env, LOG_ERROR,
           "the store has grown, but its new space cannot be used yet: %s",
           strerror (-r));
  pthread_mutex_lock (&t->lock);
  thin_want_checkpoint (t);
  pthread_mutex_unlock (&t->lock);
}

int
thin_load (struct thin *t)
{
  char text[256] = "";
  struct store_message why = { text, sizeof text };
  struct store *store = t->fs.store;
  int r;

  if (t->fs.readonly)
    r = thin_reader_begin (&t->reader, store, t->super.uuid, &why);
  else
    r = thin_owner_take (&t->owner, store, t->super.uuid, &why);
  if (r == 0)
    r = read_durably (t, &why);
  if (r == 0 && !t->fs.readonly)
    r = try_transaction (t, &why);
  if (r < 0) {
    env_log (store->env, LOG_ERROR, "the thin image cannot be opened: %s",
             text[0] ? text : strerror (-r));
    if (atomic_load (&t->owner.taken))
      thin_owner_release (&t->owner);
    return r;
  }
  if (t->fs.readonly)
    return 0;
  thin_set_space (t);
  take_growth (t);
  pthread_mutex_lock (&t->lock);
  if (t->layers.map[LAYER_LOGGED].count > 0)
    thin_want_checkpoint (t);
  thin_want_fill (t);
  pthread_mutex_unlock (&t->lock);
  return 0;
}
