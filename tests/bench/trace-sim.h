/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reference caches for the replay of block traces: LRU and ARC, over pages.
 */

#ifndef FOLIO_TRACE_SIM_H
#define FOLIO_TRACE_SIM_H

#include <stdbool.h>
#include <stdint.h>

/* Pages are numbered from 0 to nr_ids - 1.  A cache is made with room for
 * `pages', sees each access in order, and tells whether it was a hit.
 */
struct sim {
  const char *name;
  void *(*create) (uint32_t nr_ids, uint32_t pages);
  bool (*access) (void *cache, uint32_t id);
  void (*destroy) (void *cache);
};

extern const struct sim sim_lru;

/* Megiddo, Modha: "ARC: a self-tuning, low overhead replacement cache",
 * FAST 2003.
 */
extern const struct sim sim_arc;

#endif /* FOLIO_TRACE_SIM_H */
