/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * For how long a store that fails is left in peace before it is tried again.  Knows
 * no clock.
 */

#ifndef FOLIO_BACKOFF_H
#define FOLIO_BACKOFF_H

#include <stdint.h>

#include "fs/env.h"
#include "fs/num.h"

/* ns; the shortest and the longest. */
#define BACKOFF_MIN (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX (10 * NSEC_PER_SEC)

/* The one that follows on this one; 0: the first. */
static inline uint64_t
backoff_next (uint64_t backoff)
{
  return max_u64 (min_u64 (backoff * 2, BACKOFF_MAX), BACKOFF_MIN);
}

/* All zeroes: nothing has failed. */
struct backoff {
  uint64_t last;  /* ns; 0: none yet */
  uint64_t until; /* ns */
};

/* It has failed, now (ns).  What fails while it is left in peace was sent before. */
static inline void
backoff_begin (struct backoff *backoff, uint64_t now)
{
  if (now < backoff->until)
    return;
  backoff->last = backoff_next (backoff->last);
  backoff->until = now + backoff->last;
}

#endif /* FOLIO_BACKOFF_H */
