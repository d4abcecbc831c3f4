/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Large arrays of zeroes that cost no memory until they are touched.
 */

#include <stdint.h>
#include <sys/mman.h>

#include "cache/base/lazy-map.h"
#include "fs/num.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE_SIZE ((size_t) 2 << 20)
#define SMALL_SIZE ((size_t) 4096)

static void *
map (size_t bytes)
{
  void *p = mmap (NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  return p == MAP_FAILED ? NULL : p;
}

/* Map more than is asked for and cut off what sticks out at both ends. */
static void *
map_huge (size_t bytes)
{
  uint8_t *p = map (bytes + HUGE_SIZE);
  size_t before;

  if (p == NULL)
    return NULL;
  before = round_up ((uintptr_t) p, HUGE_SIZE) - (uintptr_t) p;
  if (before > 0)
    munmap (p, before);
  munmap (p + before + bytes, HUGE_SIZE - before);
  madvise (p + before, bytes, MADV_HUGEPAGE); /* only advice */
  return p + before;
}

void *
lazy_map (size_t bytes)
{
  if (bytes > SIZE_MAX / 2)
    return NULL;
  bytes = round_up (bytes, SMALL_SIZE);
  return bytes < HUGE_SIZE ? map (bytes) : map_huge (bytes);
}

bool
lazy_populate (void *p, size_t bytes)
{
  uintptr_t start = (uintptr_t) p / SMALL_SIZE * SMALL_SIZE;

  bytes = round_up ((uintptr_t) p + bytes - start, SMALL_SIZE);
  return madvise ((void *) start, bytes, MADV_POPULATE_WRITE) == 0;
}

void
lazy_unmap (void *p, size_t bytes)
{
  if (p != NULL)
    munmap (p, round_up (bytes, SMALL_SIZE));
}
