/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * iomap: contiguous ranges of the disk and what stands under them, and the
 * operations by which the cache asks a format ("fs") for them.
 * After Linux's fs/iomap; the words mean the same there.
 */

#ifndef FOLIO_IOMAP_H
#define FOLIO_IOMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/env.h"
#include "fs/bell.h"
#include "fs/readers.h"
#include "fs/store.h"

enum iomap_type {
  IOMAP_HOLE,      /* nothing there; reads as zero */
  IOMAP_DELALLOC,  /* a hole with dirty data over it in memory, space reserved;
                    * what of it is not in memory reads as zero */
  IOMAP_UNWRITTEN, /* allocated, never written; reads as zero */
  IOMAP_MAPPED,    /* on the store at addr */
};

/* Flags of begin and end. */
#define IOMAP_WRITE 0x1u  /* data will be written to the range */
#define IOMAP_REPORT 0x2u /* only asking, for block status */
#define IOMAP_DIRECT 0x4u /* the I/O will not pass through the cache */
#define IOMAP_NOWAIT 0x8u /* -EAGAIN rather than asking the store */

/* Who writes to an iomap, for a list of the fs's. */
struct iomap_claim {
  struct iomap_claim *next;
  uint64_t start, end;
};

struct iomap {
  enum iomap_type type;
  uint64_t offset; /* bytes, on the disk */
  uint64_t length; /* bytes */
  uint64_t addr;   /* byte on the store where offset is, if MAPPED */
  uint64_t cookie; /* for the validity check */

  /* The fs's own, from begin to end; meanwhile the iomap stays where it is. */
  struct iomap_claim claim;
};

/* Bytes that something is being done to.  The caller's; what is in it is not. */
struct iomap_range {
  uint64_t start, end;
  struct iomap_range *next;
};

/* Bytes of the disk that write-back sends: whole blocks, or up to its end. */
struct iomap_run {
  uint64_t start, end;
};

/* Where they go. */
struct iomap_place {
  uint64_t addr;   /* byte on the store */
  uint64_t length; /* bytes */
  uint64_t cookie; /* the fs's own */
  bool no_fua;     /* set if STORE_FUA would be for nothing: what tells of the
                    * place is durable by a flush only */
};

/* What survey says. */
enum { IOMAP_HERE, IOMAP_ANYWHERE };

/* For lost. */
#define LOST_ALL UINT64_MAX

/* The most runs of one store write. */
#define IOMAP_MAX_RUNS 256

struct fs;

typedef void iomap_range_fn (void *opaque, uint64_t offset, uint64_t length);

struct iomap_ops {
  const char *name;

  /* The iomap at pos, for up to length bytes: iomap->offset <= pos <
   * iomap->offset + iomap->length; it may be longer or shorter than asked.
   * With IOMAP_WRITE a HOLE is made DELALLOC over the asked range, and the iomap
   * ends with a block or where it was asked to.  With IOMAP_DIRECT besides, whole
   * blocks are about to be written to the store: the iomap is MAPPED, and reads
   * as before until end is told that it was written.  May ask the store, and so
   * block, unless IOMAP_NOWAIT.  Returns 0 or a negative errno (-ENOSPC, -EIO; for
   * IOMAP_NOWAIT, -EAGAIN; for direct writes, -EAGAIN: something is to be done
   * first, and fs->changes moves when it is worth asking again).
   */
  int (*begin) (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
                struct iomap *iomap);

  /* The caller is through with the iomap; written bytes of [pos,
   * pos+length) were taken, or with IOMAP_DIRECT are on the store; of the rest it
   * may have anything.  Space reserved for the rest may be given back.  Returns 0;
   * or, with IOMAP_DIRECT, -ESTALE if the fs has been told meanwhile that it may be
   * lost: it is to be written again.
   * Optional.
   */
  int (*end) (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
              unsigned flags, const struct iomap *iomap);

  /* begin or zero has said -ENOSPC, to a caller who may wait, the first time at `since' (ns):
   * wait, not counted among the readers, until there may be room.  Returns 0, if it is
   * worth another try, or -ENOSPC.  Optional.
   */
  int (*make_room) (struct fs *fs, uint64_t since);

  /* Is what the iomap says still true, or again?  Cheap, and no lock but a leaf;
   * called under folio locks.
   */
  bool (*valid) (struct fs *fs, const struct iomap *iomap);

  /* Where would [pos, pos+*length) go, which is dirty, if it was written back?
   * *length is cut to what goes to one place.  Returns IOMAP_ANYWHERE if that is
   * still to be chosen, so that others of which the same is said can go with it,
   * IOMAP_HERE if it is not; or -EAGAIN as map_for_writeback.  A guess, lest more
   * be taken than can be sent.  Optional: all go anywhere.  Loop thread; does not
   * block.
   */
  int (*survey) (struct fs *fs, uint64_t pos, uint64_t *length);
  /* Data is about to be taken from memory for write-back: what is zeroed from here
   * on is newer.  Loop thread.  Optional.
   */
  void (*take) (struct fs *fs);

  /* Data of these runs, n of them in the order of their place, has been taken to
   * be written back: where to?  The store's bytes that place says become the
   * runs', one behind the other, as far as they go: place->length may be less
   * than they are long, if it is whole blocks, and then nothing has happened to
   * the rest.  They read as before until ioend_done.  Loop thread; does not
   * block.  Returns 0 or a negative errno: -EAGAIN, not yet, and fs_ring when it
   * is worth asking again; with any other, writing back has failed.
   */
  int (*map_for_writeback) (struct fs *fs, const struct iomap_run *runs,
                            unsigned n, struct iomap_place *place);

  /* The store write to a place given by map_for_writeback has ended, of as much of
   * the runs as it has room for.  error: 0; a negative errno, and any of it may
   * have been written; or -ECONNRESET, it was done but the store may have
   * lost it since, so it will be written again.  Loop thread; does not block.
   */
  void (*ioend_done) (struct fs *fs, const struct iomap_run *runs, unsigned n,
                      const struct iomap_place *place, int error);

  /* From now on the range, whole blocks, reads as zero; the store is told later.
   * keep: without giving back its space.  The caller then drops what is in memory
   * of it, and says so with zero_end; until then none of that is mapped for
   * write-back.  Does not block.  Returns 0; or a negative errno, with nothing done:
   * -EAGAIN, there is no room for more before some of it is done, and flushed; -ENOSPC.
   * Without zero_end the caller holds the range, so that no write-back of it is under
   * way or begins meanwhile.
   */
  int (*zero) (struct fs *fs, struct iomap_range *range, bool keep);
  void (*zero_end) (struct fs *fs, struct iomap_range *range);

  /* What zeroes and the like have left to be done for bytes [start, end) is to be
   * done by the store, soon.  Returns a ticket, for settled: 0 when it has, all that
   * there was then; -EAGAIN before, and fs->changes moves when that may change; or
   * an error, when all has been tried.  Ticket 0, with all of the disk: all that
   * anybody has asked for.  Optional, both.
   */
  uint64_t (*settle) (struct fs *fs, uint64_t start, uint64_t end);
  int (*settled) (struct fs *fs, uint64_t start, uint64_t end, uint64_t ticket);

  /* Is it durable where [start, end) is, so that what was written there with STORE_FUA
   * is?  Optional: always.  Loop thread.
   */
  bool (*placed) (struct fs *fs, uint64_t start, uint64_t end);

  /* What is left to be done need not wait any longer, but for what has failed.
   * Optional.
   */
  void (*hurry) (struct fs *fs);

  /* Is there something of [start, end) to settle, or to flush after that?  What was
   * zeroed before is durable if not, or newer data is on the store.  Optional for
   * who can't zero.
   */
  bool (*unsettled) (struct fs *fs, uint64_t start, uint64_t end);

  /* Call fn for each range for which something is left to be done, or that is not
   * flushed.  Optional.
   */
  void (*unsaved) (struct fs *fs, iomap_range_fn *fn, void *opaque);

  /* Make all that has completed durable, data and where it is: a STORE_FLUSH,
   * submitted like one, after what the fs has to have done by the store first,
   * which takes its time like the flush itself; req->done is called when all is
   * over, with the first error.  If the store loses something meanwhile it
   * proves nothing, and may end with any.  Loop thread; one at a time.
   */
  void (*flush) (struct fs *fs, struct store_req *req);

  /* --- A life of its own, all of it optional, and on the loop thread, or on one that
   * takes its place while it sleeps (never two at once): the fs has the store do
   * something for itself, and looks after that in steps, which never wait.  What a
   * request's done finds out it leaves for the next step, and rings for it (fs_ring).
   *
   *   attach --> step, step, ... until idle --> detach
   */

  /* The store is attached, the loop not running yet: begin.  What need not be
   * done at once should be done when it is this old (ns).  Returns 0 or a
   * negative errno.
   */
  int (*attach) (struct fs *fs, uint64_t expire);

  /* That age is another one from now on.  Loop thread; NULL: it stays. */
  void (*expire) (struct fs *fs, uint64_t expire);

  /* Wait until all of it can be used, work having begun.  Returns 0; or why it can't be,
   * as begin does from then on, with the reason logged.  Not on the loop thread.
   */
  int (*ready) (struct fs *fs);

  /* Do a bounded amount of what there is to do; now is env's time.  Returns true if
   * there is more that can be done at once; else it is called again after
   * fs_ring, at the deadline (ns, or ENV_FOREVER), and now and then besides.
   */
  bool (*step) (struct fs *fs, uint64_t now);
  uint64_t (*deadline) (struct fs *fs);

  /* Is nothing of its own in flight?  Then the store may be detached; what is
   * still to be done is lost, as at a power cut.
   */
  bool (*idle) (struct fs *fs);

  /* The loop runs no more, and nobody rings any more when this returns: the bell
   * may go then.
   */
  void (*detach) (struct fs *fs);

  /* The store may have lost whatever it did that was not flushed, or a flush has
   * failed, which means the same (see losses in store.h): what is the fs's own it
   * must do again before the next flush is over, and speak of no data that came
   * to where it is only since the last.  The cache has that still, and writes it
   * again, but for direct writes; of these, what began when store_losses was
   * `losses' already is not lost (LOST_ALL, after a flush: all is).  Called before
   * the step that follows the loss, so what is found done as a step begins was done
   * before any loss that the fs has not been told of.
   */
  void (*lost) (struct fs *fs, uint64_t losses);

  /* The store is better now, perhaps: what failed is to be tried at once. */
  void (*retry) (struct fs *fs);

  /* What can't be a step, since it may block in a question to the store: called
   * once the store is attached, on a thread of its own with signals blocked, and
   * returns after stop_work, which does not wait for that.  The store's loop
   * runs until then.  Without it, and before and after, all else works.
   */
  void (*work) (struct fs *fs);
  void (*stop_work) (struct fs *fs);

  /* Free the fs; not the store. */
  void (*close) (struct fs *fs);
};

/* A format over a store.  size is the disk's, in bytes. */
struct fs {
  const struct iomap_ops *ops;
  struct store *store;
  uint64_t size;
  uint32_t block_size; /* grain of partial writes: what covers less than one
                        * of these must read the rest; 512 to 4096 bytes */
  unsigned max_runs;   /* that it can place one behind the other, at most
                        * IOMAP_MAX_RUNS */
  bool moves;          /* data may move on the store, and where it was is used
                        * again, when no reader is there any more: those of
                        * iterators are counted */
  struct readers readers;
  bool can_fua; /* what is written back with STORE_FUA is durable where that is
                 * placed, and needs no flush of the fs's besides */

  /* What its clients are told, fixed. */
  bool readonly;
  bool rotational;
  bool can_trim; /* space is given back, and costs not as much as writing
                       * zeroes */

  /* What a zero costs does not grow with its length, as far as is known. */
  _Atomic bool can_fast_zero;

  /* What the fs has left to be done for what was acknowledged, or has not flushed,
   * in pages that would cost as much to write; and of that, the latter.
   */
  _Atomic uint32_t unsaved, unstable;
  uint32_t
    written; /* pages that the store had to write for that, and did, since it
                     * was last looked at; the loop thread's */
  struct fs_zeroes { /* that the store is through with, trims too, since that */
    uint64_t requests, bytes, errors;
  } zeroes;
  _Atomic bool
    unflushed; /* some of that was done since it was last looked at */
  _Atomic bool wants_flush; /* there is no room for more before a flush */
  _Atomic uint32_t changes; /* futex word, see begin and settled */
  _Atomic uint32_t undone;  /* counts what may have undone what was settled */
  _Atomic uint64_t told;    /* of the store's losses, and 1; 0: not attached */

  /* By which the loop thread takes a step soon.  Set before attach by whoever uses
   * the fs, or NULL.
   */
  const struct bell *bell;
};

/* Have ops->step called soon.  Any thread, with any lock held. */
static inline void
fs_ring (struct fs *fs)
{
  bell_ring (fs->bell);
}

/* fs->changes moves, for who waits for something to be settled, or for room.  Any
 * thread.
 */
static inline void
fs_changed (struct fs *fs)
{
  atomic_fetch_add (&fs->changes, 1);
  fs->store->env->wake (fs->store->env, &fs->changes);
}

/* Attach the store to the loop, and the fs to both.  Returns 0; or a negative
 * errno, with nothing attached.
 */
extern int fs_attach (struct fs *fs, struct ev_loop *loop, uint64_t expire);
extern void fs_detach (struct fs *fs);

/* The operations of these names, where the fs has them. */
extern int fs_ready (struct fs *fs);
extern uint64_t fs_settle (struct fs *fs, uint64_t start, uint64_t end);
extern int fs_settled (struct fs *fs, uint64_t start, uint64_t end,
                       uint64_t ticket);
extern bool fs_unsettled (struct fs *fs, uint64_t start, uint64_t end);
extern bool fs_placed (struct fs *fs, uint64_t start, uint64_t end);
extern bool fs_step (struct fs *fs, uint64_t now);
extern uint64_t fs_deadline (struct fs *fs);
extern bool fs_idle (struct fs *fs);
extern void fs_lost (struct fs *fs, uint64_t losses);
extern void fs_retry (struct fs *fs);

/* Have what is left to be done for [start, end) done; waits.  Not on the loop
 * thread.  Returns 0 or a negative errno.
 */
extern int fs_settle_wait (struct fs *fs, uint64_t start, uint64_t end);

/* The iterator over a range, one iomap at a time:
 *
 *   struct iomap_iter iter;
 *   int r;
 *   iomap_iter_init (&iter, fs, pos, len, flags);
 *   while ((r = iomap_iter_next (&iter)) > 0) {
 *     uint64_t n = iomap_iter_length (&iter);  (bytes of the iomap in range)
 *     ... use iter.iomap for up to n bytes at iter.pos ...
 *     iter.processed = bytes done;  (0: ask again for the same place)
 *   }
 *
 * iomap_iter_next returns 1 with iter.iomap set, 0 at the end, or a negative
 * errno, also the one of end.  To stop early with an error, call iomap_iter_stop.  What is read from
 * iomap.addr is read by then; or counted besides, by iomap_read_begin.
 */
struct iomap_iter {
  struct fs *fs;
  uint64_t pos; /* bytes */
  uint64_t len; /* bytes left */
  uint64_t processed;
  unsigned flags;
  bool active;      /* begin was called without its end */
  unsigned counted; /* of fs->readers, if it is */
  uint32_t losses;  /* of the store when begin was called, if data moves */
  struct iomap iomap;
};

extern void iomap_iter_init (struct iomap_iter *iter, struct fs *fs,
                             uint64_t pos, uint64_t len, unsigned flags);
extern int iomap_iter_next (struct iomap_iter *iter);
extern int iomap_iter_stop (struct iomap_iter *iter);

static inline uint64_t
iomap_iter_length (const struct iomap_iter *iter)
{
  uint64_t end = iter->iomap.offset + iter->iomap.length;

  return end - iter->pos < iter->len ? end - iter->pos : iter->len;
}

/* The store's address of a place of the disk in the iterator's iomap. */
static inline uint64_t
iomap_iter_addr (const struct iomap_iter *iter, uint64_t pos)
{
  return iter->iomap.addr + (pos - iter->iomap.offset);
}

/* A read that may go on when the iterator, now in use, is not any more; its end.
 * Any thread.
 */
static inline unsigned
iomap_read_begin (const struct iomap_iter *iter)
{
  if (iter->fs->moves)
    readers_join (iter->fs, iter->counted);
  return iter->counted;
}

static inline void
iomap_read_end (struct fs *fs, unsigned counted)
{
  if (fs->moves)
    readers_end (fs, counted);
}

/* Does the current iomap still hold (IOMAP_F_STALE in Linux's words)? */
static inline bool
iomap_iter_valid (const struct iomap_iter *iter)
{
  return iter->fs->ops->valid (iter->fs, &iter->iomap);
}

/* Has the store, if data moves on it, lost something since then?  Where it was lost there
 * may be what another place of the disk had.
 */
static inline bool
iomap_lost (const struct fs *fs, uint32_t losses)
{
  return fs->moves && store_losses (fs->store) != losses;
}

/* What has left the cache since the iomap was given out may be elsewhere. */
static inline bool
iomap_iter_moved (const struct iomap_iter *iter)
{
  return iter->fs->moves && !iomap_iter_valid (iter);
}

#endif /* FOLIO_IOMAP_H */
