/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw's inside, shared by fs/raw*.c only.
 */

#ifndef FOLIO_RAW_IMPL_H
#define FOLIO_RAW_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/backoff.h"
#include "fs/extents.h"
#include "fs/raw/pending.h"
#include "fs/raw/raw.h"
#include "fs/raw/zero-size.h"

/* Bytes: zeroes that are worth a request less to the store for each end of them.
 * Fewer are read along with what is around them.
 */
#define WORTH_A_CUT (UINT64_C (64) << 10)

/* Who asks the store, and how much at once. */
struct raw_asker {
  _Atomic uint64_t window; /* bytes: to ask about next time */
  _Atomic bool cautious;   /* that was once too many */
  uint64_t wanted;         /* runs that an answer should hold */
};

/* What an answer was worth. */
struct raw_found {
  uint64_t start, end; /* it was about this much; nothing, if it failed */
  uint64_t runs;
  uint64_t worth;   /* bytes of zeroes, in runs that are WORTH_A_CUT */
  uint64_t pos_end; /* where the run ends that pos is in; 0: there was none */
};

struct lookahead {
  struct raw_asker in_order, elsewhere;
  bool able;              /* the store knows something */
  _Atomic uint32_t word;  /* futex word: see raw-lookahead.c */
  _Atomic uint64_t hint;  /* a place that is not known, or NOWHERE */
  _Atomic uint64_t next;  /* where it pays to go on asking, or NOWHERE */
  _Atomic int64_t pause;  /* hints elsewhere that are let pass first */
  unsigned disappointing; /* answers in a row; the thread's own */
};

#define RAW_SENDS 8 /* zeroes in flight at most */

/* A zero or trim in flight. */
struct raw_send {
  struct store_req req; /* first */
  struct raw *raw;
  STAILQ_ENTRY (raw_send) link;
  bool keep;
  unsigned doubts; /* when it was sent, */
  uint64_t since;  /* ns: which is when */
  int error;
};

STAILQ_HEAD (raw_sends, raw_send);

struct raw_flush {
  struct store_req req; /* first */
  struct raw *raw;
  struct store_req *caller;
};

/* What is to be zeroed.  Its lock is taken before that of the extents. */
struct raw_zeroes {
  pthread_mutex_t lock;    /* protects all but count, cookie */
  _Atomic size_t count;    /* of the ranges that are pending */
  _Atomic uint64_t cookie; /* counts ranges that were added, or made way */
  struct pending pending;
  struct raw_send sends[RAW_SENDS];
  struct raw_sends idle, finished; /* and not looked at since */
  struct raw_sends again;          /* the store would not do these fast */
  unsigned in_flight;              /* of sends */
  struct zero_size size;           /* of those to be sent */
  struct raw_flush flush;
  uint32_t losses; /* of the store, as far as told */

  bool armed;             /* the loop thread knows when the first will be old */
  uint64_t expire;        /* ns: until they are sent though nobody waits */
  struct backoff backoff; /* until what has failed is tried again */
  unsigned failed_in_row; /* since one succeeded, or somebody came to wait */
  bool logged;
};

struct raw {
  struct fs fs;
  struct extents *extents;
  struct raw_zeroes zeroes;
  struct raw_asker reports;
  struct lookahead lookahead;
};

static inline struct raw *
raw_of (struct fs *fs)
{
  return (struct raw *) fs; /* its first member */
}

/* What the store makes of a zero. */
static inline enum iomap_type
raw_zero_type (const struct raw *raw, bool keep)
{
  const struct store_geometry *geo = &raw->fs.store->geo;

  return !keep && geo->can_trim && geo->can_extents ? IOMAP_HOLE
                                                    : IOMAP_UNWRITTEN;
}

/* ---- zeroes.c */

extern bool raw_zeroes_init (struct raw *raw);
extern void raw_zeroes_destroy (struct raw *raw);

/* As pending_at and pending_map.  Cheap if there are none.  raw_zeroes_map returns 0;
 * -EAGAIN, and what is direct is told by fs->changes; -ENOMEM; or, if there is no room,
 * why that is so.
 */
extern bool raw_zeroes_at (struct raw *raw, uint64_t pos, uint64_t *length,
                           bool *keep);
extern int raw_zeroes_map (struct raw *raw, uint64_t start, uint64_t end,
                           bool direct);
extern bool raw_zeroes_written (struct raw *raw, uint64_t start, uint64_t end,
                                int error);

/* The pages that so many bytes are, rounded up. */
extern uint32_t raw_pages (uint64_t bytes);

/* Something of what is pending has changed.  The lock is held. */
extern void raw_zeroes_changed (struct raw *raw);

/* Operations of iomap_ops; those from raw_flush on are in send.c. */
extern int raw_zero (struct fs *fs, struct iomap_range *range, bool keep);
extern void raw_zero_end (struct fs *fs, struct iomap_range *range);
extern uint64_t raw_settle (struct fs *fs, uint64_t start, uint64_t end);
extern int raw_settled (struct fs *fs, uint64_t start, uint64_t end,
                        uint64_t ticket);
extern void raw_hurry (struct fs *fs);
extern bool raw_unsettled (struct fs *fs, uint64_t start, uint64_t end);
extern void raw_unsaved (struct fs *fs, iomap_range_fn *fn, void *opaque);
extern void raw_take (struct fs *fs);
extern void raw_flush (struct fs *fs, struct store_req *req);
extern int raw_attach (struct fs *fs, uint64_t expire);
extern void raw_expire (struct fs *fs, uint64_t expire);
extern bool raw_step (struct fs *fs, uint64_t now);
extern uint64_t raw_deadline (struct fs *fs);
extern bool raw_idle (struct fs *fs);
extern void raw_lost (struct fs *fs, uint64_t losses);
extern void raw_retry (struct fs *fs);

/* ---- raw-ask.c: what the store knows */

#define RAW_FIRST_WINDOW (UINT64_C (8) << 20)
#define RAW_MIN_WINDOW (UINT64_C (256) << 10)

/* Ask the store what there is from pos on, and keep what there is room for, and
 * what nobody has written to meanwhile.  Blocks.
 */
extern void raw_ask (struct raw *raw, struct raw_asker *asker, uint64_t pos,
                     struct raw_found *found);

/* ---- raw-lookahead.c: asking for readers, which do not wait for it */

#define NOWHERE UINT64_MAX

/* Values of lookahead.word. */
enum {
  LOOKAHEAD_OFF, /* no thread */
  LOOKAHEAD_ASLEEP,
  LOOKAHEAD_AWAKE,
  LOOKAHEAD_STOP, /* the thread is to end */
};

extern void raw_lookahead_init (struct raw *raw);

/* The life of the thread that asks, until raw_lookahead_stop; without a store that
 * knows anything it ends at once.  Before and after hints are lost.
 */
extern void raw_lookahead (struct raw *raw);
extern void raw_lookahead_stop (struct raw *raw);

/* Somebody reads pos, of which nothing is known.  Any thread; never blocks. */
extern void raw_lookahead_hint (struct raw *raw, uint64_t pos);

#endif /* FOLIO_RAW_IMPL_H */
