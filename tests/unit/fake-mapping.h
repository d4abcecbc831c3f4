/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A mapping for tests of eviction: a table of folios under a mutex, which
 * follows the rules that cache/folio/reclaim.h and cache/folio/reclaim.c set for the real
 * ones.  Failures end the program: most of this runs on threads of its own.
 */

#ifndef FOLIO_FAKE_MAPPING_H
#define FOLIO_FAKE_MAPPING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/folio/folio.h"
#include "cache/folio/reclaim.h"

#define FAKE_PAGES 4096 /* pages of the disk */

struct fake {
  struct env env;
  struct arena *arena;
  struct reclaim *reclaim;
  pthread_mutex_t lock; /* the index lock */
  struct folio *slots[FAKE_PAGES];
  _Atomic uint32_t need_clean; /* calls; woken as a futex word */
  _Atomic uint32_t evicted;    /* folios */

  /* If set, called first in each eviction, without locks. */
  void (*_Atomic on_evict) (struct fake *fake, struct folio *folio);
};

extern void fake_init (struct fake *fake, uint32_t pages, uint32_t reserve);

/* Drop everything that is left and check that every page is accounted for. No
 * other references are held.  reclaim may be NULL by then, with no folios in.
 */
extern void fake_destroy (struct fake *fake);

/* The folio that holds page, with a reference, or NULL. */
extern struct folio *fake_get (struct fake *fake, uint64_t page);

/* Put in a fresh folio at page, and a stamp at the start of its memory.
 * Returns false, with nothing done, if it overlaps another.  The caller keeps
 * its reference.
 */
extern bool fake_insert (struct fake *fake, struct folio *folio, uint64_t page,
                         bool cold);

/* Allocate with wait, and insert; gives the reference back. */
extern void fake_bring (struct fake *fake, uint64_t page, bool cold);

/* Touch the folio at page or bring it in.  Returns true for a hit. */
extern bool fake_access (struct fake *fake, uint64_t page);

/* Is it in?  Touches nothing. */
extern bool fake_has (struct fake *fake, uint64_t page);

/* Take the folio out, if it is still in; the caller holds a reference. */
extern void fake_remove (struct fake *fake, struct folio *folio);

/* Make it dirty, if it is still in. */
extern void fake_dirty (struct fake *fake, struct folio *folio);

/* Make it clean and, if eviction wants to know, tell. */
extern void fake_clean (struct fake *fake, struct folio *folio);
extern void fake_clean_all (struct fake *fake);

#endif /* FOLIO_FAKE_MAPPING_H */
