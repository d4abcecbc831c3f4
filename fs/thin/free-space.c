/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Free data space: of the free tree, without what metadata has taken since.
 */

#include <errno.h>
#include <stdlib.h>

#include "fs/thin/chunks.h"
#include "fs/thin/node.h"

/* Leaves that are looked at in one call. */
#define MOST_LEAVES 64

struct finding {
  struct thin_meta *m;
  uint64_t min_length;
  struct thin_range *ranges;
  unsigned n, room;
  uint64_t next; /* everything before has been looked at */
};

static void
offer (struct finding *f, uint64_t start, uint64_t end)
{
  if (f->n < f->room && start < end && end - start >= f->min_length)
    f->ranges[f->n++] = (struct thin_range) { start, end - start };
}

/* A range of the free tree: what is owed is not free. */
static void
offer_but_owed (struct finding *f, uint64_t start, uint64_t end)
{
  const struct thin_chunks *c = &f->m->chunks;
  size_t i;

  for (i = thin_chunks_reaching (c, start); i < c->n && f->n < f->room; i++) {
    const struct thin_chunk *chunk = &c->list[i];

    if (chunk->start >= end)
      break;
    if (!chunk->committed_owed)
      continue;
    offer (f, start, chunk->start);
    start = chunk->start + chunk->length;
    f->next = start;
  }
  if (f->n < f->room && start < end) {
    offer (f, start, end);
    f->next = end;
  }
}

static void
look_at_leaf (struct finding *f, const struct thin_node *node, uint64_t high)
{
  unsigned i;

  for (i = 0; i < thin_get16 (node->h.count) && f->n < f->room; i++) {
    struct thin_item x = thin_item_get (&node->entries[i]);

    if (x.start + x.length > f->next)
      offer_but_owed (f, thin_max (x.start, f->next), x.start + x.length);
  }
  if (f->n < f->room)
    f->next = high;
}

int
thin_meta_find_free (struct thin_meta *m, uint64_t from, uint64_t min_length,
                     struct thin_range *ranges, unsigned n, uint64_t *next)
{
  struct finding f = { .m = m,
                       .min_length = thin_max (min_length, 1),
                       .ranges = ranges,
                       .room = n,
                       .next = from };
  struct thin_node *node;
  struct thin_ref ref;
  unsigned leaves;
  int r = thin_chunks_load (m);

  *next = UINT64_MAX;
  if (r < 0 || m->super.free.address == 0)
    return r;
  node = malloc (sizeof *node);
  r = node ? 0 : -ENOMEM;
  for (leaves = 0; r == 0 && f.next != UINT64_MAX && f.n < n; leaves++) {
    if (leaves == MOST_LEAVES)
      break;
    r = thin_leaf_read (m, THIN_FREE, &m->super.free, f.next, node, &ref);
    if (r == 0)
      look_at_leaf (&f, node, ref.high);
    else if (r == -EIO)
      thin_bad_block (m, "node of free space", ref.address);
  }
  free (node);
  *next = f.next;
  return r < 0 ? r : (int) f.n;
}

int
thin_meta_take (struct thin_meta *m, uint64_t want, struct thin_range *range)
{
  uint64_t next;
  int r;

  for (;;) {
    r = thin_meta_find_free (m, m->take_cursor, 1, range, 1, &next);
    if (r < 0)
      return r;
    if (r > 0 && m->take_wrapped && range->start >= m->take_start)
      return -ENOSPC;
    if (r > 0)
      break;
    m->take_cursor = next;
    if (next == UINT64_MAX) {
      if (m->take_wrapped)
        return -ENOSPC;
      m->take_wrapped = true;
      m->take_cursor = 0;
    }
  }
  range->length = thin_min (range->length, want);
  if (m->take_wrapped && range->start < m->take_start)
    range->length = thin_min (range->length, m->take_start - range->start);
  m->take_cursor = range->start + range->length;
  return 0;
}

int
thin_meta_take_any (void *opaque, uint64_t want, struct thin_range *range)
{
  return thin_meta_take (opaque, want, range);
}
