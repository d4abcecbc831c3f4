/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is always true of the index and the arena.
 */

#include "cache/base/lock-order.h"
#include "cache/index/index-node.h"
#include "invariants.h"

/* --- the index --- */

/* The slots of a folio, from offset on; returns how many. */
static unsigned
check_folio (struct index *index, const struct index_node *node,
             unsigned offset)
{
  slot_t slot = node_read (node, offset);
  const struct folio *folio = slot_folio (index, slot);
  uint64_t first = folio_index (folio);
  unsigned order = folio_order (folio);
  uint64_t start = node->base + ((uint64_t) offset << node->shift);
  unsigned width = node_width (node, order);

  assert (slot <= index->arena->nr_pages);
  assert (atomic_load (&folio->mapping) == index->mapping);
  assert (order <= MAX_ORDER);
  assert ((first & ((UINT64_C (1) << order) - 1)) == 0);
  assert (first >= start && (first - start) >> node->shift == 0);
  assert (offset + width <= NR_SLOTS);
  for (unsigned i = 1; i < width; i++) {
    assert (node_read (node, offset + i) == slot);
    assert ((bits_read (&node->present) & bit (offset + i)) == 0);
  }
  return width;
}

/* The link to a node that is not the root. */
static const struct index_node *
check_link (struct index *index, const struct index_node *parent,
            unsigned offset)
{
  slot_t slot = node_read (parent, offset);
  const struct index_node *node = slot_node (index, slot);
  uint64_t start = parent->base + ((uint64_t) offset << parent->shift);
  uint64_t present = bits_read (&node->present);

  assert (node_number (index, node) < index->fresh && node->in_tree);
  assert (node->shift == slot_shift (slot) && node->shift < parent->shift);
  assert (node->base >= start && (node->base - start) >> parent->shift == 0);
  assert ((node->base & (((uint64_t) NR_SLOTS << node->shift) - 1)) == 0);
  assert (node_parent (index, node) == parent && node->offset == offset);
  assert ((present & (present - 1)) != 0);
  for (unsigned tag = 0; tag < NR_TAGS; tag++) {
    bool above = (bits_read (&parent->tags[tag]) & bit (offset)) != 0;

    assert (above == (bits_read (&node->tags[tag]) != 0));
  }
  return node;
}

/* Returns how many nodes there are, this one and those below. */
static uint32_t
check_node (struct index *index, const struct index_node *node)
{
  uint64_t present = bits_read (&node->present);
  uint32_t nodes = 1;
  unsigned width;

  for (unsigned tag = 0; tag < NR_TAGS; tag++)
    assert ((bits_read (&node->tags[tag]) & ~present) == 0);
  for (unsigned offset = 0; offset < NR_SLOTS; offset += width) {
    slot_t slot = node_read (node, offset);

    width = 1;
    assert ((slot != 0) == ((present & bit (offset)) != 0));
    if (slot_is_node (slot))
      nodes += check_node (index, check_link (index, node, offset));
    else if (slot != 0)
      width = check_folio (index, node, offset);
  }
  return nodes;
}

static void
check_nodes (struct index *index, const struct node_list *list)
{
  uint32_t number = list->first;

  for (uint32_t i = 0; i < list->count; i++) {
    assert (number != NODE_ROOT && number < index->fresh);
    if (i == list->count - 1)
      assert (number == list->last);
    number = index->nodes[number].link;
  }
}

void
index_check (struct index *index)
{
  uint32_t nodes = check_node (index, node_root (index));
  uint32_t fresh = index->max_nodes + 1 - index->fresh;

  assert (bits_read (&node_root (index)->present) <= bit (0));
  check_nodes (index, &index->unused);
  check_nodes (index, &index->retired);
  check_nodes (index, &index->waiting);
  assert (index->unused.count + fresh == index_free_nodes (index));
  /* Nodes with index_reclaim_nodes are in no list: at most, therefore. */
  assert (nodes + index->unused.count + index->retired.count +
            index->waiting.count <=
          index->fresh);
}

/* --- the arena --- */

static bool
is_free (const struct arena *arena, uint32_t pfn, unsigned order)
{
  uint32_t block = pfn >> order;

  return arena->free_map[order][block / 64] >> (block % 64) & 1;
}

static void
check_block (struct arena *arena, uint32_t pfn, unsigned order)
{
  const uint32_t size = 1u << order;

  assert ((pfn & (size - 1)) == 0);
  assert (pfn < arena->fresh && size <= arena->fresh - pfn);
  assert (is_free (arena, pfn, order));
  assert (order == MAX_ORDER || !is_free (arena, pfn ^ size, order));
  for (unsigned k = order + 1; k < NR_ORDERS; k++)
    assert (!is_free (arena, pfn, k));
  for (uint32_t i = 0; i < size; i++)
    assert (atomic_load (&arena_folio (arena, pfn + i)->refs) == 0);
}

/* Pages in the list of an order. */
static uint32_t
check_list (struct arena *arena, unsigned order)
{
  uint32_t count = 0, bits = 0, prev = PFN_NONE, pfn;

  for (pfn = arena->free_list[order]; pfn != PFN_NONE;
       pfn = arena_folio (arena, pfn)->next) {
    assert (pfn < arena->nr_pages);
    assert (arena_folio (arena, pfn)->prev == prev);
    check_block (arena, pfn, order);
    prev = pfn;
    count++;
  }
  for (size_t i = 0; i <= (arena->nr_pages >> order) / 64; i++)
    bits += __builtin_popcountll (arena->free_map[order][i]);
  assert (bits == count);
  return count << order;
}

void
arena_check (struct arena *arena)
{
  uint32_t pages;

  lock_order_took (RANK_ARENA);
  pthread_mutex_lock (&arena->lock);
  pages = arena->nr_pages - arena->fresh;
  for (unsigned order = 0; order < NR_ORDERS; order++)
    pages += check_list (arena, order);
  assert (pages == atomic_load (&arena->nr_free));
  pthread_mutex_unlock (&arena->lock);
  lock_order_gave (RANK_ARENA);
}
