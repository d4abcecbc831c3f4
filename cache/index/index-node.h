/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside of the index: its nodes, and the pool they come from.
 *
 * A node of shift s (a multiple of 6) has 64 slots of 2^s pages each, from
 * `base' on.  An entry, which is a folio or another node, is in the slot that
 * its pages are in, or fills several slots if it is a folio of order above s.
 * All else about an entry is kept at its first slot: its bit in `present', and
 * its bits in `tags', which for a node say whether any of its own is set.
 *
 * Node 0 is the root.  It stays, whatever it holds, and is so high that all
 * there is is in its slot 0; every other node has two entries or more.
 *
 * A slot that leads to a node also tells the node's shift, so that a lookup
 * reads nothing of the nodes it passes but one slot each.
 */

#ifndef FOLIO_INDEX_NODE_H
#define FOLIO_INDEX_NODE_H

#include <assert.h>

#include "cache/index/index.h"
#include "cache/base/rcu.h"

#define SLOT_BITS 6
#define NR_SLOTS (1u << SLOT_BITS)
#define ROOT_SHIFT 54u
#define INDEX_PAGES (UINT64_C (1) << ROOT_SHIFT) /* 2^66 bytes: enough */

/* Slots: 0 is empty; with the top bit, a node's shift and number; else a folio's
 * page number plus 1.
 */
typedef uint32_t slot_t;
#define SLOT_NODE (UINT32_C (1) << 31)
#define SLOT_SHIFT_SHIFT 25
#define NODE_NUMBER_MAX ((UINT32_C (1) << SLOT_SHIFT_SHIFT) - 1)
#define NODE_ROOT 0u /* also ends lists, where the root never is */

struct index_node {
  /* Changed under the index lock, read without. */
  _Atomic slot_t slots[NR_SLOTS];
  _Atomic uint64_t present;
  _Atomic uint64_t tags[NR_TAGS];
  /* Fixed from before the node can be reached until it is used again. */
  uint64_t base;
  uint8_t shift;
  /* Index lock. */
  uint8_t offset;  /* the node's slot in its parent */
  uint32_t parent; /* number */
  uint32_t link;   /* next in a list of unused nodes */
  bool in_tree;    /* and not the root */
} __attribute__ ((aligned (64)));

struct node_list {
  uint32_t first, last, count;
};

struct index {
  /* Fixed. */
  struct index_node *nodes;
  struct folio *folios; /* the arena's */
  struct arena *arena;
  uint32_t max_nodes; /* without the root */
  uint16_t mapping;

  pthread_mutex_t lock __attribute__ ((aligned (64)));
  /* Index lock.  A node that was taken out waits first for a grace period to
   * begin (retired), then for it to end (waiting).
   */
  uint32_t fresh; /* nodes from here on were never used */
  uint32_t hand;  /* where index_get_sparse goes on looking */
  struct node_list unused, retired, waiting;
  bool in_grace; /* rcu_head is under way */
  bool closing;  /* no more grace periods are to be begun */
  struct rcu_head rcu_head;
  pthread_cond_t grace_over; /* in_grace has become false */

  _Atomic uint32_t nr_free; /* written under the lock, read without */
};

/* --- the pool (index-node.c) --- */

/* Map the nodes; -ENOMEM. */
extern int node_pool_create (struct index *index);

/* Wait for the end of a grace period that is under way, and unmap. */
extern void node_pool_destroy (struct index *index);

/* Index lock held.  An empty node, or NULL if there is none. */
extern struct index_node *node_alloc (struct index *index, uint64_t base,
                                      unsigned shift);

/* Index lock held.  The node cannot be found any more; readers may still stand
 * in it, so it stays as it is until a grace period has passed.
 */
extern void node_retire (struct index *index, struct index_node *node);

/* --- tags (index-tags.c); index lock held --- */

extern void node_clear_tag (struct index *index, struct index_node *node,
                            unsigned offset, unsigned tag);

/* --- slots --- */

static inline bool
slot_is_node (slot_t slot)
{
  return (slot & SLOT_NODE) != 0;
}

static inline struct index_node *
slot_node (const struct index *index, slot_t slot)
{
  return &index->nodes[slot & NODE_NUMBER_MAX];
}

/* The shift of the node that the slot leads to. */
static inline unsigned
slot_shift (slot_t slot)
{
  return slot >> SLOT_SHIFT_SHIFT & 63;
}

static inline struct folio *
slot_folio (const struct index *index, slot_t slot)
{
  return &index->folios[slot - 1];
}

static inline slot_t
folio_slot (const struct index *index, const struct folio *folio)
{
  return arena_pfn (index->arena, folio) + 1;
}

static inline uint32_t
node_number (const struct index *index, const struct index_node *node)
{
  return (uint32_t) (node - index->nodes);
}

static inline slot_t
node_slot (const struct index *index, const struct index_node *node)
{
  return SLOT_NODE | (slot_t) node->shift << SLOT_SHIFT_SHIFT |
         node_number (index, node);
}

/* --- nodes --- */

static inline struct index_node *
node_root (const struct index *index)
{
  return &index->nodes[NODE_ROOT];
}

static inline struct index_node *
node_parent (const struct index *index, const struct index_node *node)
{
  return &index->nodes[node->parent];
}

/* The slot that page is in, if it is in the node at all. */
static inline unsigned
node_offset (unsigned shift, uint64_t page)
{
  return (page >> shift) & (NR_SLOTS - 1);
}

/* Last page of the node. */
static inline uint64_t
node_last (const struct index_node *node)
{
  return node->base + ((uint64_t) NR_SLOTS << node->shift) - 1;
}

/* Slots that a folio of this order fills. */
static inline unsigned
node_width (const struct index_node *node, unsigned order)
{
  return order <= node->shift ? 1 : 1u << (order - node->shift);
}

static inline slot_t
node_read (const struct index_node *node, unsigned offset)
{
  /* Acquire, with node_write's release: what the slot leads to is complete. */
  return atomic_load_explicit (&node->slots[offset], memory_order_acquire);
}

static inline void
node_write (struct index_node *node, unsigned offset, slot_t slot)
{
  /* Release: the entry was made before it can be found. */
  atomic_store_explicit (&node->slots[offset], slot, memory_order_release);
}

/* Bitmaps; one writer at a time, under the lock.  A reader who must see a bit
 * has learned of it by other means (as the caller of index_get_tagged), or by
 * way of the slot that led it to the node.  Release and acquire for who sees no
 * bit any more: it then sees what was done before that was taken away.
 */
static inline uint64_t
bits_read (const _Atomic uint64_t *bits)
{
  return atomic_load_explicit (bits, memory_order_acquire);
}

static inline void
bits_write (_Atomic uint64_t *bits, uint64_t value)
{
  atomic_store_explicit (bits, value, memory_order_release);
}

static inline uint64_t
bit (unsigned offset)
{
  return UINT64_C (1) << offset;
}

/* Bits from offset on. */
static inline uint64_t
bits_from (unsigned offset)
{
  return UINT64_MAX << offset;
}

/* --- where a page or a folio is --- */

/* The node where page is, or would be if it is not there, seen from above:
 * whether the node's range has the page is not looked at.
 */
static inline struct index_node *
index_descend (const struct index *index, uint64_t page)
{
  struct index_node *node = node_root (index);
  slot_t slot;

  while (slot = node_read (node, node_offset (node->shift, page)),
         slot_is_node (slot))
    node = slot_node (index, slot);
  return node;
}

/* The node that the folio, which is in, is an entry of, and its first slot. */
static inline struct index_node *
index_find (const struct index *index, const struct folio *folio,
            unsigned *offset)
{
  struct index_node *node = index_descend (index, folio_index (folio));

  *offset = node_offset (node->shift, folio_index (folio));
  assert (node_read (node, *offset) == folio_slot (index, folio));
  return node;
}

#endif /* FOLIO_INDEX_NODE_H */
