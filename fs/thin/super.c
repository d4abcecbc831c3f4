/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Headers of metadata blocks, and superblocks.
 */

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fs/thin/super.h"

uint64_t
thin_checksum (const struct thin_block_header *h, size_t bytes)
{
  uint64_t seed =
    XXH3_64bits (h, offsetof (struct thin_block_header, checksum));

  return XXH3_64bits_withSeed (h + 1, bytes - sizeof *h, seed);
}

void
thin_seal (struct thin_block_header *h, uint32_t magic, const uint8_t *uuid,
           uint64_t address, uint64_t generation, size_t bytes)
{
  h->magic = thin_put32 (magic);
  memcpy (h->uuid, uuid, sizeof h->uuid);
  h->address = thin_put64 (address);
  h->generation = thin_put64 (generation);
  h->checksum = thin_put64 (thin_checksum (h, bytes));
}

bool
thin_sealed (const struct thin_block_header *h, uint32_t magic,
             const uint8_t *uuid, uint64_t address, size_t bytes)
{
  return thin_get32 (h->magic) == magic &&
         memcmp (h->uuid, uuid, sizeof h->uuid) == 0 &&
         thin_get64 (h->address) == address &&
         thin_get64 (h->checksum) == thin_checksum (h, bytes);
}

static struct thin_root_entry
put_root (const struct thin_root *root)
{
  return (struct thin_root_entry) {
    .address = thin_put64 (root->address),
    .generation = thin_put64 (root->generation),
    .level = thin_put64 (root->level),
  };
}

/* A root, if it can be one. */
static bool
get_root (const struct thin_root_entry *e, const struct thin_super *super,
          struct thin_root *root)
{
  uint64_t level = thin_get64 (e->level);

  root->address = thin_get64 (e->address);
  root->generation = thin_get64 (e->generation);
  root->level = level;
  return level <= THIN_MAX_LEVEL && root->address < super->store_blocks &&
         root->generation <= super->generation;
}

void
thin_super_encode (const struct thin_super *super, uint64_t address,
                   void *block)
{
  struct thin_super_block *b = block;

  memset (block, 0, THIN_BLOCK);
  b->version = thin_put32 (THIN_VERSION);
  b->block_shift = thin_put32 (super->block_shift);
  b->compat = thin_put64 (super->compat);
  b->ro_compat = thin_put64 (super->ro_compat);
  b->incompat = thin_put64 (super->incompat);
  b->disk_bytes = thin_put64 (super->disk_bytes);
  b->store_blocks = thin_put64 (super->store_blocks);
  b->log_start = thin_put64 (super->log_start);
  b->log_blocks = thin_put64 (super->log_blocks);
  b->snapshot_generation = thin_put64 (super->snapshot_generation);
  b->extents = put_root (&super->extents);
  b->free = put_root (&super->free);
  b->refs = put_root (&super->refs);
  b->chunks = put_root (&super->chunks);
  b->snapshots = put_root (&super->snapshots);
  b->free_blocks = thin_put64 (super->free_blocks);
  b->mapped = thin_put64 (super->mapped);
  b->unwritten = thin_put64 (super->unwritten);
  b->metadata_blocks = thin_put64 (super->metadata_blocks);
  b->snapshot_count = thin_put64 (super->snapshot_count);
  b->log.block = thin_put64 (super->log.block);
  b->log.sequence = thin_put64 (super->log.sequence);
  b->log.chain = thin_put64 (super->log.chain);
  b->extents_entries = thin_put64 (super->extents_entries);
  b->free_entries = thin_put64 (super->free_entries);
  b->refs_entries = thin_put64 (super->refs_entries);
  thin_seal (&b->h, THIN_MAGIC_SUPER, super->uuid, address, super->generation,
             THIN_BLOCK);
}

static void
get_numbers (const struct thin_super_block *b, struct thin_super *super)
{
  memcpy (super->uuid, b->h.uuid, sizeof super->uuid);
  super->generation = thin_get64 (b->h.generation);
  super->block_shift = thin_get32 (b->block_shift);
  super->compat = thin_get64 (b->compat);
  super->ro_compat = thin_get64 (b->ro_compat);
  super->incompat = thin_get64 (b->incompat);
  super->disk_bytes = thin_get64 (b->disk_bytes);
  super->store_blocks = thin_get64 (b->store_blocks);
  super->log_start = thin_get64 (b->log_start);
  super->log_blocks = thin_get64 (b->log_blocks);
  super->snapshot_generation = thin_get64 (b->snapshot_generation);
  super->free_blocks = thin_get64 (b->free_blocks);
  super->mapped = thin_get64 (b->mapped);
  super->unwritten = thin_get64 (b->unwritten);
  super->metadata_blocks = thin_get64 (b->metadata_blocks);
  super->snapshot_count = thin_get64 (b->snapshot_count);
  super->log.block = thin_get64 (b->log.block);
  super->log.sequence = thin_get64 (b->log.sequence);
  super->log.chain = thin_get64 (b->log.chain);
  super->extents_entries = thin_get64 (b->extents_entries);
  super->free_entries = thin_get64 (b->free_entries);
  super->refs_entries = thin_get64 (b->refs_entries);
}

/* Do the numbers make sense? */
static bool
sane (const struct thin_super *super)
{
  return super->disk_bytes <= THIN_MAX_DISK &&
         super->disk_bytes % THIN_BLOCK == 0 &&
         super->store_blocks <= THIN_MAX_BLOCKS &&
         super->log_start == THIN_LOG && super->log_blocks >= THIN_MIN_LOG &&
         super->log_blocks <= THIN_MAX_LOG &&
         super->log_start < super->store_blocks &&
         super->log_blocks < super->store_blocks - super->log_start &&
         super->log.block < super->log_blocks &&
         super->generation <= THIN_MAX_COUNT &&
         super->log.sequence <= THIN_MAX_COUNT &&
         super->snapshot_generation <= super->generation &&
         super->free_blocks <= super->store_blocks &&
         super->metadata_blocks <= super->store_blocks;
}

int
thin_super_decode (const void *block, uint64_t address,
                   struct thin_super *super)
{
  const struct thin_super_block *b = block;

  if (thin_get32 (b->h.magic) != THIN_MAGIC_SUPER)
    return -EINVAL;
  if (!thin_sealed (&b->h, THIN_MAGIC_SUPER, b->h.uuid, address, THIN_BLOCK))
    return -EIO;
  get_numbers (b, super);
  if (thin_get32 (b->version) != THIN_VERSION ||
      (super->incompat & ~THIN_KNOWN_INCOMPAT) ||
      super->block_shift != THIN_BLOCK_SHIFT)
    return -ENOTSUP;
  if (!sane (super) || !get_root (&b->extents, super, &super->extents) ||
      !get_root (&b->free, super, &super->free) ||
      !get_root (&b->refs, super, &super->refs) ||
      !get_root (&b->chunks, super, &super->chunks) ||
      !get_root (&b->snapshots, super, &super->snapshots))
    return -EIO;
  return 0;
}
