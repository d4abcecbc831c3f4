/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Arithmetic of numbers, sizes and places.
 */

#ifndef FOLIO_NUM_H
#define FOLIO_NUM_H

#include <stdint.h>

static inline uint64_t
min_u64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
max_u64 (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* To a multiple of `to', a power of two. */
static inline uint64_t
round_down (uint64_t x, uint64_t to)
{
  return x & ~(to - 1);
}

static inline uint64_t
round_up (uint64_t x, uint64_t to)
{
  return round_down (x + to - 1, to);
}

#endif /* FOLIO_NUM_H */
