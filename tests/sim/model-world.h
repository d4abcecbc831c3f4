/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A world of its own for the cache: a clock, fibers that stand for threads, and
 * a scheduler that decides by a seed who goes on when.  All of it runs on one
 * thread, so the same seed makes the same things happen in the same order:
 *
 *   world     clock, scheduler, random numbers, record of what happened
 *   fiber     a client's thread, or one of the cache's own: switches only where
 *             it waits (env->wait) or asks to (world_yield)
 *   loop      what runs on a loop thread: steps of write-back, timers, and the
 *             store's completions, which are timers; must not wait
 *
 * The rest of the bench, each file with its own head:
 *
 *   model-medium    the bytes, volatile and durable; what a power cut leaves
 *   model-faults    which requests fail, and when the store is out of reach
 *   model-store     struct store_ops over these, taking its time
 *   model-flusher   what cache/writeback/flusher.c does with threads and libev
 *   model-oracle    which contents each sector may have
 *
 * env->wait outside of a fiber takes turns until what it waits for is there; so
 * the program itself can use the cache as well.
 */

#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/env.h"
#include "tests/tools/util.h"

struct fiber;

/* An alarm, embedded in whatever it is for; zeroed before first use. */
struct model_timer {
  struct model_timer *next;
  uint64_t due; /* ns */
  void (*fn) (void *opaque);
  void *opaque;
};

/* A loop thread. */
struct model_loop {
  bool (*step) (void *opaque);         /* true: there is more to do at once */
  uint64_t (*deadline) (void *opaque); /* asked after each step, not later */
  void *opaque;
  bool ready;   /* to take a step */
  uint64_t due; /* when to take the next one, if not ready: ns */
};

/* Something that happened, for the record. */
struct model_event {
  uint64_t time;
  const char *what;        /* a literal */
  char *text;              /* of a log message, owned; else NULL */
  uint64_t offset, length; /* bytes; length 0: concerns all of the disk */
  int64_t value;           /* depends on what happened: a result, an id */
};

struct world {
  struct env env; /* first */
  struct rng rng;
  uint64_t seed;
  uint64_t clock; /* ns */
  uint64_t turns; /* of the scheduler so far */
  uint64_t hash;  /* of all that has happened */
  bool trace;     /* print what happens */

  struct fiber *current; /* NULL: the scheduler, or the program */
  struct fiber *fibers;  /* all that have not ended */
  struct model_timer *timers;
  struct model_loop *loop;
  bool on_loop; /* a timer or step is running */
  bool helping; /* or a step, by a thread that is no loop thread: */
  const struct fiber *helper; /* this one */
  uint64_t deadline; /* ns, until when the program itself waits at most */

  struct model_event *events; /* since world_forget */
  size_t nr_events, room;
  uint64_t last_turn; /* before something must have gone round in circles */
};

extern struct world *world_create (uint64_t seed, bool trace);
extern void world_destroy (struct world *w);

static inline struct world *
world_of (struct env *env)
{
  return (struct world *) env; /* its first member */
}

/* Let one thing happen: a fiber goes on, a timer goes off, the loop takes a
 * step; if nothing can, time passes until something can.  The program ends, as
 * by world_fail, if nothing ever could again.
 */
extern void world_turn (struct world *w);

/* Take turns until nothing is left to do: all fibers wait without a deadline
 * or have ended, no timer is set, and the loop has no work.
 */
extern bool world_quiet (const struct world *w);

extern void world_timer_set (struct world *w, struct model_timer *timer,
                             uint64_t due, void (*fn) (void *opaque),
                             void *opaque);
extern void world_timer_cancel (struct world *w, struct model_timer *timer);

/* On a fiber: let others go on, perhaps. */
extern void world_yield (struct world *w);

/* On a fiber, or outside: let some time pass. */
extern void world_sleep (struct world *w, uint64_t ns);

extern void world_note (struct world *w, const char *what, uint64_t offset,
                        uint64_t length, int64_t value);

/* Forget the record, not its hash; from here on WORLD_PATIENCE turns may be
 * taken, or the program ends as by world_fail.
 */
#define WORLD_PATIENCE 3000000u
extern void world_forget (struct world *w);

/* Print the message, the seed, and what happened to the sector (or, if that is
 * WORLD_ALL, to all), and end the program.
 */
#define WORLD_ALL UINT64_MAX
extern void world_fail (struct world *w, uint64_t sector, const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4), noreturn));

static inline uint64_t
world_below (struct world *w, uint64_t n)
{
  return rng_below (&w->rng, n);
}

static inline bool
world_chance (struct world *w, unsigned percent)
{
  return rng_chance (&w->rng, percent) != 0;
}

/* --- fibers --- */

/* Start one that calls fn (opaque), and whose name is a literal.  It is freed
 * when it has ended.
 */
extern void fiber_start (struct world *w, const char *name,
                         void (*fn) (void *opaque), void *opaque);

/* How many have not ended. */
extern unsigned fiber_count (const struct world *w);

/* Free the stacks kept for later fibers. */
extern void fiber_free_stacks (void);

#endif /* MODEL_WORLD_H */
