/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Putting folios into the index and taking them out, with the index lock held
 * and readers under way: see index.c for what they rely on.
 */

#include <errno.h>

#include "cache/index/index-node.h"

/* What an entry covers: 2^order pages from first on. */
struct extent {
  uint64_t first;
  unsigned order;
};

static struct extent
folio_extent (const struct folio *folio)
{
  return (struct extent) { folio_index (folio), folio_order (folio) };
}

static struct extent
slot_extent (const struct index *index, slot_t slot)
{
  const struct index_node *node;

  if (!slot_is_node (slot))
    return folio_extent (slot_folio (index, slot));
  node = slot_node (index, slot);
  return (struct extent) { node->base, node->shift + SLOT_BITS };
}

static bool
overlap (struct extent a, struct extent b)
{
  unsigned order = a.order > b.order ? a.order : b.order;

  return (a.first ^ b.first) >> order == 0;
}

/* The shift of the lowest node in which the two are in different slots. */
static unsigned
parting_shift (struct extent a, struct extent b)
{
  unsigned highest = 63 - __builtin_clzll (a.first ^ b.first);

  return highest / SLOT_BITS * SLOT_BITS;
}

/* --- entries --- */

/* Make an entry in empty slots. */
static void
add_entry (struct index *index, struct index_node *node, slot_t slot)
{
  struct extent extent = slot_extent (index, slot);
  unsigned offset = node_offset (node->shift, extent.first);
  unsigned width = slot_is_node (slot) ? 1 : node_width (node, extent.order);

  for (unsigned i = 0; i < width; i++)
    node_write (node, offset + i, slot);
  bits_write (&node->present, bits_read (&node->present) | bit (offset));
}

/* Tell a node where it hangs. */
static void
set_parent (struct index *index, slot_t slot, struct index_node *parent,
            unsigned offset)
{
  struct index_node *node;

  if (!slot_is_node (slot))
    return;
  node = slot_node (index, slot);
  node->parent = node_number (index, parent);
  node->offset = offset;
}

/* Put an entry in the place of another that is in one slot; tags stay. */
static void
replace_entry (struct index *index, struct index_node *node, unsigned offset,
               slot_t slot)
{
  set_parent (index, slot, node, offset);
  node_write (node, offset, slot);
}

/* Are all slots that the extent fills empty? */
static bool
room_for (const struct index_node *node, struct extent extent)
{
  unsigned offset = node_offset (node->shift, extent.first);
  unsigned width = node_width (node, extent.order);

  for (unsigned i = 0; i < width; i++)
    if (node_read (node, offset + i) != 0)
      return false;
  return true;
}

/* --- insertion --- */

static void
set_mapping (struct folio *folio, uint16_t mapping)
{
  /* Release.  When it is set: the folio's place was set before.  When it is
   * cleared: the slots were emptied before.
   */
  atomic_store_explicit (&folio->mapping, mapping, memory_order_release);
}

/* The new node takes over what its parent knows of the entry's tags. */
static void
move_tags_down (struct index_node *parent, unsigned parent_offset,
                struct index_node *node, unsigned offset)
{
  for (unsigned tag = 0; tag < NR_TAGS; tag++)
    if (bits_read (&parent->tags[tag]) & bit (parent_offset))
      bits_write (&node->tags[tag], bit (offset));
}

/* The folio and the entry that is in the slot are both to be found there: make
 * a node of the two.
 */
static int
split_slot (struct index *index, struct index_node *parent, unsigned offset,
            struct folio *folio)
{
  slot_t old = node_read (parent, offset);
  struct extent extent = slot_extent (index, old);
  unsigned shift = parting_shift (extent, folio_extent (folio));
  unsigned old_offset = node_offset (shift, extent.first);
  struct index_node *node;

  node = node_alloc (
    index, extent.first & ~(((uint64_t) NR_SLOTS << shift) - 1), shift);
  if (node == NULL)
    return -ENOSPC;

  add_entry (index, node, old);
  set_parent (index, old, node, old_offset);
  move_tags_down (parent, offset, node, old_offset);
  add_entry (index, node, folio_slot (index, folio));
  set_mapping (folio, index->mapping);
  replace_entry (index, parent, offset, node_slot (index, node));
  return 0;
}

int
index_insert (struct index *index, struct folio *folio)
{
  struct extent extent = folio_extent (folio);
  struct index_node *node = node_root (index);

  assert (extent.first < INDEX_PAGES);
  assert ((extent.first & ((UINT64_C (1) << extent.order) - 1)) == 0);

  for (;;) {
    unsigned offset = node_offset (node->shift, extent.first);
    slot_t slot = node_read (node, offset);

    if (room_for (node, extent)) {
      set_mapping (folio, index->mapping);
      add_entry (index, node, folio_slot (index, folio));
      return 0;
    }
    if (node_width (node, extent.order) > 1)
      return -EEXIST;
    if (!overlap (extent, slot_extent (index, slot)))
      return split_slot (index, node, offset, folio);
    if (!slot_is_node (slot) || slot_extent (index, slot).order <= extent.order)
      return -EEXIST;
    node = slot_node (index, slot);
  }
}

/* --- removal --- */

/* If only one entry is left in the node, put it in the node's place.  The node
 * keeps it too, for those who are there now.  The parent's tags are those of
 * its only entry already.
 */
static void
collapse (struct index *index, struct index_node *node)
{
  uint64_t present = bits_read (&node->present);
  slot_t slot;

  if (node == node_root (index) || (present & (present - 1)) != 0)
    return;
  slot = node_read (node, __builtin_ctzll (present));
  replace_entry (index, node_parent (index, node), node->offset, slot);
  node_retire (index, node);
}

void
index_remove (struct index *index, struct folio *folio)
{
  unsigned offset;
  struct index_node *node = index_find (index, folio, &offset);
  unsigned width = node_width (node, folio_order (folio));

  for (unsigned tag = 0; tag < NR_TAGS; tag++)
    node_clear_tag (index, node, offset, tag);
  bits_write (&node->present, bits_read (&node->present) & ~bit (offset));
  for (unsigned i = 0; i < width; i++)
    node_write (node, offset + i, 0);
  set_mapping (folio, 0);
  collapse (index, node);
}

/* --- replacement --- */

/* A reader who found `from' sees that it holds the page, and that there is no
 * reference to be had; looking again he finds `to'.
 */
void
index_replace (struct index *index, struct folio *from, struct folio *to)
{
  unsigned offset;
  struct index_node *node = index_find (index, from, &offset);
  unsigned width = node_width (node, folio_order (from));

  assert (folio_index (to) == folio_index (from));
  assert (folio_order (to) == folio_order (from));
  for (unsigned tag = 0; tag < NR_TAGS; tag++)
    assert ((bits_read (&node->tags[tag]) & bit (offset)) == 0);

  set_mapping (to, index->mapping);
  for (unsigned i = 0; i < width; i++)
    node_write (node, offset + i, folio_slot (index, to));
  set_mapping (from, 0);
}
