/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What commits may take, at most.
 *
 *   - All nodes but the last of each level are at least half full, so trees are bounded by
 *     their entries.  A commit needs room for what was committed last and for what it
 *     makes, each of it once: what one pass has made and another replaces is used again.
 *   - A range has two ends on the disk, and two on the store.  Each end can cut one extent
 *     in two, or a free range, or what is referenced more than once.  What a range takes
 *     from one of extents and free space it gives to the other: they are counted together.
 *   - While there are snapshots all nodes may stay theirs.  Each of the disk's extents, and
 *     each node, may get its own references; and where these differ already within an
 *     extent, it may fall apart.
 *   - A chunk that is taken may cut a free range, as may one that is given back.
 *
 * So what is taken for some of the ranges leaves enough for the others.
 */

#include "fs/thin/cost.h"
#include "fs/thin/table.h"

/* Chunks have so many blocks, but where there is no such range, which is free as a whole
 * then, and where there are hardly any blocks left.
 */
#define USUAL_CHUNK 8

/* Nodes of so many trees with so many entries in all. */
static uint64_t
most_nodes (const struct thin_meta *m, uint64_t entries, unsigned trees)
{
  uint64_t n = entries, sum = 0;

  do {
    n = (n > trees ? (n - trees) / (m->fan / 2) : 0) + trees;
    sum += n;
  } while (n > trees);
  return sum;
}

/* It may come from a damaged superblock. */
static uint64_t
bounded (uint64_t entries)
{
  return thin_min (entries, THIN_MAX_BLOCKS);
}

/* taken: blocks of chunks that are taken for it. */
static uint64_t
peak (const struct thin_meta *m, uint64_t ops, uint64_t taken)
{
  const struct thin_super *super = &m->super;
  uint64_t extents = bounded (super->extents_entries), cuts = 4 * ops, nodes;
  uint64_t refs = bounded (super->refs_entries);
  bool shared = super->snapshot_count > 0 || super->refs.address;
  unsigned level;

  nodes = most_nodes (m,
                      extents + bounded (super->free_entries) + 2 * refs +
                        cuts + m->nr_chunks + taken / USUAL_CHUNK + USUAL_CHUNK,
                      2);
  if (shared)
    nodes += most_nodes (m, refs + 2 * extents + 2 * m->in_use + cuts, 1);
  nodes += thin_table_blocks (m->nr_chunks + taken + 2,
                              sizeof (struct thin_chunk_entry), &level);
  return 2 * nodes + (shared ? m->in_use : 0);
}

static uint64_t
beyond (uint64_t need, uint64_t have)
{
  return need > have ? need - have : 0;
}

/* What is taken for what is taken is less than a third of that. */
uint64_t
thin_cost_peak (const struct thin_meta *m, uint64_t ops)
{
  uint64_t have = m->in_use + m->available, taken = 0, need;

  for (;;) {
    need = peak (m, ops, taken);
    if (beyond (need, have) <= taken)
      return need;
    taken = beyond (need, have);
  }
}

uint64_t
thin_meta_cost (struct thin_meta *m, uint64_t ops)
{
  uint64_t cost;

  pthread_mutex_lock (&m->lock);
  m->promised = thin_max (m->promised, ops);
  cost = beyond (thin_cost_peak (m, ops), m->in_use + m->available);
  pthread_mutex_unlock (&m->lock);
  return cost;
}

void
thin_meta_expect (struct thin_meta *m, uint64_t ops)
{
  pthread_mutex_lock (&m->lock);
  m->promised = ops;
  pthread_mutex_unlock (&m->lock);
}
