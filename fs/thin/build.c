/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks that a transaction writes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/build.h"
#include "fs/thin/chunks.h"
#include "fs/thin/io.h"
#include "fs/thin/super.h"
#include "fs/thin/table.h"

/* Do so many leaves of one transaction stay in memory?  The next one may need any of them,
 * and if there are more than fit, keeping some is better than keeping the last.
 */
static bool
is_kept (const struct thin_txn *t, unsigned leaves)
{
  return leaves < thin_cache_nodes (t->m->cache) / 4 * 3;
}

int
thin_build_drain (struct thin_txn *t)
{
  struct thin_build *b = &t->build;
  struct thin_io ios[THIN_IO_MAX];
  unsigned i = 0, k;
  int r = 0;

  while (i < b->n && r == 0) {
    for (k = 0; k < THIN_IO_MAX && i < b->n; k++) {
      ios[k] =
        (struct thin_io) { b->address[i], b->blocks + i * THIN_BLOCK, 0, 0 };
      do {
        i++;
        ios[k].blocks++;
      } while (i < b->n && b->address[i] == ios[k].block + ios[k].blocks);
    }
    r = thin_io_write_all (t->m->store, ios, k);
  }
  b->n = 0;
  return r;
}

/* Memory for a block at address, zeroed. */
static int
next_block (struct thin_txn *t, uint64_t address, void *pointer)
{
  struct thin_build *b = &t->build;
  int r;

  if (b->n == THIN_BUILD_BLOCKS && (r = thin_build_drain (t)) < 0)
    return r;
  if (b->blocks == NULL && !(b->blocks = thin_io_alloc (THIN_BUILD_BLOCKS)))
    return -ENOMEM;
  b->address[b->n] = address;
  *(void **) pointer = b->blocks + b->n++ * THIN_BLOCK;
  memset (*(void **) pointer, 0, THIN_BLOCK);
  return 0;
}

int
thin_build_node (struct thin_txn *t, enum thin_tree tree, unsigned level,
                 const struct thin_item *items, unsigned n,
                 struct thin_item *ref)
{
  struct thin_node *node;
  uint64_t address;
  unsigned i;
  int r = thin_chunks_alloc (t->m, &address);

  if (r == 0)
    r = next_block (t, address, &node);
  if (r < 0)
    return r;
  node->h.kind = tree;
  node->h.level = level;
  node->h.count = thin_put16 (n);
  for (i = 0; i < n; i++) {
    node->entries[i].key = thin_put64 (items[i].start);
    node->entries[i].length = thin_put64 (items[i].length);
    node->entries[i].value = thin_put64 (items[i].value);
  }
  thin_seal (&node->h, THIN_MAGIC_NODE, t->m->uuid, address,
             t->super.generation, THIN_BLOCK);
  if (level > 0 || is_kept (t, t->build.written++))
    thin_cache_put (t->m->cache, node, level);
  *ref = (struct thin_item) { items[0].start, address, t->super.generation };
  return 0;
}

int
thin_build_places (struct thin_txn *t, struct thin_places *places, uint64_t n)
{
  uint64_t block;
  int r = 0;

  while (r == 0 && places->n < n) {
    r = thin_chunks_alloc (t->m, &block);
    if (r == 0)
      r = thin_places_add (places, block);
  }
  return r;
}

/* One block of a table. */
static int
table_block (struct thin_txn *t, enum thin_table kind, unsigned level,
             uint64_t address, const void *entries, size_t n, size_t size)
{
  struct thin_block_header *h;
  int r = next_block (t, address, &h);

  if (r < 0)
    return r;
  h->kind = kind;
  h->level = level;
  h->count = thin_put16 (n);
  memcpy (h + 1, entries, n * size);
  thin_seal (h, THIN_MAGIC_TABLE, t->m->uuid, address, t->super.generation,
             THIN_BLOCK);
  return 0;
}

/* One level.  above gets an entry for each of its blocks; returns how many, or a
 * negative errno.
 */
static int
table_level (struct thin_txn *t, enum thin_table kind, unsigned level,
             const void *entries, size_t n, size_t size, const uint64_t *places,
             struct thin_entry *above)
{
  size_t fit = THIN_TABLE_BYTES / size, i, blocks = 0;
  int r;

  for (i = 0; i < n; i += fit, blocks++) {
    const uint8_t *from = (const uint8_t *) entries + i * size;

    r = table_block (t, kind, level, places[blocks], from,
                     thin_min (fit, n - i), size);
    if (r < 0)
      return r;
    above[blocks].key = level > 0 ? *(const thin_le64 *) from : thin_put64 (i);
    above[blocks].address = thin_put64 (places[blocks]);
    above[blocks].generation = thin_put64 (t->super.generation);
  }
  return blocks;
}

int
thin_build_table (struct thin_txn *t, enum thin_table kind, const void *entries,
                  size_t n, size_t size, const struct thin_places *blocks,
                  struct thin_root *root)
{
  struct thin_entry *level = NULL, *above;
  const uint64_t *places = blocks->list;
  int k;

  *root = (struct thin_root) { 0 };
  if (n == 0)
    return 0;
  for (;; root->level++) {
    above = calloc (n * size / THIN_TABLE_BYTES + 2, sizeof *above);
    k = above
          ? table_level (t, kind, root->level, entries, n, size, places, above)
          : -ENOMEM;
    free (level);
    if (k <= 1)
      break;
    entries = level = above;
    places += k;
    n = k;
    size = sizeof *above;
  }
  if (k == 1) {
    root->address = thin_get64 (above->address);
    root->generation = t->super.generation;
  }
  free (above);
  return k < 0 ? k : 0;
}
