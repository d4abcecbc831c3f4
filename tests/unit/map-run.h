/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back of one run, as a format sees it.
 */

#ifndef MAP_RUN_H
#define MAP_RUN_H

#include "fs/iomap.h"

static inline int
map_run (struct fs *fs, const struct iomap_ops *ops, uint64_t offset,
         uint64_t length)
{
  struct iomap_run run = { .start = offset, .end = offset + length };
  struct iomap_place place;

  return ops->map_for_writeback (fs, &run, 1, &place);
}

static inline void
run_done (struct fs *fs, const struct iomap_ops *ops, uint64_t offset,
          uint64_t length, int error)
{
  struct iomap_run run = { .start = offset, .end = offset + length };
  struct iomap_place place = { .addr = offset, .length = length };

  ops->ioend_done (fs, &run, 1, &place, error);
}

#endif /* MAP_RUN_H */
