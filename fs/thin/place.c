/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: where data goes.
 *
 *   what stands there           data goes                    and when it has arrived
 *   MAPPED, not shared          where it is                  (nothing)
 *   UNWRITTEN, not shared       where it is: FLYING          FRESH, MAPPED
 *   AGAIN                       to the place it has: FLYING  FRESH, MAPPED, OWN
 *   all else                    to a new place: FLYING, OWN  FRESH, MAPPED, OWN
 *
 * FLYING counts for nothing while it is; if the write fails, or may be lost later, its
 * place stays the block's, so that writing it again needs no more space: AGAIN.  (Of a
 * direct write that fails it does not: what is in memory there has space of its own.)
 *
 * Writes under way count as readers, since what they write to may be freed meanwhile.
 * Their ranges of the disk are held, so that nothing else is done there.
 */

#include <errno.h>

#include "fs/thin/thin-impl.h"

/* Nodes that one run may take, in flying and then in a layer; of a write in all. */
#define RUN_NODES 12
#define PLACE_NODES 16

enum how { IN_PLACE, CONVERT, AGAIN, NEW };

struct target {
  enum how how;
  uint64_t physical; /* but for NEW */
  uint64_t end;      /* block */
};

/* Where would b go, of the blocks up to end? */
static int
find_target (struct thin *t, uint64_t b, uint64_t end, bool nowait,
             struct target *to)
{
  struct range_entry *e;
  struct thin_where w;
  int r;

  pthread_mutex_lock (&t->lock);
  e = range_map_find (&t->again, b);
  if (e && e->start <= b) {
    *to = (struct target) { AGAIN, range_physical (e, b),
                            e->end < end ? e->end : end };
    pthread_mutex_unlock (&t->lock);
    return 0;
  }
  if (e && e->start < end)
    end = e->start;
  pthread_mutex_unlock (&t->lock);
  r = thin_look_place (t, b, end, nowait, &w);
  *to = (struct target) { NEW, w.physical, w.end };
  if (w.kind == RANGE_MAPPED)
    to->how = IN_PLACE;
  else if (w.kind == RANGE_UNWRITTEN)
    to->how = CONVERT;
  return r;
}

/* There is nothing in the pool: will there be?  Not if nobody is there who would see to
 * it, or can; and what is not found is looked for again when it is asked for again.
 */
static int
no_place (struct thin *t)
{
  int r = thin_usable (t);

  if (r < 0)
    return r;
  if (!t->space.exhausted)
    return thin_want_fill (t);
  if (t->work.error)
    return t->work.error;
  if (t->space.given_up.count > 0 || t->space.going.count > 0 ||
      layers_count (&t->layers) > 0)
    thin_want_checkpoint (t);
  else if (t->space.first == NULL) {
    t->space.exhausted = false;
    return -ENOSPC;
  }
  return -EAGAIN;
}

/* Is there a place in the pool?  0, or as above. */
static int
any_place (struct thin *t)
{
  int r;

  pthread_mutex_lock (&t->lock);
  r = t->space.pool.count > 0 ? 0 : no_place (t);
  pthread_mutex_unlock (&t->lock);
  thin_wake (t);
  return r;
}

int
thin_survey (struct fs *fs, uint64_t pos, uint64_t *length)
{
  uint64_t b = thin_first_block (pos);
  struct target to;
  int r =
    find_target (thin_of (fs), b, thin_end_block (pos + *length), true, &to);

  if (r == 0 && to.how == NEW)
    r = any_place (thin_of (fs));
  if (r == -EAGAIN)
    return r;
  if (r < 0) /* mapping it will tell */
    return IOMAP_HERE;
  if (to.end * THIN_BLOCK < pos + *length)
    *length = to.end * THIN_BLOCK - pos;
  return to.how == NEW ? IOMAP_ANYWHERE : IOMAP_HERE;
}

/* --- taking off --- */

/* What is written is [b, b+n), at physical. */
static void
fly (struct thin *t, uint64_t b, uint64_t n, uint64_t physical, uint8_t flags,
     uint32_t since)
{
  struct range_entry e = { .start = b,
                           .end = b + n,
                           .physical = physical,
                           .since = since,
                           .kind = RANGE_MAPPED,
                           .flags = flags };

  range_map_set (&t->flying, &e);
}

/* A run that has a place goes there. */
static void
fly_there (struct thin *t, uint64_t b, const struct target *to, uint8_t flags,
           uint32_t since)
{
  uint64_t n = to->end - b;

  if (to->how == AGAIN)
    range_map_remove (&t->again, b, to->end, NULL, NULL);
  if (to->how != IN_PLACE)
    fly (t, b, n, to->physical,
         flags | (to->how == AGAIN ? LAYER_OWN | FLYING_AGAIN : 0), since);
}

/* How many blocks of the runs, from the first on, need a new place, as the first up to
 * known does.  (What the trees said just now they need not say again at once.)
 */
static uint64_t
count_new (struct thin *t, const struct iomap_run *runs, unsigned n,
           uint64_t known)
{
  uint64_t b = thin_first_block (runs[0].start), blocks = known - b, end;
  struct target to;
  unsigned i;

  for (i = 0; i < n; i++) {
    b = i > 0 ? thin_first_block (runs[i].start) : known;
    end = thin_end_block (runs[i].end);
    for (; b < end; b = to.end) {
      if (find_target (t, b, end, true, &to) < 0 || to.how != NEW)
        return blocks;
      blocks += to.end - b;
    }
  }
  return blocks;
}

/* So many blocks of the runs go to a new place. */
static int
place_new (struct thin *t, const struct iomap_run *runs, uint64_t blocks,
           struct iomap_place *place)
{
  uint64_t physical, b, n, got = space_take (&t->space, blocks, &physical);

  if (got == 0)
    return no_place (t);
  if (t->space.pool.blocks < 4 * IOMAP_MAX_RUNS && !t->space.exhausted)
    thin_want_fill (t);
  place->addr = physical * THIN_BLOCK;
  place->length = got * THIN_BLOCK;
  place->no_fua = true;
  for (; got > 0; runs++, got -= n, physical += n) {
    b = thin_first_block (runs->start);
    n = thin_end_block (runs->end) - b;
    n = n < got ? n : got;
    fly (t, b, n, physical, LAYER_OWN, store_losses (t->fs.store));
    thin_placed (t, b, b + n);
  }
  return 0;
}

static int
place_runs (struct thin *t, const struct iomap_run *runs, unsigned n,
            struct iomap_place *place)
{
  uint64_t b = thin_first_block (runs[0].start), blocks;
  struct target to;
  int r = find_target (t, b, thin_end_block (runs[0].end), true, &to);
  bool promised;

  if (r < 0)
    return r;
  blocks = to.how == NEW ? count_new (t, runs, n, to.end) : to.end - b;
  pthread_mutex_lock (&t->lock);
  promised = range_nodes_promise (&t->nodes, n * RUN_NODES + PLACE_NODES);
  if (!promised)
    r = -ENOMEM;
  else if (to.how == NEW)
    r = place_new (t, runs, blocks, place);
  else {
    fly_there (t, b, &to, 0, store_losses (t->fs.store));
    thin_placed (t, b, to.end);
    place->addr = to.physical * THIN_BLOCK;
    place->length = blocks * THIN_BLOCK;
    place->no_fua = to.how != IN_PLACE;
  }
  if (r < 0 && promised)
    range_nodes_redeem (&t->nodes, n * RUN_NODES + PLACE_NODES);
  pthread_mutex_unlock (&t->lock);
  return r;
}

int
thin_map_for_writeback (struct fs *fs, const struct iomap_run *runs, unsigned n,
                        struct iomap_place *place)
{
  struct thin *t = thin_of (fs);
  int r = thin_usable (t);

  if (r < 0)
    return r == -EAGAIN ? -EIO : r;
  if (fs->readonly)
    return -EROFS;
  /* Before it is looked up: who frees the place later waits for this. */
  place->cookie = readers_begin (fs);
  r = place_runs (t, runs, n, place);
  if (r < 0)
    readers_end (fs, (unsigned) place->cookie);
  else
    place->cookie |= (uint64_t) n << 1;
  thin_wake (t);
  return r;
}

/* --- landing --- */

struct landing {
  struct thin *t;
  bool ok;
};

static void
land (void *opaque, const struct range_entry *e)
{
  struct landing *landing = opaque;
  struct thin *t = landing->t;
  struct range_entry to = *e;

  to.flags = e->flags & LAYER_OWN;
  if (landing->ok) {
    thin_placed (t, e->start, e->end);
    layer_set (&t->layers.map[LAYER_FRESH], &to, thin_give_up_place, t);
    atomic_fetch_add (&t->cookie, 1);
  }
  else if ((e->flags & LAYER_OWN) &&
           (!(e->flags & FLYING_DIRECT) || (e->flags & FLYING_AGAIN))) {
    to.flags = to.since = 0;
    range_map_set (&t->again, &to);
  }
  else if (e->flags & LAYER_OWN)
    thin_give_up_place (t, e);
  else if (!(e->flags & FLYING_DIRECT))
    thin_unplaced (t, e->start, e->end);
}

void
thin_ioend_done (struct fs *fs, const struct iomap_run *runs, unsigned n,
                 const struct iomap_place *place, int error)
{
  struct thin *t = thin_of (fs);
  struct landing landing = { .t = t, .ok = error == 0 };
  unsigned i, mapped = (unsigned) (place->cookie >> 1);

  pthread_mutex_lock (&t->lock);
  range_nodes_redeem (&t->nodes, mapped * RUN_NODES + PLACE_NODES);
  for (i = 0; i < n; i++)
    range_map_remove (&t->flying, thin_first_block (runs[i].start),
                      thin_end_block (runs[i].end), land, &landing);
  pthread_mutex_unlock (&t->lock);
  readers_end (fs, place->cookie & 1);
}

/* --- direct writes --- */

/* The place of a direct write: what is reserved stays so, as it may fail. */
static int
place_direct (struct thin *t, uint64_t b, struct target *to, uint32_t since)
{
  uint64_t n = to->end - b;

  if (to->how == CONVERT)
    n = thin_room_to_convert (t, n);
  if (n == 0)
    return -ENOSPC;
  if (!range_nodes_promise (&t->nodes, RUN_NODES + PLACE_NODES))
    return -ENOMEM;
  if (to->how != NEW) {
    to->end = b + n;
    fly_there (t, b, to, FLYING_DIRECT, since);
    return 0;
  }
  n = thin_room (t, to->end - b);
  if (n > 0)
    n = space_take (&t->space, n, &to->physical);
  else
    n = 0;
  if (n > 0) {
    to->end = b + n;
    fly (t, b, n, to->physical, LAYER_OWN | FLYING_DIRECT, since);
    return 0;
  }
  range_nodes_redeem (&t->nodes, RUN_NODES + PLACE_NODES);
  if (thin_room (t, 1) == 0)
    return -ENOSPC;
  return no_place (t);
}

/* Where there is what was lost, nothing that was not may be put: it would go with that,
 * when it is told.
 */
static bool
was_told (struct thin *t, uint32_t losses)
{
  return losses == atomic_load (&t->losses);
}

int
thin_begin_direct (struct thin *t, uint64_t pos, uint64_t length,
                   struct iomap *iomap)
{
  uint64_t b = thin_first_block (pos);
  uint32_t since = store_losses (t->fs.store);
  struct target to;
  int r;

  if (t->fs.readonly)
    return -EROFS;
  if (!was_told (t, since))
    return -EAGAIN;
  r = find_target (t, b, thin_end_block (pos + length), false, &to);
  if (r < 0)
    return r;
  pthread_mutex_lock (&t->lock);
  r = was_told (t, since) ? place_direct (t, b, &to, since) : -EAGAIN;
  pthread_mutex_unlock (&t->lock);
  thin_wake (t);
  if (r < 0)
    return r;
  *iomap = (struct iomap) {
    .type = IOMAP_MAPPED,
    .offset = b * THIN_BLOCK,
    .length = (to.end - b) * THIN_BLOCK,
    .addr = to.physical * THIN_BLOCK,
  };
  return 0;
}

static void
see_dead (void *opaque, const struct range_entry *e)
{
  *(bool *) opaque |= (e->flags & FLYING_DEAD) != 0;
}

int
thin_end_direct (struct thin *t, uint64_t pos, uint64_t written,
                 const struct iomap *iomap)
{
  uint64_t b = thin_first_block (iomap->offset);
  uint64_t end = thin_end_block (iomap->offset + iomap->length);
  uint64_t done = written > 0 ? thin_first_block (pos + written) : b;
  struct landing landing = { .t = t };
  bool dead = false;

  pthread_mutex_lock (&t->lock);
  range_nodes_redeem (&t->nodes, RUN_NODES + PLACE_NODES);
  range_map_walk (&t->flying, b, end, see_dead, &dead);
  landing.ok = !dead;
  range_map_remove (&t->flying, b, done, land, &landing);
  landing.ok = false;
  range_map_remove (&t->flying, done, end, land, &landing);
  pthread_mutex_unlock (&t->lock);
  return dead ? -ESTALE : 0;
}

/* --- losses --- */

/* A fresh entry that may be lost: what is below counts again. */
static void
revert_entry (struct thin *t, struct range_map *layer, struct range_entry e)
{
  range_map_remove (layer, e.start, e.end, NULL, NULL);
  if (!(e.flags & LAYER_OWN)) {
    thin_unplaced (t, e.start, e.end);
    return;
  }
  e.flags = 0;
  e.since = 0;
  range_map_set (&t->again, &e);
}

void
thin_revert (struct thin *t, struct range_map *layer, uint64_t losses)
{
  struct range_entry *e = range_map_find (layer, 0);
  uint64_t pos;

  for (; e; e = range_map_find (layer, pos)) {
    pos = e->end;
    if (e->kind == RANGE_MAPPED && e->since != losses)
      revert_entry (t, layer, *e);
  }
  atomic_fetch_add (&t->cookie, THIN_EPOCH);
}
