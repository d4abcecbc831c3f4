/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A simulation of what the control law is for: a store, connections and a clock,
 * all of them numbers, in steps of a millisecond.
 */

#ifndef FOLIO_TESTS_LAW_SIM_H
#define FOLIO_TESTS_LAW_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/pace/throttle-law.h"
#include "fs/env.h"
#include "tests/tools/util.h"

#define STEP NSEC_PER_MSEC
#define STEPS_PER_SEC 1000u
#define MAX_WRITERS 16
#define MAX_DEPTH 32

/* One client connection. */
struct writer {
  unsigned depth;  /* requests side by side; 0: not there */
  unsigned period; /* steps from one request to the next; 0: flat out */
  unsigned pages;  /* of a request */

  uint64_t clock;                  /* the law's */
  uint64_t awake[MAX_DEPTH];       /* ns: pausing until then */
  uint64_t since[MAX_DEPTH];       /* ns: waiting since then, or 0 */
  uint64_t next;                   /* ns: when the next request is due */
  uint64_t written;                /* pages */
  uint64_t longest;                /* ns: the longest wait of a request */
  uint64_t waited, requests, slow; /* ns; counts; waits over 30 ms */
};

struct sim {
  struct throttle_law law;
  struct law_limits limits;
  struct law_sample sample;
  struct rng rng;
  uint64_t now;
  double speed;    /* pages a second that the store takes */
  unsigned lump;   /* steps from one end of its requests to the next, or 0 */
  double progress; /* of the page being written */
  uint32_t dirty, unstable;
  bool stuck;         /* somebody waits for room */
  uint64_t flush_end; /* ns; 0: none on */
  uint32_t flushing;  /* pages of it */
  uint64_t cleaned;   /* pages written in all */
  uint32_t most;      /* unsaved at most */
  struct writer writers[MAX_WRITERS];
};

/* What is dirty or unstable. */
extern uint32_t sim_unsaved (const struct sim *sim);

/* limit, background: pages, of which nothing is dirty yet; flush_target: seconds;
 * speed: pages a second.  No writers.
 */
extern void sim_init (struct sim *sim, uint32_t limit, uint32_t background,
                      unsigned flush_target, double speed);

/* Writer i begins anew, now. */
extern struct writer *sim_add_writer (struct sim *sim, unsigned i,
                                      unsigned depth, unsigned period,
                                      unsigned pages);

extern void sim_step (struct sim *sim);
extern void sim_run (struct sim *sim, unsigned secs);

/* Count anew what has been written and waited for. */
extern void sim_forget (struct sim *sim);

#endif /* FOLIO_TESTS_LAW_SIM_H */
