/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Random numbers of a unit test: fresh in each run, printed, and replayed with
 * SEED=N in the environment.
 */

#ifndef FOLIO_TESTS_SEED_H
#define FOLIO_TESTS_SEED_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/tools/util.h"

static inline struct rng
test_rng (const char *test)
{
  const char *text = getenv ("SEED");
  uint64_t seed = text != NULL ? strtoull (text, NULL, 0) : fresh_seed ();

  printf ("%s: SEED=%" PRIu64 "\n", test, seed);
  fflush (stdout);
  return (struct rng) { seed };
}

#endif /* FOLIO_TESTS_SEED_H */
