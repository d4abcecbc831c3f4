/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw's inside, shared by fs/raw*.c only.
 */

#ifndef FOLIO_RAW_IMPL_H
#define FOLIO_RAW_IMPL_H

#include <stdatomic.h>

#include "fs/extents.h"
#include "fs/iomap.h"

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

struct raw {
  struct fs fs;
  struct extents *extents;
  struct raw_asker reports;
  struct lookahead lookahead;
};

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
