/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks for large folios, when free memory is scattered.
 *
 * Single pages that went through the cache leave free memory in single pages.  A
 * hand goes round the arena, and where all that is in an aligned block is clean
 * and no one is at it, that is moved to free pages elsewhere.  It keeps its place
 * in the index and in its queue, so that what leaves the cache, and when, is
 * decided by the policy alone.
 *
 * A reader may have found the folio in the index just before it was moved, and
 * finds there what its record says.  So the record stays as it is for a grace
 * period (see index_replace), and only then all the block is freed, at once, that
 * no one takes a page of it before it is whole.
 */

#include <assert.h>

#include "cache/base/rcu.h"
#include "cache/folio/reclaim-inside.h"

#define MOVE_MAX_ORDER 3 /* of folios that are moved: copied under locks */
#define MIN_ORDER 3      /* of blocks: less is not worth moving for */
#define AT_HAND 2        /* blocks, as long as they are asked for */
#define PLACES 16        /* looked at for one block */
#define TRIES 16         /* until it is seen again whether any are asked for */
#define BACKOFF_MAX 255  /* calls that are left out after many failures */

struct block {
  uint32_t pfn, end;
  unsigned nr_done;
  struct folio *done[2u << MAX_ORDER]; /* to be freed, references gone */
};

/* Could the folio be moved, and would that make a block larger than it is?  What it
 * says may change any time.
 */
static bool
movable (struct reclaim *reclaim, const struct block *block,
         const struct folio *folio)
{
  return folio_order (folio) <= MOVE_MAX_ORDER &&
         folio_pages (folio) < block->end - block->pfn &&
         atomic_load_explicit (&folio->refs, memory_order_relaxed) == 1 &&
         !folio_unsaved (reclaim->arena, folio);
}

/* Is the record one of a folio's first page? */
static bool
is_folio (const struct folio *folio)
{
  return atomic_load_explicit (&folio->refs, memory_order_relaxed) != 0;
}

/* The pages in the block that would have to be moved; 0 if not all of them can,
 * or if there are none: then it is free, or in a folio that is larger still.
 */
static uint32_t
pages_to_move (struct reclaim *reclaim, const struct block *block)
{
  uint32_t pages = 0, n;

  for (uint32_t pfn = block->pfn; pfn < block->end; pfn += n) {
    struct folio *folio = arena_folio (reclaim->arena, pfn);

    n = 1;
    if (!is_folio (folio))
      continue;
    if (!movable (reclaim, block, folio))
      return 0;
    n = (uint32_t) folio_pages (folio);
    pages += n;
  }
  return pages;
}

/* --- moving --- */

/* A folio outside of the block.  Those inside that are found first are to be
 * freed again later.
 */
static struct folio *
alloc_outside (struct reclaim *reclaim, struct block *block, unsigned order)
{
  struct folio *folio;

  while ((folio = arena_alloc (reclaim->arena, order)) != NULL) {
    uint32_t pfn = arena_pfn (reclaim->arena, folio);

    if (pfn < block->pfn || pfn >= block->end)
      return folio;
    /* Else it is freed by who tried it, having known it in an earlier life. */
    if (atomic_fetch_sub (&folio->refs, 1) == 1)
      block->done[block->nr_done++] = folio;
  }
  return NULL;
}

static bool
move_folio (struct reclaim *reclaim, struct block *block, struct folio *folio)
{
  unsigned order = folio_order (folio);
  struct folio *to;

  if (order > MOVE_MAX_ORDER)
    return false;
  to = alloc_outside (reclaim, block, order);
  if (to == NULL)
    return false;
  if (!reclaim->ops->move (reclaim->opaque, folio, to)) {
    folio_put (reclaim->arena, to);
    return false;
  }
  block->done[block->nr_done++] = folio;
  return true;
}

/* Returns false when something can't be moved. */
static bool
move_all (struct reclaim *reclaim, struct block *block)
{
  uint32_t n;

  for (uint32_t pfn = block->pfn; pfn < block->end; pfn += n) {
    struct folio *folio = arena_folio (reclaim->arena, pfn);

    n = 1;
    if (!is_folio (folio))
      continue;
    n = (uint32_t) folio_pages (folio);
    if (!move_folio (reclaim, block, folio))
      return false;
  }
  return true;
}

static bool
try_block (struct reclaim *reclaim, uint32_t pfn, unsigned order)
{
  struct block block = { .pfn = pfn, .end = pfn + (1u << order) };
  bool ok;

  /* As many pages are free outside as are taken inside. */
  if (block.end > reclaim->arena->nr_pages ||
      reclaim_free_pages (reclaim) < 1u << order ||
      pages_to_move (reclaim, &block) == 0)
    return false;
  ok = move_all (reclaim, &block);
  if (block.nr_done > 0) {
    rcu_wait ();
    arena_free_all (reclaim->arena, block.done, block.nr_done);
  }
  return ok;
}

/* --- attempts --- */

/* The next block of this order that the hand comes to. */
static uint32_t
next_block (struct reclaim *reclaim, unsigned order)
{
  uint32_t size = 1u << order;
  uint32_t pfn = (uint32_t) round_up (reclaim->hand, size);

  if (pfn >= reclaim->arena->nr_pages)
    pfn = 0;
  reclaim->hand = pfn + size;
  return pfn;
}

bool
reclaim_block (struct reclaim *reclaim, unsigned order)
{
  assert (order > 0 && order <= MAX_ORDER);
  if (reclaim->ops->move == NULL)
    return false;
  for (unsigned i = 0; i < PLACES; i++)
    if (try_block (reclaim, next_block (reclaim, order), order))
      return true;
  return false;
}

/* --- when --- */

void
reclaim_want_block (struct reclaim *reclaim, unsigned order)
{
  uint32_t skip = atomic_load_explicit (&reclaim->skip, memory_order_relaxed);

  if (order < MIN_ORDER)
    return;
  /* Relaxed: hints, that may be lost. */
  if (skip > 0) {
    atomic_store_explicit (&reclaim->skip, skip - 1, memory_order_relaxed);
    return;
  }
  if (atomic_load_explicit (&reclaim->wanted, memory_order_relaxed) < order)
    atomic_store_explicit (&reclaim->wanted, order, memory_order_relaxed);
  reclaim_kick (reclaim);
}

void
reclaim_prepare_blocks (struct reclaim *reclaim)
{
  unsigned order = atomic_exchange (&reclaim->wanted, 0), made = 0;

  if (order == 0) /* it was woken for something else, which is no failure */
    return;
  for (unsigned i = 0; i < TRIES && order >= MIN_ORDER &&
                       !arena_has (reclaim->arena, order, AT_HAND);
       i++) {
    if (reclaim_free_pages (reclaim) < reclaim->reserve + (1u << order))
      reclaim_pages (reclaim, 1u << order);
    if (reclaim_block (reclaim, order))
      made++;
    else
      order--;
  }
  if (made > 0)
    reclaim->backoff = 0;
  else if (order < MIN_ORDER) {
    reclaim->backoff =
      (uint32_t) min_u64 (reclaim->backoff * 2 + 1, BACKOFF_MAX);
    atomic_store_explicit (&reclaim->skip, reclaim->backoff,
                           memory_order_relaxed);
  }
}
