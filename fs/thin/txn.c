/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Transactions.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/build.h"
#include "fs/thin/chunks.h"
#include "fs/thin/io.h"
#include "fs/thin/super.h"
#include "fs/thin/table.h"
#include "fs/thin/trees.h"

/* How often what the store may have undone is begun anew. */
#define MOST_ATTEMPTS 8

/* --- its ranges */

static int
write_super (struct thin_meta *m, const struct thin_super *super,
             uint64_t address)
{
  void *block = thin_io_alloc (1);
  int r;

  if (block == NULL)
    return -ENOMEM;
  thin_super_encode (super, address, block);
  r = thin_io_write_durable (m->store, address, block, 1);
  free (block);
  return r;
}

/* Make the superblocks the same: a commit changes one after the other, and what only
 * the older one refers to is used again.
 */
static int
mend (struct thin_meta *m)
{
  int r = 0;

  if (m->mend_a)
    r = write_super (m, &m->super, THIN_SUPER_A);
  if (r < 0)
    return r;
  m->mend_a = false;
  if (m->mend_b)
    r = write_super (m, &m->super, THIN_SUPER_B);
  if (r < 0)
    return r;
  m->mend_b = false;
  return 0;
}

int
thin_txn_begin (struct thin_meta *m, struct thin_txn **txn)
{
  struct thin_txn *t;
  int r;

  if (m->readonly)
    return -EROFS;
  if (m->txn)
    return -EBUSY;
  r = mend (m);
  if (r == 0)
    r = thin_chunks_load (m);
  if (r < 0)
    return r;
  t = calloc (1, sizeof *t);
  if (t == NULL)
    return -ENOMEM;
  t->m = m;
  t->disk_bytes = m->super.disk_bytes;
  t->store_blocks = m->super.store_blocks;
  range_nodes_init (&t->nodes);
  range_map_init (&t->ops, &t->nodes);
  m->txn = t;
  *txn = t;
  return 0;
}

void
thin_txn_abort (struct thin_txn *t)
{
  t->m->txn = NULL;
  range_map_clear (&t->ops);
  range_nodes_destroy (&t->nodes);
  free (t->build.blocks);
  free (t->events.list);
  free (t->takes.list);
  free (t->frees.list);
  free (t->freed.list);
  free (t->table.list);
  free (t);
}

static int
set (struct thin_txn *t, uint64_t start, uint64_t end, enum range_kind kind,
     uint64_t physical)
{
  if (!range_nodes_promise (&t->nodes, 2))
    return -ENOMEM;
  range_map_set (&t->ops, &(struct range_entry) { .start = start,
                                                  .end = end,
                                                  .kind = kind,
                                                  .physical = physical });
  range_nodes_redeem (&t->nodes, 2);
  return 0;
}

/* Blocks of the disk, or more than any disk has. */
static bool
on_disk (uint64_t start, uint64_t length)
{
  return length > 0 && start < THIN_MAX_BLOCKS &&
         length <= THIN_MAX_BLOCKS - start;
}

int
thin_txn_map (struct thin_txn *t, uint64_t logical, uint64_t length,
              uint64_t physical, bool unwritten)
{
  uint64_t blocks = t->store_blocks;

  if (!on_disk (logical, length) ||
      logical + length > t->disk_bytes / THIN_BLOCK || physical >= blocks ||
      length > blocks - physical)
    return -EINVAL;
  return set (t, logical, logical + length,
              unwritten ? RANGE_UNWRITTEN : RANGE_MAPPED, physical);
}

int
thin_txn_hole (struct thin_txn *t, uint64_t logical, uint64_t length)
{
  if (!on_disk (logical, length))
    return -EINVAL;
  return set (t, logical, logical + length, RANGE_HOLE, 0);
}

/* What is there after another zero_keep of what there is. */
static int
zero_keep_part (struct thin_txn *t, const struct range_entry *e, uint64_t start,
                uint64_t end)
{
  if (e->kind != RANGE_MAPPED)
    return 0;
  return set (t, start, end, RANGE_UNWRITTEN, range_physical (e, start));
}

int
thin_txn_zero_keep (struct thin_txn *t, uint64_t logical, uint64_t length)
{
  uint64_t end = logical + length, next;
  int r = on_disk (logical, length) ? 0 : -EINVAL;

  for (; r == 0 && logical < end; logical = next) {
    struct range_entry *e = range_map_find (&t->ops, logical);

    if (e && e->start <= logical) {
      next = thin_min (e->end, end);
      r = zero_keep_part (t, e, logical, next);
    }
    else {
      next = e ? thin_min (e->start, end) : end;
      r = set (t, logical, next, RANGE_ZERO_KEEP, 0);
    }
  }
  return r;
}

int
thin_txn_resize (struct thin_txn *t, uint64_t disk_bytes)
{
  uint64_t blocks = (disk_bytes + THIN_BLOCK - 1) / THIN_BLOCK;

  if (disk_bytes > THIN_MAX_DISK)
    return -EINVAL;
  t->disk_bytes = blocks * THIN_BLOCK;
  return thin_txn_hole (t, blocks, THIN_MAX_BLOCKS - blocks);
}

int
thin_txn_grow (struct thin_txn *t, uint64_t store_blocks)
{
  if (store_blocks < t->m->super.store_blocks || store_blocks > t->m->limit)
    return -EINVAL;
  t->store_blocks = store_blocks;
  return 0;
}

/* --- commit */

static int
begin_attempt (struct thin_txn *t)
{
  struct thin_meta *m = t->m;
  uint64_t had = m->super.store_blocks;

  t->super = m->super;
  t->super.generation = ++m->last_generation;
  t->super.disk_bytes = t->disk_bytes;
  t->super.store_blocks = t->store_blocks;
  if (t->log)
    t->super.log = *t->log;
  t->tree_free = m->tree_free;
  t->undone = store_undone (m->store);
  t->build.n = 0;
  t->build.written = 0;
  t->events.n = t->takes.n = t->frees.n = t->freed.n = t->table.n = 0;
  if (t->store_blocks > had)
    return thin_ranges_add (&t->frees, had, t->store_blocks - had);
  return 0;
}

/* Chunks without a node become data's space again. */
static int
shrink (struct thin_txn *t)
{
  struct thin_range range;
  bool owed;
  int r = 0;

  while (r == 0 && thin_chunks_shrink (t->m, &range, &owed)) {
    if (!owed)
      r = thin_ranges_add (&t->frees, range.start, range.length);
    if (r == 0 && t->report)
      r = thin_ranges_add (&t->freed, range.start, range.length);
  }
  return r;
}

static size_t
count_chunks (const struct thin_txn *t, uint64_t *owed)
{
  const struct thin_chunks *c = &t->m->chunks;
  size_t i, n = 0;

  *owed = 0;
  for (i = 0; i < c->n; i++) {
    if (c->list[i].gone)
      continue;
    n++;
    if (c->list[i].owed)
      *owed += c->list[i].length;
  }
  return n;
}

/* The table of chunks, which says of the blocks that it takes itself, too, that they
 * are in use; these come first, and may be in one more chunk.
 */
static int
write_chunks (struct thin_txn *t)
{
  struct thin_meta *m = t->m;
  struct thin_chunk_entry *entries;
  uint64_t owed, n;
  unsigned level;
  size_t i;
  int r = 0;

  for (i = 0; i < m->chunks.table.n && r == 0; i++)
    r = thin_chunks_release (m, m->chunks.table.list[i]);
  do {
    n = thin_table_blocks (count_chunks (t, &owed), sizeof *entries, &level);
    if (r == 0)
      r = thin_build_places (t, &t->table, n);
  } while (r == 0 && n < thin_table_blocks (count_chunks (t, &owed),
                                            sizeof *entries, &level));
  if (r < 0)
    return r;
  entries = thin_chunks_encode (&m->chunks);
  if (entries == NULL)
    return -ENOMEM;
  r = thin_build_table (t, THIN_CHUNKS, entries, count_chunks (t, &owed),
                        sizeof *entries, &t->table, &t->super.chunks);
  t->super.free_blocks = t->tree_free - owed;
  t->super.metadata_blocks = m->chunks.blocks;
  free (entries);
  return r;
}

static int
build_all (struct thin_txn *t)
{
  int r = begin_attempt (t);

  if (r == 0)
    r = thin_extents_apply (t);
  if (r == 0 && t->apply)
    r = t->apply (t, t->opaque);
  if (r == 0)
    r = thin_refs_apply (t);
  if (r == 0)
    r = shrink (t);
  if (r == 0)
    r = thin_free_apply (t);
  if (r == 0)
    r = write_chunks (t);
  if (r == 0)
    r = thin_build_drain (t);
  return r;
}

static int
write_supers (struct thin_txn *t)
{
  struct thin_meta *m = t->m;
  int r;

  m->mend_a = m->mend_b = true; /* lest it is there after all */
  r = write_super (m, &t->super, THIN_SUPER_A);
  if (r == 0)
    r = write_super (m, &t->super, THIN_SUPER_B);
  if (r == 0)
    m->mend_a = m->mend_b = false;
  return r;
}

/* *again: what was written may be lost. */
static int
attempt (struct thin_txn *t, bool *again)
{
  int r = build_all (t);

  if (r == 0)
    r = thin_io_flush (t->m->store);
  *again = store_undone (t->m->store) != t->undone;
  if (r == 0 && *again)
    r = -EIO;
  return r < 0 ? r : write_supers (t);
}

static void
committed (struct thin_txn *t)
{
  struct thin_meta *m = t->m;
  struct thin_places old = m->chunks.table;

  m->chunks.table = t->table;
  t->table = old;
  thin_chunks_committed (m);
  m->tree_free = t->tree_free;
  m->take_start = m->take_cursor;
  m->take_wrapped = false;
  pthread_mutex_lock (&m->lock);
  m->super = t->super;
  pthread_mutex_unlock (&m->lock);
}

int
thin_txn_commit (struct thin_txn *t, const struct thin_log_position *log,
                 thin_range_fn *freed, void *opaque)
{
  bool again;
  size_t i;
  unsigned tries = 0;
  int r;

  t->log = log;
  t->report = freed != NULL;
  do {
    r = attempt (t, &again);
    if (r < 0)
      thin_chunks_rollback (t->m);
  } while (r < 0 && again && ++tries < MOST_ATTEMPTS);
  if (r == 0) {
    committed (t);
    for (i = 0; i < t->freed.n; i++)
      freed (opaque, t->freed.list[i].start, t->freed.list[i].length);
  }
  thin_txn_abort (t);
  return r;
}
