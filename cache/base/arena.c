/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The arena's buddy allocator (Knuth, The Art of Computer Programming, 2.5).
 *
 * Pages from `fresh' on were never used and are in no list, so that a large
 * arena is made at once and takes real memory only as it fills, from low
 * addresses up.  Below, a free block is in the list of its order, linked by the
 * records of first pages, and has its bit in the order's map.  Lists are last
 * in, first out: what was used lately is still in the processor's caches.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cache/base/arena.h"
#include "cache/base/lazy-map.h"
#include "cache/base/lock-order.h"
#include "cache/base/sanitizer.h"

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void) (start), (void) (size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void) (start), (void) (size))
#endif

/* --- free lists; arena lock held --- */

static bool
is_free (const struct arena *arena, uint32_t pfn, unsigned order)
{
  uint32_t block = pfn >> order;

  return arena->free_map[order][block / 64] >> (block % 64) & 1;
}

static void
flip_free (struct arena *arena, uint32_t pfn, unsigned order)
{
  uint32_t block = pfn >> order;

  arena->free_map[order][block / 64] ^= UINT64_C (1) << (block % 64);
}

static void
push_block (struct arena *arena, uint32_t pfn, unsigned order)
{
  struct folio *folio = arena_folio (arena, pfn);
  uint32_t head = arena->free_list[order];

  folio->prev = PFN_NONE;
  folio->next = head;
  if (head != PFN_NONE)
    arena_folio (arena, head)->prev = pfn;
  arena->free_list[order] = pfn;
  flip_free (arena, pfn, order);
}

static void
unlink_block (struct arena *arena, uint32_t pfn, unsigned order)
{
  struct folio *folio = arena_folio (arena, pfn);

  if (folio->prev == PFN_NONE)
    arena->free_list[order] = folio->next;
  else
    arena_folio (arena, folio->prev)->next = folio->next;
  if (folio->next != PFN_NONE)
    arena_folio (arena, folio->next)->prev = folio->prev;
  flip_free (arena, pfn, order);
}

/* The order of the largest block that can begin at fresh. */
static unsigned
fresh_order (const struct arena *arena)
{
  unsigned order = MAX_ORDER;

  while ((arena->fresh & ((1u << order) - 1)) != 0 ||
         arena->nr_pages - arena->fresh < 1u << order)
    order--;
  return order;
}

/* Put fresh memory into the lists until there is a block of `order' or more;
 * returns its order, or NR_ORDERS if there is none left.
 */
static unsigned
use_fresh (struct arena *arena, unsigned order)
{
  while (arena->fresh < arena->nr_pages) {
    unsigned k = fresh_order (arena);

    push_block (arena, arena->fresh, k);
    arena->fresh += 1u << k;
    if (k >= order)
      return k;
  }
  return NR_ORDERS;
}

/* Take a block of this order out of the smallest that holds one. */
static uint32_t
take_block (struct arena *arena, unsigned order)
{
  unsigned k = order;
  uint32_t pfn;

  while (k < NR_ORDERS && arena->free_list[k] == PFN_NONE)
    k++;
  if (k == NR_ORDERS)
    k = use_fresh (arena, order);
  if (k == NR_ORDERS)
    return PFN_NONE;

  pfn = arena->free_list[k];
  unlink_block (arena, pfn, k);
  while (k > order) {
    k--;
    push_block (arena, pfn + (1u << k), k);
  }
  return pfn;
}

/* Put a block back, joined with its buddy as long as that is free too. */
static void
give_block (struct arena *arena, uint32_t pfn, unsigned order)
{
  while (order < MAX_ORDER) {
    uint32_t buddy = pfn ^ 1u << order;

    if (!is_free (arena, buddy, order))
      break;
    unlink_block (arena, buddy, order);
    pfn &= ~(1u << order);
    order++;
  }
  push_block (arena, pfn, order);
}

static void
add_free (struct arena *arena, uint32_t pages)
{
  /* Relaxed: a count to go by, exact only under the lock. */
  uint32_t n = atomic_load_explicit (&arena->nr_free, memory_order_relaxed);

  atomic_store_explicit (&arena->nr_free, n + pages, memory_order_relaxed);
}

/* --- folios --- */

/* Make a folio of the block, which no one can reach yet: refs is still 0. */
static struct folio *
init_folio (struct arena *arena, uint32_t pfn, unsigned order)
{
  struct folio *folio = arena_folio (arena, pfn);
  _Atomic uint32_t *state = arena_state (arena, folio);

  for (uint32_t i = 0; i < 1u << order; i++)
    atomic_store_explicit (&state[i], 0, memory_order_relaxed);
  ASAN_UNPOISON_MEMORY_REGION (arena_data (arena, folio), PAGE_SIZE << order);

  folio->next = folio->prev = PFN_NONE;
  folio->dirtied = 0;
  folio->queue = 0;
  atomic_store_explicit (&folio->index, 0, memory_order_relaxed);
  atomic_store_explicit (&folio->lock, 0, memory_order_relaxed);
  atomic_store_explicit (&folio->mapping, 0, memory_order_relaxed);
  atomic_store_explicit (&folio->flags, 0, memory_order_relaxed);
  atomic_store_explicit (&folio->order, order, memory_order_relaxed);
  atomic_store_explicit (&folio->freq, 0, memory_order_relaxed);
  atomic_store_explicit (&folio->used_to, 0, memory_order_relaxed);

  /* Release: who manages folio_try_get on a record that it knew in an earlier
   * life sees all of the above.
   */
  atomic_store_explicit (&folio->refs, 1, memory_order_release);
  return folio;
}

struct folio *
arena_alloc (struct arena *arena, unsigned order)
{
  uint32_t pfn;

  assert (order <= MAX_ORDER);
  lock_order_took (RANK_ARENA);
  pthread_mutex_lock (&arena->lock);
  pfn = take_block (arena, order);
  if (pfn != PFN_NONE)
    add_free (arena, -(1u << order));
  pthread_mutex_unlock (&arena->lock);
  lock_order_gave (RANK_ARENA);

  return pfn == PFN_NONE ? NULL : init_folio (arena, pfn, order);
}

/* Arena lock held. */
static void
free_folio (struct arena *arena, struct folio *folio)
{
  uint32_t pfn = arena_pfn (arena, folio);
  unsigned order = atomic_load_explicit (&folio->order, memory_order_relaxed);

  assert (order <= MAX_ORDER && (pfn & ((1u << order) - 1)) == 0);
  assert (atomic_load_explicit (&folio->refs, memory_order_relaxed) == 0);
  assert (atomic_load_explicit (&folio->mapping, memory_order_relaxed) == 0);
  assert (!is_free (arena, pfn, order));
  ASAN_POISON_MEMORY_REGION (arena_data (arena, folio), PAGE_SIZE << order);
  give_block (arena, pfn, order);
  add_free (arena, 1u << order);
}

void
arena_free_all (struct arena *arena, struct folio *const *folios, unsigned nr)
{
  bool wake;

  lock_order_took (RANK_ARENA);
  pthread_mutex_lock (&arena->lock);
  for (unsigned i = 0; i < nr; i++)
    free_folio (arena, folios[i]);
  /* Relaxed: the lock orders it.  A sleeper that we do not see here has yet to
   * take the lock for its last try, and will find the block.
   */
  wake = atomic_load_explicit (&arena->sleepers, memory_order_relaxed) != 0;
  if (wake)
    atomic_fetch_add_explicit (&arena->freed, 1, memory_order_relaxed);
  pthread_mutex_unlock (&arena->lock);
  lock_order_gave (RANK_ARENA);

  if (wake)
    arena->env->wake (arena->env, &arena->freed);
}

void
arena_free (struct arena *arena, struct folio *folio)
{
  arena_free_all (arena, &folio, 1);
}

/* Arena lock held.  At least nr blocks of this order in lists? */
static bool
has_blocks (const struct arena *arena, unsigned order, unsigned nr)
{
  for (unsigned k = order; k < NR_ORDERS; k++)
    for (uint32_t pfn = arena->free_list[k]; pfn != PFN_NONE;
         pfn = arena_folio (arena, pfn)->next) {
      if (nr <= 1u << (k - order))
        return true;
      nr -= 1u << (k - order);
    }
  return false;
}

bool
arena_has (struct arena *arena, unsigned order, unsigned nr)
{
  uint64_t fresh;
  bool has;

  lock_order_took (RANK_ARENA);
  pthread_mutex_lock (&arena->lock);
  fresh = arena->nr_pages - arena->fresh;
  has = fresh >= (uint64_t) (nr + 1) << order || has_blocks (arena, order, nr);
  pthread_mutex_unlock (&arena->lock);
  lock_order_gave (RANK_ARENA);
  return has;
}

/* --- real memory --- */

void
arena_prepare (struct arena *arena)
{
  uint32_t first = atomic_load_explicit (&arena->ready, memory_order_relaxed);
  uint32_t n = arena->nr_pages - first;

  n = n < 1u << MAX_ORDER ? n : 1u << MAX_ORDER;
  /* The records first, which all of the pages need. */
  if (!lazy_populate (&arena->folios[first], n * sizeof *arena->folios) ||
      !lazy_populate ((void *) &arena->state[first],
                      n * sizeof *arena->state) ||
      !lazy_populate (arena->data + ((size_t) first << PAGE_SHIFT),
                      (size_t) n << PAGE_SHIFT))
    n = arena->nr_pages - first; /* not again */
  atomic_store_explicit (&arena->ready, first + n, memory_order_relaxed);
}

/* --- the arena --- */

/* One allocation holds the maps of all orders.  A buddy's bit is looked at even
 * if the buddy would end beyond the arena: one bit more.
 */
static int
create_free_maps (struct arena *arena)
{
  size_t words[NR_ORDERS], total = 0;
  uint64_t *map;

  for (unsigned order = 0; order < NR_ORDERS; order++) {
    words[order] = (arena->nr_pages >> order) / 64 + 1;
    total += words[order];
  }
  map = calloc (total, sizeof *map);
  if (map == NULL)
    return -ENOMEM;
  for (unsigned order = 0; order < NR_ORDERS; order++) {
    arena->free_list[order] = PFN_NONE;
    arena->free_map[order] = map;
    map += words[order];
  }
  return 0;
}

static int
create_maps (struct arena *arena)
{
  size_t n = arena->nr_pages;

  arena->data = lazy_map (n << PAGE_SHIFT);
  arena->folios = lazy_map (n * sizeof *arena->folios);
  arena->state = lazy_map (n * sizeof *arena->state);
  if (arena->data == NULL || arena->folios == NULL || arena->state == NULL)
    return -ENOMEM;
  return create_free_maps (arena);
}

int
arena_create (struct env *env, size_t bytes, struct arena **ret)
{
  size_t nr_pages = bytes >> PAGE_SHIFT;
  struct arena *arena;
  int err;

  if (nr_pages == 0 || nr_pages > ARENA_PAGES_MAX)
    return -EINVAL;
  arena = calloc (1, sizeof *arena);
  if (arena == NULL)
    return -ENOMEM;
  arena->env = env;
  arena->nr_pages = nr_pages;
  atomic_init (&arena->nr_free, nr_pages);
  pthread_mutex_init (&arena->lock, NULL);

  err = create_maps (arena);
  if (err < 0) {
    arena_destroy (arena);
    return err;
  }
  *ret = arena;
  return 0;
}

void
arena_destroy (struct arena *arena)
{
  size_t n = arena->nr_pages;

  if (arena->data != NULL)
    ASAN_UNPOISON_MEMORY_REGION (arena->data, n << PAGE_SHIFT);
  free (arena->free_map[0]);
  lazy_unmap ((void *) arena->state, n * sizeof *arena->state);
  lazy_unmap (arena->folios, n * sizeof *arena->folios);
  lazy_unmap (arena->data, n << PAGE_SHIFT);
  pthread_mutex_destroy (&arena->lock);
  free (arena);
}
