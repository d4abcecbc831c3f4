/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: is there room?  What is acknowledged always fits: data, and what the trees may
 * take for all that has changed, until the last of it is committed.  So all that may
 * become an entry of the trees is counted before it is acknowledged:
 *
 *   what                              as
 *   reserved: will need a place       a block, and a change of each block
 *   converts: UNWRITTEN, is dirty     a change of each block
 *   AGAIN, FLYING                     a change of each block
 *   FRESH, RECORDING                  a change of each block that is MAPPED, as it may be
 *                                     lost and written again piece by piece; else of each
 *                                     entry
 *   LOGGED, FROZEN                    a change of each entry
 *
 * What is MAPPED, and not shared, is written to in place, and counts for nothing.  Some
 * room is left for trims alone, which bring back more than they cost.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* How long one waits for room, and between two looks: ns. */
#define PATIENCE (30 * NSEC_PER_SEC)
#define LOOK (20 * NSEC_PER_MSEC)

/* Changes that are left to trims: a part of the store's blocks. */
#define SHARE_OF_TRIMS 64
#define LEAST_TRIMS 64
#define MOST_TRIMS 16384

/* Changes of the trees that there may be, in ranges. */
static uint64_t
nr_ops (const struct thin *t)
{
  const struct range_map *map = t->layers.map;

  return t->reserved.blocks + t->converts.blocks + t->again.blocks +
         t->flying.blocks + map[LAYER_FRESH].spread +
         map[LAYER_RECORDING].spread + map[LAYER_LOGGED].count +
         map[LAYER_FROZEN].count;
}

static uint64_t
nr_trims (const struct thin *t)
{
  uint64_t n = t->super.store_blocks / SHARE_OF_TRIMS;

  if (n < LEAST_TRIMS)
    return LEAST_TRIMS;
  return n < MOST_TRIMS ? n : MOST_TRIMS;
}

/* Is there room for so many more blocks and changes? */
static bool
fits (struct thin *t, uint64_t blocks, uint64_t ops)
{
  uint64_t left = space_left (&t->space), need = t->reserved.blocks + blocks;

  return need <= left &&
         thin_meta_cost (t->meta, nr_ops (t) + ops) <= left - need;
}

uint64_t
thin_room (struct thin *t, uint64_t n)
{
  uint64_t left = space_left (&t->space);

  for (n = n < left ? n : left; n > 0; n /= 2)
    if (fits (t, n, n + nr_trims (t)))
      break;
  return n;
}

uint64_t
thin_room_to_convert (struct thin *t, uint64_t n)
{
  for (; n > 0; n /= 2)
    if (fits (t, 0, n + nr_trims (t)))
      break;
  return n;
}

bool
thin_room_to_zero (struct thin *t, uint64_t blocks, bool keep)
{
  return fits (t, blocks, blocks + 1 + (keep ? nr_trims (t) : 0));
}

void
thin_expect (struct thin *t)
{
  thin_meta_expect (t->meta, nr_ops (t) + nr_trims (t));
}

/* --- making some --- */

/* Is there anything that a checkpoint may free? */
static bool
may_checkpoint (const struct thin *t)
{
  const struct range_map *map = t->layers.map;

  return t->space.given_up.count + t->space.going.count +
           map[LAYER_LOGGED].count + map[LAYER_FROZEN].count >
         0;
}

/* Is there anything that may be free soon? */
static bool
may_gain (const struct thin *t)
{
  const struct range_map *map = t->layers.map;

  return may_checkpoint (t) || t->space.first ||
         map[LAYER_FRESH].count + map[LAYER_RECORDING].count + t->flying.count +
             t->again.count + t->reserved.count + t->converts.count >
           0;
}

/* A flush that began then has succeeded. */
void
thin_note_flush (struct thin *t, uint64_t begun)
{
  pthread_mutex_lock (&t->lock);
  t->work.flushed = begun;
  if (!may_checkpoint (t))
    t->work.settled = begun;
  pthread_mutex_unlock (&t->lock);
  thin_changed (t);
}

int
thin_make_room (struct fs *fs, uint64_t since)
{
  struct thin *t = thin_of (fs);
  struct env *env = fs->store->env;
  uint64_t now = env->now (env);
  uint32_t seen = atomic_load (&fs->changes);
  bool gain, done;

  pthread_mutex_lock (&t->lock);
  gain = thin_usable (t) == 0 && may_gain (t);
  /* All that there was then has been flushed, and is in the trees. */
  done = t->work.settled > since && t->space.first == NULL;
  if (done && thin_room (t, 1) == 0)
    gain = false;
  if (gain && !done && may_checkpoint (t))
    thin_want_checkpoint (t);
  t->work.starving |= gain;
  pthread_mutex_unlock (&t->lock);
  if (!gain || now - since >= PATIENCE)
    return -ENOSPC;
  atomic_store (&fs->wants_flush, true);
  fs_ring (fs);
  thin_wake (t);
  env->wait (env, &fs->changes, seen, now + LOOK);
  return 0;
}
