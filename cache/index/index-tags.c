/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The index's tags.  Index lock held; readers look at the bitmaps meanwhile.
 */

#include "cache/index/index-node.h"

/* --- a bit, and what it means above --- */

static void
set_tag (struct index *index, struct index_node *node, unsigned offset,
         unsigned tag)
{
  for (;;) {
    uint64_t bits = bits_read (&node->tags[tag]);

    bits_write (&node->tags[tag], bits | bit (offset));
    /* If any was set, those above know already. */
    if (bits != 0 || node == node_root (index))
      return;
    offset = node->offset;
    node = node_parent (index, node);
  }
}

void
node_clear_tag (struct index *index, struct index_node *node, unsigned offset,
                unsigned tag)
{
  for (;;) {
    uint64_t bits = bits_read (&node->tags[tag]);

    if ((bits & bit (offset)) == 0)
      return;
    bits &= ~bit (offset);
    bits_write (&node->tags[tag], bits);
    if (bits != 0 || node == node_root (index))
      return;
    offset = node->offset;
    node = node_parent (index, node);
  }
}

/* --- a folio's tags --- */

void
index_set_tag (struct index *index, struct folio *folio, enum index_tag tag)
{
  unsigned offset;
  struct index_node *node = index_find (index, folio, &offset);

  set_tag (index, node, offset, tag);
}

void
index_clear_tag (struct index *index, struct folio *folio, enum index_tag tag)
{
  unsigned offset;
  struct index_node *node = index_find (index, folio, &offset);

  node_clear_tag (index, node, offset, tag);
}

bool
index_has_tag (struct index *index, struct folio *folio, enum index_tag tag)
{
  unsigned offset;
  struct index_node *node = index_find (index, folio, &offset);

  return (bits_read (&node->tags[tag]) & bit (offset)) != 0;
}

/* --- copying a tag --- */

/* Go down to the node that has the first tagged folio from *page on, or may
 * have it, moving *page to where that can begin.  Returns NULL, having moved
 * *page on, where there is none in the slot that led nowhere.
 */
static struct index_node *
descend_tagged (struct index *index, uint64_t *page, enum index_tag tag)
{
  struct index_node *node = node_root (index);
  uint64_t end = INDEX_PAGES - 1;

  for (;;) {
    uint64_t bits = 0, start;
    unsigned offset;
    slot_t slot;

    if (*page < node->base)
      *page = node->base;
    if (*page <= node_last (node))
      bits = bits_read (&node->tags[tag]) &
             bits_from (node_offset (node->shift, *page));
    if (bits == 0) {
      *page = end + 1;
      return NULL;
    }
    offset = __builtin_ctzll (bits);
    start = node->base + ((uint64_t) offset << node->shift);
    end = start + (UINT64_C (1) << node->shift) - 1;
    if (*page < start)
      *page = start;
    slot = node_read (node, offset);
    if (!slot_is_node (slot))
      return node;
    node = slot_node (index, slot);
  }
}

/* The bits of tagged folios that begin in [*page, last], up to the first entry
 * that is a node; *page is where to go on.
 */
static uint64_t
bits_in_range (struct index *index, struct index_node *node, uint64_t *page,
               uint64_t last, enum index_tag tag)
{
  uint64_t bits =
    bits_read (&node->tags[tag]) & bits_from (node_offset (node->shift, *page));
  uint64_t found = 0;

  for (; bits != 0; bits &= bits - 1) {
    unsigned offset = __builtin_ctzll (bits);
    slot_t slot = node_read (node, offset);
    uint64_t first;

    if (slot_is_node (slot)) {
      *page = node->base + ((uint64_t) offset << node->shift);
      return found;
    }
    first = folio_index (slot_folio (index, slot));
    if (first >= *page && first <= last)
      found |= bit (offset);
  }
  *page = node_last (node) + 1;
  return found;
}

/* The same for a node of single pages, where a folio begins in its slot and
 * there are no nodes.
 */
static uint64_t
leaf_bits_in_range (struct index_node *node, uint64_t *page, uint64_t last,
                    enum index_tag tag)
{
  uint64_t bits =
    bits_read (&node->tags[tag]) & bits_from (node_offset (0, *page));

  if (last < node_last (node))
    bits &= bit (node_offset (0, last)) * 2 - 1;
  *page = node_last (node) + 1;
  return bits;
}

/* Set a tag at many entries of a node. */
static void
set_tags (struct index *index, struct index_node *node, uint64_t bits,
          enum index_tag tag)
{
  if (bits == 0)
    return;
  set_tag (index, node, __builtin_ctzll (bits), tag);
  bits_write (&node->tags[tag], bits_read (&node->tags[tag]) | bits);
}

bool
index_copy_tag (struct index *index, uint64_t *page, uint64_t last,
                enum index_tag from, enum index_tag to, unsigned budget)
{
  if (last >= INDEX_PAGES)
    last = INDEX_PAGES - 1;
  for (; *page <= last; budget--) {
    struct index_node *node;
    uint64_t bits;

    if (budget == 0)
      return false;
    node = descend_tagged (index, page, from);
    if (node == NULL || *page > last)
      continue;
    if (node->shift == 0)
      bits = leaf_bits_in_range (node, page, last, from);
    else
      bits = bits_in_range (index, node, page, last, from);
    set_tags (index, node, bits, to);
  }
  return true;
}
