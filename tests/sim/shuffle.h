/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * shuffle: a small format that does whatever a format may do which raw never does.
 * Blocks get their place on the store when they are written back, many of them
 * one behind the other; half of all overwrites move; what was freed is used again;
 * every now and then there is no place before a read of its own is done; the map
 * is in memory, and a flush writes it, behind the data that it speaks of.
 *
 * On the store: two areas for the map, written in turn, each with a generation and a
 * checksum; then places of a block each.
 *
 *   a place may be      because
 *   in the map          the disk's block is there, or soon, by what was written
 *   durable             ... by the map that the store has
 *   pinned              ... by one that was written, and may be what the store has
 *   snapped             ... by one that is about to be written
 *   flying              something is being written there
 *   free                none of these, and nobody reads there who was told of it
 *
 * A place is solid when the store has flushed what is there.  If that may be lost
 * first, the block is again where the durable map has it (the cache still has what
 * was written).  So no map that is written tells of what was lost.
 */

#ifndef SHUFFLE_H
#define SHUFFLE_H

#include <pthread.h>

#include "fs/iomap.h"
#include "tests/tools/util.h"

#define SHUFFLE_BLOCK 4096u
#define SHUFFLE_NONE UINT32_MAX

struct shuffle_place {
  bool mapped, durable, pinned, snapped, flying, solid;
  bool dead;        /* what is flying there may be lost */
  uint64_t takeoff; /* the store's losses when that began */
  uint64_t began;   /* the same of what has landed there last */
  bool used;        /* it was mapped or flying ever */
  uint64_t era;     /* when the last of these was taken away */
};

enum shuffle_flush {
  SHUFFLE_IDLE,
  SHUFFLE_DATA, /* the store flushes the data */
  SHUFFLE_MAP,  /* it writes the map */
  SHUFFLE_LAST, /* and flushes that */
};

struct shuffle {
  struct fs fs;         /* first */
  pthread_mutex_t lock; /* never held while anything is waited for */
  struct rng rng;
  _Atomic uint64_t cookie; /* changes with the map */
  uint32_t blocks, places;
  uint64_t area;           /* bytes of one of the two */
  uint32_t *map, *durable; /* where each block is, or SHUFFLE_NONE */
  uint32_t *flying;        /* where it is being written to */
  struct shuffle_place *place;
  uint32_t next; /* where to look for a free one */

  /* Reasons to say "not yet". */
  struct store_req ask;
  struct iovec ask_iov;
  uint8_t ask_buf[SHUFFLE_BLOCK];
  bool asking;
  _Atomic bool asked;
  unsigned granted; /* places, before it is asked again */

  /* A flush. */
  enum shuffle_flush state;
  struct store_req req, *outer;
  struct iovec iov;
  uint8_t *buf;        /* an area */
  uint32_t *snapshot;  /* the map that is being written */
  uint64_t generation; /* of the durable one */
  bool tried;          /* the store may have one that is newer */
  bool lost;           /* the store has lost something meanwhile */
  _Atomic bool done;
  int error;
};

/* What such a disk of so many bytes, whole blocks, needs of a store. */
extern uint64_t shuffle_store_size (uint64_t disk_size);

/* Open one, made if there is none; its chances are by the seed.  Waits for the
 * store.  Returns 0 or a negative errno.
 */
extern int shuffle_open (struct store *store, uint64_t disk_size, uint64_t seed,
                         struct fs **fs);

/* Where the place is, bytes. */
extern uint64_t shuffle_addr (const struct shuffle *s, uint32_t place);

/* ---- shuffle-map.c: its inside; lock held */

/* The block is there from now on, SHUFFLE_NONE: nowhere. */
extern void shuffle_set (struct shuffle *s, uint32_t block, uint32_t place);

/* Something of the place was taken away. */
extern void shuffle_release (struct shuffle *s, uint32_t place);

/* Up to n free places side by side, now flying; returns how many. */
extern uint32_t shuffle_take (struct shuffle *s, uint32_t n, uint32_t *first);

/* What is not solid is lost, unless it began at that count of losses. */
extern void shuffle_revert (struct shuffle *s, uint64_t losses);

/* ---- shuffle-flush.c; no lock held */

extern int shuffle_read (struct shuffle *s);
extern void shuffle_flush (struct fs *fs, struct store_req *req);
extern bool shuffle_flush_step (struct shuffle *s);

#endif /* SHUFFLE_H */
