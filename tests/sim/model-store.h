/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store over a medium, in a model world: requests take their time, so many at
 * once, and are done in any order; they fail by rule; the far side restarts and
 * forgets.  It promises only what fs/store.h does:
 *
 *   - A flush makes durable what was done before the flush was submitted.
 *   - A write that fails, or is under way when power is cut, has reached the
 *     medium in part, or not at all, or wholly, sector by sector.
 *   - A request has its effect when it is done, or, if a flush fails while it is
 *     under way, perhaps just before that.
 */

#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "fs/store.h"
#include "model-faults.h"
#include "model-medium.h"

#define MODEL_OPS 5 /* how many values enum store_op has */

/* What a flush that fails does to what was not durable. */
enum model_flush_failure {
  MODEL_KEEPS, /* nothing: the next one may succeed, for all */
  MODEL_DOOMS, /* see medium_doom */
  MODEL_LOSES, /* reads, too, see what a power cut would have left */
};

struct model_store_config {
  struct store_geometry geo;   /* without size */
  unsigned depth;              /* requests served at once */
  uint64_t latency[MODEL_OPS]; /* ns; half to twice that, seldom 20 times */
  uint64_t bandwidth;          /* bytes a second, of READ and WRITE together */
  unsigned instant;            /* percent that are done within submit */
  enum model_flush_failure flush_failure;
  unsigned losing; /* ops (bits 1 << STORE_*) that when they fail may lose what
                    * was done before */
};

struct model_store {
  struct store store; /* first */
  struct world *world;
  struct medium *medium; /* NULL: power is off */
  struct model_store_config config;
  struct model_faults faults;
  _Atomic uint32_t lost; /* counts how often something may have been lost */

  struct model_job *queue, *running; /* in the order of their arrival */
  unsigned nr_running;
  uint64_t pipe_free;               /* ns, when bandwidth is next to be had */
  bool down;                        /* out of reach */
  bool given_up;                    /* down for so long that requests fail */
  struct model_timer back, give_up; /* of being down */
};

/* The medium and the config's rules are the caller's, and outlive power. */
extern struct model_store *
model_store_create (struct world *world, struct medium *medium,
                    const struct model_store_config *config);

/* Power is cut: what is under way reaches the medium in part, what is not
 * durable is kept or lost, and from here on all requests fail and nothing
 * touches the medium.
 */
extern void model_store_cut (struct model_store *s);

/* The far side restarts and is out of reach for so many ns: what was not
 * flushed is lost, as at a power cut, what is under way is done again.  After
 * patience ns of that requests fail.  Does nothing if it is down already.
 */
extern void model_store_restart (struct model_store *s, uint64_t ns,
                                 uint64_t patience);

#endif /* MODEL_STORE_H */
