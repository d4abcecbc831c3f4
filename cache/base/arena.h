/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The arena: the memory of all folios, one mapped region, and a record for
 * each of its pages, found from the page by arithmetic.
 *
 *   data    | page 0 | page 1 | ...                       | page n-1 |
 *   folios  | rec 0  | rec 1  | ...                       | rec n-1  |
 *   state   | mask 0 | mask 1 | ...                       | mask n-1 |
 *
 * A folio of order k is 2^k naturally aligned pages and is known by the
 * record of its first page; each page has a word of sector masks of its own.
 * Records and masks are type-stable: they never go away while the arena
 * lives, so a reference can be tried on one that may have been freed and given
 * to another place meanwhile (and then be found wrong and put back).
 *
 * Free memory is kept by a binary buddy allocator (Knuth, The Art of Computer
 * Programming, 2.5), a list an order.
 */

#ifndef FOLIO_ARENA_H
#define FOLIO_ARENA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/env.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE (1u << PAGE_SHIFT)
#define SECTOR_SHIFT 9
#define SECTOR_SIZE (1u << SECTOR_SHIFT)
#define SECTORS_PER_PAGE (PAGE_SIZE / SECTOR_SIZE)

#define MAX_ORDER 9 /* 2 MiB */
#define NR_ORDERS (MAX_ORDER + 1)

#define PFN_NONE UINT32_MAX

/* The record of a page.  Meaning only in the first page of a folio, but for
 * unstable_gen.  What a hit looks at stands together, first.
 */
struct folio {
  _Atomic uint64_t index;   /* first page, in pages of the disk */
  _Atomic uint32_t refs;    /* 0: free or being freed */
  _Atomic uint16_t mapping; /* id of the mapping it is in, 0: none; changed
                              * under that mapping's index lock */
  _Atomic uint16_t flags;   /* FOLIO_*, see folio.h */
  _Atomic uint16_t used_to; /* sector in the folio at which the last use of it
                             * ended; 0: not used yet */
  _Atomic uint8_t order;    /* fixed from allocation to freeing */
  _Atomic uint8_t freq;     /* hits seen by eviction, saturating */
  _Atomic uint32_t lock;    /* futex word, see folio.h */
  _Atomic uint32_t dirtied; /* when it first became dirty, in units of 10 ms of
                              * env time; written under the index lock */
  uint32_t next, prev;      /* arena's free list (arena lock) or eviction queue
                              * (queue lock); page numbers */
  uint8_t queue;            /* which eviction queue; queue lock */
  uint8_t unstable_gen;     /* of each page, while it is unstable: the flush
                              * generation it became so in; loop thread */
};

struct arena {
  uint8_t *data;
  struct folio *folios;
  _Atomic uint32_t *state;
  uint32_t nr_pages;

  pthread_mutex_t lock; /* protects free lists; below queue lock, innermost */
  uint32_t free_list[NR_ORDERS];
  uint64_t *free_map[NR_ORDERS]; /* a bit for each block of the order: is it
                                  * in the free list? */
  _Atomic uint32_t fresh; /* pages from here on were never used: free, in no
                           * list; written under lock, read without */
  _Atomic uint32_t ready; /* pages from here on may have to get real memory when
                           * they are touched: see arena_prepare */
  _Atomic uint32_t nr_free; /* pages; written under lock, read without */
  /* To sleep until there is memory: add 1 to sleepers, read freed, try
   * arena_alloc once more, wait on freed, take the 1 from sleepers again.
   */
  _Atomic uint32_t freed;    /* futex word: changes whenever pages are freed
                              * while sleepers is not 0 */
  _Atomic uint32_t sleepers; /* threads about to wait for `freed' */
  struct env *env;
};

/* Most pages that an arena can have (8 TiB): page numbers fit 31 bits. */
#define ARENA_PAGES_MAX (UINT32_MAX / 2 - 1)

/* Map an arena of `bytes' (rounded down to pages; at least one page; any
 * number of pages is possible, not just powers of two), advised to be huge
 * pages, not touched.  env outlives it.  Returns 0, -ENOMEM or -EINVAL.
 */
extern int arena_create (struct env *env, size_t bytes, struct arena **arena);
extern void arena_destroy (struct arena *arena);

/* The smallest order of which a folio has this many bytes, if any has. */
static inline unsigned
arena_order (uint64_t bytes)
{
  unsigned order = 0;

  while (order < MAX_ORDER && ((uint64_t) PAGE_SIZE << order) < bytes)
    order++;
  return order;
}

/* Take a folio of exactly this order, with one reference, masks of all its
 * pages zero, index 0, no mapping, flags 0; its memory holds anything.  NULL
 * if there is no such run of free pages.  Never waits but for the lock.
 */
extern struct folio *arena_alloc (struct arena *arena, unsigned order);

/* Give back a folio whose references are gone (refs is 0) and that is in no
 * mapping.  Wakes sleepers.
 */
extern void arena_free (struct arena *arena, struct folio *folio);

/* The same for several, all at once. */
extern void arena_free_all (struct arena *arena, struct folio *const *folios,
                            unsigned nr);

/* Could nr folios of this order be taken now?  A hint. */
extern bool arena_has (struct arena *arena, unsigned order, unsigned nr);

/* So many pages are to have real memory before they are needed: 8 MiB. */
#define ARENA_AHEAD (4u << MAX_ORDER)

/* Is there something to be done by arena_prepare?  A hint. */
static inline bool
arena_unprepared (const struct arena *arena)
{
  uint32_t fresh = atomic_load_explicit (&arena->fresh, memory_order_relaxed);
  uint32_t ready = atomic_load_explicit (&arena->ready, memory_order_relaxed);

  return ready < arena->nr_pages &&
         (uint64_t) ready < (uint64_t) fresh + ARENA_AHEAD;
}

/* Get some of the real memory that will be needed next, lest whoever needs it
 * waits: 2 MiB at once take a millisecond or more where a hypervisor has to find
 * them.  Until arena_unprepared says that it was enough.  One thread at a time.
 */
extern void arena_prepare (struct arena *arena);

static inline uint32_t
arena_pfn (const struct arena *arena, const struct folio *folio)
{
  return (uint32_t) (folio - arena->folios);
}

static inline struct folio *
arena_folio (const struct arena *arena, uint32_t pfn)
{
  return &arena->folios[pfn];
}

/* The memory of the folio. */
static inline uint8_t *
arena_data (const struct arena *arena, const struct folio *folio)
{
  return arena->data + ((size_t) arena_pfn (arena, folio) << PAGE_SHIFT);
}

/* The masks of the folio's pages, one word a page. */
static inline _Atomic uint32_t *
arena_state (const struct arena *arena, const struct folio *folio)
{
  return arena->state + arena_pfn (arena, folio);
}

static inline unsigned
folio_order (const struct folio *folio)
{
  return atomic_load_explicit (&folio->order, memory_order_relaxed);
}

static inline uint64_t
folio_index (const struct folio *folio)
{
  return atomic_load_explicit (&folio->index, memory_order_relaxed);
}

/* Take a reference, unless there is none: then the record is free, or about to
 * be, and false is returned.  Needs no reference of the caller: records never
 * go away.  What the folio is can be told only afterwards, from mapping, read
 * with acquire order, and then index.
 */
static inline bool
folio_try_get (struct folio *folio)
{
  /* Acquire, with arena_alloc's release and with the releases in folio_put
   * and whoever else brings refs to 0: having seen a later life of the record
   * (or its end), the caller also sees that the index lost the earlier one.
   */
  uint32_t refs = atomic_load_explicit (&folio->refs, memory_order_acquire);

  do {
    if (refs == 0)
      return false;
  } while (!atomic_compare_exchange_weak_explicit (
    &folio->refs, &refs, refs + 1, memory_order_acquire, memory_order_acquire));
  return true;
}

/* Another reference to a folio to which the caller has one. */
static inline void
folio_get (struct folio *folio)
{
  /* Relaxed: nothing is learned from it. */
  atomic_fetch_add_explicit (&folio->refs, 1, memory_order_relaxed);
}

/* Give a reference back; the last one frees the folio. */
static inline void
folio_put (struct arena *arena, struct folio *folio)
{
  /* Release: what was done with the folio comes before its end; acquire: the
   * last one frees it after what all others did.
   */
  if (atomic_fetch_sub_explicit (&folio->refs, 1, memory_order_acq_rel) == 1)
    arena_free (arena, folio);
}

#endif /* FOLIO_ARENA_H */
