/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How much to zero at once where it costs the same however much that is, if there is
 * nothing to be freed.  Where there is, it takes its time, and a file is locked
 * against all else meanwhile.  So: little, and more where it is the way to
 * the store that takes the time, as long as that is no slower.
 *
 * Knows no clock.  No locks: the caller's.
 */

#ifndef FOLIO_ZERO_SIZE_H
#define FOLIO_ZERO_SIZE_H

#include <stdint.h>

#define ZERO_SIZE_MIN (UINT64_C (64) << 20)
#define ZERO_SIZE_MAX (UINT64_C (512) << 20)

struct zero_size {
  uint64_t bytes; /* to zero at once */
  uint64_t way;   /* ns: the least that any has taken */
};

#define ZERO_SIZE_INIT                                                         \
  {                                                                            \
    .bytes = ZERO_SIZE_MIN, .way = UINT64_MAX                                  \
  }

/* One of so many bytes has been done in that time, ns. */
extern void zero_size_took (struct zero_size *size, uint64_t bytes,
                            uint64_t took);

#endif /* FOLIO_ZERO_SIZE_H */
