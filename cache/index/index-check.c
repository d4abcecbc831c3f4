/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks of all that should always be true of an index, for tests and debug
 * builds.  Index lock held.
 */

#include "cache/index/index-node.h"

/* The slots of a folio, from offset on; returns how many. */
static unsigned
check_folio (struct index *index, const struct index_node *node,
             unsigned offset)
{
  slot_t slot = node_read (node, offset);
  const struct folio *folio = slot_folio (index, slot);
  uint64_t first = folio_first_page (folio);
  unsigned order = folio_size_order (folio);
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
check_list (struct index *index, const struct node_list *list)
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
  check_list (index, &index->unused);
  check_list (index, &index->retired);
  check_list (index, &index->waiting);
  assert (index->unused.count + fresh == index_free_nodes (index));
  /* Nodes with index_reclaim_nodes are in no list: at most, therefore. */
  assert (nodes + index->unused.count + index->retired.count +
            index->waiting.count <=
          index->fresh);
}
