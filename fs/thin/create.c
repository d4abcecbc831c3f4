/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A new image: no extents, one leaf of free space, one chunk.  What made an image of what
 * was there before goes first, and the superblocks come last.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fs/thin/io.h"
#include "fs/thin/meta-impl.h"
#include "fs/thin/super.h"

/* Where the first blocks of metadata are, in the first chunk. */
#define FREE_LEAF THIN_FIRST
#define CHUNK_TABLE (THIN_FIRST + 1)

#define FIRST_GENERATION 1
#define LOG_SHARE 64   /* of a store that is small the log has this part */
#define LEAST_SPACE 16 /* blocks for data, or it is of no use */

static int
set_sizes (struct store *store, const struct thin_create *what,
           struct thin_super *super, const struct store_message *why)
{
  uint64_t limit = thin_min (store->geo.size / THIN_BLOCK, THIN_MAX_BLOCKS);
  uint64_t blocks = what->store_blocks ? what->store_blocks : limit;
  uint64_t log = what->log_blocks;

  if (what->block_shift && what->block_shift != THIN_BLOCK_SHIFT)
    return store_refuse (why, -EINVAL, "blocks can only be of 4096 bytes");
  if (what->disk_bytes > THIN_MAX_DISK)
    return store_refuse (why, -EINVAL, "a disk has 1 EiB at most");
  if (log == 0)
    log = thin_min (THIN_DEFAULT_LOG, blocks / LOG_SHARE);
  log = thin_max (log, THIN_MIN_LOG);
  if (log > THIN_MAX_LOG)
    return store_refuse (why, -EINVAL, "a log has 256 MiB at most");
  if (blocks > limit || log > blocks || blocks - log < THIN_LOG + LEAST_SPACE)
    return store_refuse (why, -ENOSPC,
                         "the store is too small: %u bytes are the least",
                         (THIN_LOG + THIN_MIN_LOG + LEAST_SPACE) * THIN_BLOCK);
  super->block_shift = THIN_BLOCK_SHIFT;
  super->disk_bytes =
    (what->disk_bytes + THIN_BLOCK - 1) / THIN_BLOCK * THIN_BLOCK;
  super->store_blocks = blocks;
  super->log_start = THIN_LOG;
  super->log_blocks = log;
  super->log.sequence = 1;
  super->generation = FIRST_GENERATION;
  super->free_blocks = blocks - THIN_LOG - log;
  super->free_entries = 1;
  super->metadata_blocks = THIN_SUPER_B - THIN_FIRST;
  super->free = (struct thin_root) { FREE_LEAF, FIRST_GENERATION, 0 };
  super->chunks = (struct thin_root) { CHUNK_TABLE, FIRST_GENERATION, 0 };
  return 0;
}

static int
set_uuid (const struct thin_create *what, uint8_t *uuid)
{
  if (what->uuid)
    memcpy (uuid, what->uuid, 16);
  else if (getrandom (uuid, 16, 0) != 16)
    return -errno;
  else { /* version 4, variant 1 */
    uuid[6] = (uuid[6] & 0x0f) | 0x40;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
  }
  return 0;
}

static int
write_metadata (struct store *store, const struct thin_super *super, void *buf)
{
  struct thin_node *node = buf;
  struct thin_block_header *table =
    (struct thin_block_header *) ((uint8_t *) buf + THIN_BLOCK);
  struct thin_chunk_entry *chunk = (struct thin_chunk_entry *) (table + 1);

  memset (buf, 0, 2 * THIN_BLOCK);
  node->h.kind = THIN_FREE;
  node->h.count = thin_put16 (1);
  node->entries[0].key = thin_put64 (super->log_start + super->log_blocks);
  node->entries[0].length = thin_put64 (super->free_blocks);
  thin_seal (&node->h, THIN_MAGIC_NODE, super->uuid, FREE_LEAF,
             super->generation, THIN_BLOCK);
  table->kind = THIN_CHUNKS;
  table->count = thin_put16 (1);
  chunk->start = thin_put64 (THIN_FIRST);
  chunk->length = thin_put32 (super->metadata_blocks);
  chunk->used[0] = thin_put64 (3);
  thin_seal (table, THIN_MAGIC_TABLE, super->uuid, CHUNK_TABLE,
             super->generation, THIN_BLOCK);
  return thin_io_write (store, FREE_LEAF, buf, 2);
}

/* The superblocks, and the blocks behind them: the owner, and the first of the log.  One by
 * one: an image that was there is whole as long as it has a superblock.
 */
static int
write_zeroes (struct store *store, void *buf)
{
  static const uint64_t blocks[] = { THIN_SUPER_A, THIN_SUPER_B, THIN_OWNER,
                                     THIN_LOG };
  unsigned i;
  int r = 0;

  memset (buf, 0, THIN_BLOCK);
  for (i = 0; i < sizeof blocks / sizeof *blocks && r == 0; i++)
    r = thin_io_write_durable (store, blocks[i], buf, 1);
  return r;
}

static int
write_all (struct store *store, const struct thin_super *super, void *buf)
{
  uint32_t undone = store_undone (store);
  int r = write_metadata (store, super, buf);

  if (r == 0)
    r = thin_io_flush (store);
  if (r == 0 && store_undone (store) != undone)
    r = -ECONNRESET;
  if (r < 0)
    return r;
  thin_super_encode (super, THIN_SUPER_A, buf);
  r = thin_io_write_durable (store, THIN_SUPER_A, buf, 1);
  if (r < 0)
    return r;
  thin_super_encode (super, THIN_SUPER_B, buf);
  return thin_io_write_durable (store, THIN_SUPER_B, buf, 1);
}

int
thin_create (struct store *store, const struct thin_create *what,
             const struct store_message *why)
{
  struct thin_super super = { 0 };
  void *buf;
  int r = set_sizes (store, what, &super, why);

  if (r < 0)
    return r;
  buf = thin_io_alloc (2);
  r = buf ? set_uuid (what, super.uuid) : -ENOMEM;
  if (r == 0)
    r = write_zeroes (store, buf);
  if (r == 0)
    r = write_all (store, &super, buf);
  free (buf);
  if (r < 0)
    store_refuse (why, r, "the image cannot be written: %s", strerror (-r));
  return r;
}
