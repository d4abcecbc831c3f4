/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A world for tests of pacing: no loop thread, and while the test waits, time
 * passes, the store works and write-back makes its steps.
 */

#ifndef FOLIO_TESTS_BALANCE_WORLD_H
#define FOLIO_TESTS_BALANCE_WORLD_H

#include "cache-fixture.h"

#define LIMIT 4096 /* pages */
#define SETPOINT 3584
#define TICK (4 * NSEC_PER_MSEC)

/* Of the thread that started it: others wait as the fixture does. */
struct paced {
  struct fixture *f;
  bool busy;      /* time is passing */
  uint64_t owed;  /* store requests times NSEC_PER_SEC */
  unsigned speed; /* requests a second that the store does; 0: none */
  unsigned bound; /* messages that the flush target limits */
  unsigned unbound;
  uint64_t waits;
};
extern struct paced paced;

/* A store that does so many requests a second; flush_target: ns, 0: none. */
extern struct fixture *start_world (unsigned speed, uint64_t flush_target);

extern void stop_world (struct fixture *f);

/* A test in such a world, f. */
#define PACING_TEST(name, speed, flush_target)                                 \
  TEST_WITH (name, struct fixture *f, start_world (speed, flush_target),       \
             stop_world)

/* Let the law know, as if from experience: pages a second. */
extern void teach (struct fixture *f, double bandwidth, double base);

/* Have `pages' pages dirty, the first ones of the disk. */
extern void fill (struct fixture *f, unsigned pages);

#endif /* FOLIO_TESTS_BALANCE_WORLD_H */
