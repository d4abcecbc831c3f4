/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading tables, level by level.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/node.h"
#include "fs/thin/super.h"
#include "fs/thin/table.h"

struct reading {
  struct thin_meta *m;
  enum thin_table kind;
  size_t entry_size;
  uint8_t *entries; /* of this level */
  size_t n, room;
};

uint64_t
thin_table_blocks (size_t n, size_t entry_size, unsigned *level)
{
  size_t fit = THIN_TABLE_BYTES / entry_size, blocks = (n + fit - 1) / fit;
  uint64_t sum = blocks;

  *level = 0;
  while (blocks > 1) {
    blocks = (blocks + THIN_MAX_ENTRIES - 1) / THIN_MAX_ENTRIES;
    sum += blocks;
    ++*level;
  }
  return sum;
}

static int
append (struct reading *rd, const void *entries, size_t n, size_t size)
{
  if ((rd->n + n) * size > rd->room) {
    size_t room = 2 * rd->room + THIN_BLOCK + n * size;
    uint8_t *p = realloc (rd->entries, room);

    if (p == NULL)
      return -ENOMEM;
    rd->entries = p;
    rd->room = room;
  }
  memcpy (rd->entries + rd->n * size, entries, n * size);
  rd->n += n;
  return 0;
}

/* One block: what it has to be, then its entries.  above: its entry in the level above. */
static int
take_block (struct reading *rd, const struct thin_entry *above, unsigned level,
            const struct thin_block_header *h)
{
  size_t size = level > 0 ? sizeof (struct thin_entry) : rd->entry_size;
  size_t n = thin_get16 (h->count);
  uint64_t address = thin_get64 (above->address);

  if (!thin_sealed (h, THIN_MAGIC_TABLE, rd->m->uuid, address, THIN_BLOCK) ||
      h->kind != rd->kind || h->level != level || n == 0 ||
      n * size > THIN_TABLE_BYTES ||
      thin_get64 (h->generation) != thin_get64 (above->generation) ||
      (level == 0 && thin_get64 (above->key) != rd->n))
    return thin_bad_block (rd->m, "table", address);
  return append (rd, h + 1, n, size);
}

/* Up to THIN_IO_MAX blocks. */
static int
read_some (struct reading *rd, const struct thin_entry *above, size_t n,
           unsigned level, uint8_t *buf)
{
  struct thin_io ios[THIN_IO_MAX];
  size_t i;
  int r;

  for (i = 0; i < n; i++)
    ios[i] = (struct thin_io) { thin_get64 (above[i].address),
                                buf + i * THIN_BLOCK, 1, 0 };
  r = thin_io_read_all (rd->m->store, ios, n);
  for (i = 0; i < n && r == 0; i++)
    r = take_block (rd, &above[i], level,
                    (const struct thin_block_header *) (buf + i * THIN_BLOCK));
  return r;
}

static int
read_level (struct reading *rd, const struct thin_entry *above, size_t n,
            unsigned level, struct thin_places *blocks)
{
  uint8_t *buf = thin_io_alloc (n < THIN_IO_MAX ? n : THIN_IO_MAX);
  size_t i, k;
  int r = buf ? 0 : -ENOMEM;

  for (i = 0; i < n && r == 0; i++)
    r = thin_places_add (blocks, thin_get64 (above[i].address));
  for (i = 0; i < n && r == 0; i += k) {
    k = n - i < THIN_IO_MAX ? n - i : THIN_IO_MAX;
    r = read_some (rd, above + i, k, level, buf);
  }
  free (buf);
  return r;
}

int
thin_table_read (struct thin_meta *m, enum thin_table kind,
                 const struct thin_root *root, size_t entry_size,
                 void **entries, size_t *n, struct thin_places *blocks)
{
  struct reading rd = { .m = m, .kind = kind, .entry_size = entry_size };
  struct thin_entry *above = calloc (1, sizeof *above);
  unsigned level = root->level;
  int r = above ? 0 : -ENOMEM;

  *entries = NULL;
  *n = root->address ? 1 : 0;
  if (above && root->address) {
    above->address = thin_put64 (root->address);
    above->generation = thin_put64 (root->generation);
  }
  while (r == 0 && *n > 0) {
    if (blocks->n + *n > THIN_TABLE_MAX)
      r = thin_bad_block (m, "table", root->address);
    else
      r = read_level (&rd, above, *n, level, blocks);
    free (above);
    above = (struct thin_entry *) rd.entries;
    *n = rd.n;
    rd.entries = NULL;
    rd.n = rd.room = 0;
    if (level-- == 0)
      break;
  }
  if (r == 0 && *n > 0) {
    *entries = above;
    return 0;
  }
  free (above);
  *n = 0;
  return r;
}
