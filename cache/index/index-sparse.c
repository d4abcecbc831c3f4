/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Which folios to evict when the index is short of nodes, and not the arena of
 * pages.
 *
 * Pages that are scattered just so may need a node each, more than there are.
 * But then most nodes have few entries: if there are a third as many nodes as
 * pages, four on the average.  A node goes when but one entry is left in it.  So
 * a hand goes round all nodes, as in the clock algorithm, and wherever a few
 * clean pages would be enough and have not been hit since it last came by, they
 * are chosen; at first only where it is one.
 */

#include "cache/index/index-node.h"

#define MAX_COST 8      /* pages, for a node */
#define LOCK_STEPS 64   /* nodes looked at with the lock held */
#define MAX_STEPS 2048u /* nodes looked at until a higher cost will do, too */

/* Nodes that are kept free: a 64th of all, up to this. */
#define RESERVE_MAX 1024

bool
index_nodes_low (struct index *index)
{
  uint32_t reserve = index->max_nodes / 64;

  return index_free_nodes (index) <
         (reserve < RESERVE_MAX ? reserve : RESERVE_MAX);
}

/* --- one node --- */

/* The entries that can't go: nodes, and folios that are not clean. */
static uint64_t
bits_fixed (const struct index_node *node)
{
  uint64_t bits = bits_read (&node->tags[TAG_DIRTY]) |
                  bits_read (&node->tags[TAG_WRITEBACK]) |
                  bits_read (&node->tags[TAG_UNSTABLE]);

  for (uint64_t rest = bits_read (&node->present); rest; rest &= rest - 1)
    if (slot_is_node (node_read (node, __builtin_ctzll (rest))))
      bits |= rest & -rest;
  return bits;
}

static struct folio *
first_folio (struct index *index, const struct index_node *node, uint64_t bits)
{
  return slot_folio (index, node_read (node, __builtin_ctzll (bits)));
}

static uint8_t
hits (const struct folio *folio)
{
  return atomic_load_explicit (&folio->freq, memory_order_relaxed);
}

/* The one that was hit most of the folios in bits. */
static uint64_t
hottest (struct index *index, const struct index_node *node, uint64_t bits)
{
  uint64_t best = bits & -bits;

  for (; bits; bits &= bits - 1)
    if (hits (first_folio (index, node, bits)) >
        hits (first_folio (index, node, best)))
      best = bits & -bits;
  return best;
}

/* The entries that have to go for the node to go; 0 if they can't. */
static uint64_t
bits_to_go (struct index *index, const struct index_node *node)
{
  uint64_t present = bits_read (&node->present), fixed = bits_fixed (node);

  if ((fixed & (fixed - 1)) != 0)
    return 0;
  return present & ~(fixed ? fixed : hottest (index, node, present));
}

/* The pages of the folios in bits. */
static uint64_t
cost (struct index *index, const struct index_node *node, uint64_t bits)
{
  uint64_t pages = 0;

  for (; bits; bits &= bits - 1)
    pages += UINT64_C (1) << folio_order (first_folio (index, node, bits));
  return pages;
}

/* Take note that the hand came by.  Had any of the folios been hit? */
static bool
cool_down (struct index *index, const struct index_node *node, uint64_t bits)
{
  bool hit = false;

  for (; bits; bits &= bits - 1) {
    struct folio *folio = first_folio (index, node, bits);
    uint8_t freq = hits (folio);

    if (freq == 0)
      continue;
    hit = true;
    atomic_store_explicit (&folio->freq, freq - 1, memory_order_relaxed);
  }
  return hit;
}

/* Add the folios that have to go for the node to go, if all can. */
static unsigned
thin_out (struct index *index, const struct index_node *node, unsigned max_cost,
          struct folio **folios)
{
  unsigned n = 0;
  uint64_t bits;

  if (!node->in_tree ||
      __builtin_popcountll (bits_read (&node->present)) > (int) max_cost + 1)
    return 0;
  bits = bits_to_go (index, node);
  if (cost (index, node, bits) > max_cost || cool_down (index, node, bits))
    return 0;
  for (; bits; bits &= bits - 1) {
    folios[n] = first_folio (index, node, bits);
    /* The index has a reference, which only goes with the lock held. */
    folio_get (folios[n++]);
  }
  return n;
}

/* --- all nodes --- */

/* Look at some nodes more; index lock held. */
static unsigned
sweep (struct index *index, unsigned max_cost, struct folio **folios,
       unsigned n)
{
  for (unsigned i = 0; i < LOCK_STEPS; i++) {
    if (n > INDEX_SPARSE_MAX - MAX_COST)
      break;
    if (++index->hand >= index->fresh)
      index->hand = NODE_ROOT;
    n += thin_out (index, &index->nodes[index->hand], max_cost, folios + n);
  }
  return n;
}

unsigned
index_get_sparse (struct index *index, struct folio *folios[INDEX_SPARSE_MAX])
{
  unsigned n = 0;

  for (unsigned max_cost = 1; n == 0 && max_cost <= MAX_COST; max_cost *= 2)
    for (unsigned steps = 0;
         steps < MAX_STEPS && n <= INDEX_SPARSE_MAX - MAX_COST;
         steps += LOCK_STEPS) {
      index_lock (index);
      n = sweep (index, max_cost, folios, n);
      index_unlock (index);
    }
  return n;
}
