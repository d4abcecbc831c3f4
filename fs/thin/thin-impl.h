/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: its inside.
 *
 * Whose thread: iomaps are given out, and zeroes taken, on the clients' threads; places
 * for write-back, and flushes, are the loop thread's, which never waits; the fs's own
 * (work) does all that waits: it opens the image, reads nodes, looks for free space,
 * makes checkpoints.  One lock protects what they share, all in memory; it is a leaf but
 * for the trees' own, and never held while anything is waited for.
 *
 * What must come before what, and who sees to it:
 *
 *   before                               after                                 in
 *   data is on the store, and flushed,   the record that tells of it is        flush.c
 *   nothing lost or failed since         sent
 *   a record is durable                  the flush is answered; the next       flush.c
 *                                        record is sent; its entries go to
 *                                        a checkpoint
 *   a record's end is unknown            the same bytes go to the same place,  flush.c
 *                                        before any other record
 *   what was replayed is flushed         a record is sent behind it            load.c
 *   a checkpoint is durable              its layer is forgotten; its part of   checkpoint.c
 *                                        the log is used again; what it has
 *                                        freed, or was given up before it
 *                                        began, is waiting for readers
 *   who was told of a place has read,    the place is handed out               space.c
 *   or written, there
 *   space is reserved, for metadata      a write, zero or trim is              write.c,
 *   too                                  acknowledged                          room.c
 *   the owner's block was found to be    anything is sent to the store         owner.c,
 *   ours, not long ago                                                         the drivers
 */

#ifndef FOLIO_THIN_IMPL_H
#define FOLIO_THIN_IMPL_H

#include <pthread.h>

#include "fs/iomap.h"
#include "fs/thin/layers.h"
#include "fs/thin/log.h"
#include "fs/thin/meta.h"
#include "fs/thin/owner.h"
#include "fs/thin/reader.h"
#include "fs/thin/space.h"

/* Flags of flying, besides LAYER_OWN. */
#define FLYING_DIRECT 2u
#define FLYING_AGAIN 4u /* it was in again */
#define FLYING_DEAD 8u  /* what is written may be lost, and nobody has a copy */

/* Of reserved, and converts: by a write that is in the iterator; or by one that was taken. */
#define RESERVED_MAYBE RANGE_HOLE
#define RESERVED_SURE RANGE_ZERO_KEEP

enum thin_flush_state {
  THIN_IDLE,
  THIN_DATA,   /* the store flushes the data */
  THIN_ROOM,   /* the log is full: a checkpoint is awaited */
  THIN_RECORD, /* a record is being written */
  THIN_LAST,   /* and flushed */
};

struct thin_flush {
  enum thin_flush_state state;
  struct store_req req, *outer;
  struct iovec iov;
  uint8_t *buf;    /* a record */
  size_t entries;  /* in it, of RECORDING's first; 0: there is none */
  uint32_t undone; /* of the store, when it was sent */
  uint32_t told;   /* failed flushes of the store's of which the cache knows */
  bool lost;       /* the store has lost something meanwhile */
  uint64_t begun;  /* ns */
  bool old;    /* it began with what the last one left: the data comes yet */
  bool no_fua; /* the store turned out to have none */
  _Atomic bool done;
  int error;
};

#define THIN_LOADS 64
#define THIN_FAILED THIN_LOADS

/* What the fs's own thread is asked for; lock. */
struct thin_work {
  _Atomic uint32_t word; /* futex: changes when there is something to do */
  _Atomic bool wanted;   /* since the thread was woken last */
  bool stopping;
  bool fill;                  /* the pool */
  bool checkpoint;            /* now */
  uint64_t loads[THIN_LOADS]; /* blocks whose nodes are to be read */
  unsigned nr_loads;
  struct thin_failure {
    uint64_t block;
    uint64_t until; /* ns: so long the answer is this error */
    int error;
  } failed[THIN_FAILED], failed_fill;
  unsigned next_failed;
  int error;      /* of the last checkpoint */
  uint64_t retry; /* ns: when it is worth trying again; 0: at once */
  bool logged;    /* that it fails */

  /* Who waits for room. */
  bool
    starving; /* somebody does: checkpoints are made as soon as they can be */
  uint64_t flushed; /* ns: what was there then is in the log, or was not lost */
  uint64_t frozen;  /* the same, of what the checkpoint puts in the trees */
  uint64_t settled; /* the same, in the trees */
};

struct thin {
  struct fs fs; /* first */
  struct thin_meta *meta;
  struct thin_super super;       /* as it was opened: what does not change */
  struct thin_snapshot snapshot; /* that is the disk; or without a name */
  uint64_t blocks;               /* of the disk */
  unsigned fan;                  /* of its nodes, in tests; 0: as usual */
  struct completion opened;
  _Atomic int state; /* 0: open; -EAGAIN: not yet; or why not */

  pthread_mutex_t lock; /* of all that follows but flush */
  struct range_nodes nodes;
  struct layers layers;
  struct range_map
    flying; /* being written, to a place that counts when it ended */
  struct range_map
    again; /* that has its place, but what was written is not sure */
  struct range_map reserved; /* blocks of the disk */
  struct range_map converts; /* others, that are dirty, and UNWRITTEN */
  _Atomic uint32_t losses;   /* of the store, of which it has been told */
  struct thin_space_map space;
  struct iomap_claim *claims; /* writes that are in the iterator: blocks */
  struct thin_log log;
  struct thin_log_position frozen; /* where the log goes on behind FROZEN */
  _Atomic uint64_t
    cookie; /* changes with the overlay; its high bits, its epoch,
                            * when something leaves it that was given out */
  struct thin_work work;

  struct thin_flush flush;   /* the loop thread's */
  struct thin_owner owner;   /* of one that is written to; */
  struct thin_reader reader; /* of one that is not */
};

#define THIN_EPOCH (1ull << 40)

static inline struct thin *
thin_of (struct fs *fs)
{
  return (struct thin *) fs; /* its first member */
}

/* What is looked up: a snapshot's, or NULL, the disk's itself. */
static inline const struct thin_root *
thin_root_of (const struct thin *t)
{
  return t->snapshot.name[0] ? &t->snapshot.root : NULL;
}

static inline uint64_t
thin_first_block (uint64_t pos)
{
  return pos / THIN_BLOCK;
}

static inline uint64_t
thin_end_block (uint64_t pos)
{
  return pos / THIN_BLOCK + (pos % THIN_BLOCK > 0);
}

/* ---- look.c */

/* What a block of the disk is, up to end. */
struct thin_where {
  enum range_kind kind;
  uint64_t physical;
  uint64_t end;
  bool shared;
};

/* What stands at block b, of those up to end.  -EAGAIN, with nowait: that is being
 * read, and fs_ring when it has been.  No lock held.
 */
extern int thin_look (struct thin *t, uint64_t b, uint64_t end, bool nowait,
                      struct thin_where *w);

/* The same, for who holds the lock; it is let go while the trees are asked, and then what
 * is said may not hold any more.
 */
extern int thin_look_locked (struct thin *t, uint64_t b, uint64_t end,
                             bool nowait, struct thin_where *w);

/* The same, but for where to write: ZERO_KEEP becomes UNWRITTEN if it has a place that is
 * its own, else HOLE; as does what is shared, or UNWRITTEN and shared.
 */
extern int thin_look_place (struct thin *t, uint64_t b, uint64_t end,
                            bool nowait, struct thin_where *w);

extern bool thin_valid (struct fs *fs, const struct iomap *iomap);
extern bool thin_is_placed (struct fs *fs, uint64_t start, uint64_t end);

/* For the trees' tell-tale: an error once. */
extern void thin_give_up_place (void *opaque, const struct range_entry *e);

/* Stop writing, for good. */
extern void thin_break (struct thin *t, int error);

/* Tell whoever waits for fs->changes. */
extern void thin_changed (struct thin *t);

/* Below: lock held.  Does the iomap still hold? */
extern bool thin_still (struct thin *t, const struct iomap *iomap);

/* Below: of what had a place when it was looked up, and is still as it was to a reader:
 * has it, whatever has been zeroed since?
 */
extern bool thin_has_place (struct thin *t, uint64_t b, uint64_t end);

/* ---- write.c */

extern int thin_begin_write (struct thin *t, uint64_t pos, uint64_t length,
                             bool nowait, struct iomap *iomap);
extern void thin_end_write (struct thin *t, uint64_t pos, uint64_t length,
                            uint64_t written, const struct iomap *iomap);

/* Below: lock held.  [start, end) goes to its place; or it did not come there, and is
 * UNWRITTEN and dirty.
 */
extern void thin_placed (struct thin *t, uint64_t start, uint64_t end);
extern void thin_unplaced (struct thin *t, uint64_t start, uint64_t end);

/* So many blocks may need space if [start, end) loses its place, or more. */
extern uint64_t thin_claimed (struct thin *t, uint64_t start, uint64_t end);

/* Nothing of [start, end) is dirty any more; but writes in the iterator may
 * make it so, and it has no place.
 */
extern void thin_unreserve (struct thin *t, uint64_t start, uint64_t end);

/* ---- room.c */

/* See iomap_ops. */
extern int thin_make_room (struct fs *fs, uint64_t since);

/* A flush has succeeded that began at begun, ns.  No lock held. */
extern void thin_note_flush (struct thin *t, uint64_t begun);

/* Below: lock held.  So many of n blocks may be taken besides what is reserved; or so many
 * that have their place be written to.
 */
extern uint64_t thin_room (struct thin *t, uint64_t n);
extern uint64_t thin_room_to_convert (struct thin *t, uint64_t n);

/* May a range be zeroed, by which so many blocks need space? */
extern bool thin_room_to_zero (struct thin *t, uint64_t blocks, bool keep);

/* A checkpoint begins: nothing is promised but what there is now. */
extern void thin_expect (struct thin *t);

/* ---- place.c */

extern int thin_survey (struct fs *fs, uint64_t pos, uint64_t *length);
extern int thin_map_for_writeback (struct fs *fs, const struct iomap_run *runs,
                                   unsigned n, struct iomap_place *place);
extern void thin_ioend_done (struct fs *fs, const struct iomap_run *runs,
                             unsigned n, const struct iomap_place *place,
                             int error);
extern int thin_begin_direct (struct thin *t, uint64_t pos, uint64_t length,
                              struct iomap *iomap);
extern int thin_end_direct (struct thin *t, uint64_t pos, uint64_t written,
                            const struct iomap *iomap);

/* Lock held: what the layer has of data that is not durable is to be written again, but
 * what began at that count of losses.
 */
extern void thin_revert (struct thin *t, struct range_map *layer,
                         uint64_t losses);

/* ---- flush.c: the loop thread */

extern int thin_flush_init (struct thin *t);
extern void thin_flush (struct fs *fs, struct store_req *req);
extern bool thin_flush_step (struct thin *t);
extern void thin_lost (struct fs *fs, uint64_t losses);

/* ---- zero.c */

extern int thin_zero (struct fs *fs, struct iomap_range *range, bool keep);
extern bool thin_unsettled (struct fs *fs, uint64_t start, uint64_t end);

/* ---- work.c */

extern void thin_work (struct fs *fs);
extern void thin_stop_work (struct fs *fs);

/* ---- peek.c */

/* The newest superblock there is. */
extern int thin_peek_super (struct store *store, struct thin_super *super,
                            const struct store_message *why);

/* The snapshot of that name. */
extern int thin_peek_snapshot (struct store *store, const char *name,
                               struct thin_snapshot *snapshot,
                               const struct store_message *why);

/* ---- ask.c */

/* Is it open for writing?  0, or why not. */
extern int thin_usable (const struct thin *t);

/* Any thread, no lock held: have the thread look for work, if it was asked to; or
 * whatever was.
 */
extern void thin_wake (struct thin *t);
extern void thin_wake_now (struct thin *t);

/* No lock held: this has failed, or not; to be told for so long (ns), or a moment. */
extern void thin_note_failure (struct thin *t, struct thin_failure *f,
                               uint64_t b, int error, uint64_t ns);

/* Lock held: it is to do this.  The first two return -EAGAIN; or why that has just failed. */
extern int thin_want_load (struct thin *t, uint64_t b);
extern int thin_want_fill (struct thin *t);
extern void thin_want_checkpoint (struct thin *t);

/* ---- serve.c: that thread */

/* Do what it was asked for, but for a checkpoint. */
extern void thin_serve (struct thin *t);

/* ---- checkpoint.c: that thread */

/* Put what is LOGGED in the trees.  Returns 0 or a negative errno. */
extern int thin_checkpoint (struct thin *t);

/* ---- fill.c: that thread */

/* Metadata gets its space from the pool. */
extern void thin_set_space (struct thin *t);

/* Find more free space.  0 or a negative errno. */
extern int thin_fill_pool (struct thin *t);

/* ---- load.c: that thread */

/* Open the image: 0 or why not, which is logged. */
extern int thin_load (struct thin *t);

#endif /* FOLIO_THIN_IMPL_H */
