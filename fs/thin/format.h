/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The thin format as it is on the store: FORMAT.md says what it means.  All numbers
 * are little-endian, all addresses and lengths in blocks unless a name says bytes.
 */

#ifndef FOLIO_THIN_FORMAT_H
#define FOLIO_THIN_FORMAT_H

#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <stdint.h>

#define THIN_BLOCK_SHIFT 12
#define THIN_BLOCK 4096u /* bytes: of metadata, and of allocation so far */

/* Fixed places. */
#define THIN_SUPER_A 0u
#define THIN_OWNER 1u
#define THIN_SUPER_B 256u /* 1 MiB */
#define THIN_LOG 257u     /* the log ring begins here */
#define THIN_FIRST 2u     /* [2, 256) is the first chunk of metadata */

#define THIN_MIN_LOG 16u             /* blocks */
#define THIN_DEFAULT_LOG 1024u       /* blocks: 4 MiB */
#define THIN_MAX_LOG 65536u          /* blocks: opening reads all of it */
#define THIN_LOG_RECORD 64u          /* blocks of one record, at most */
#define THIN_MAX_COUNT (1ull << 62)  /* generations, sequences: never reached */
#define THIN_MAX_REFS (1ull << 62)   /* of a block */
#define THIN_MAX_BLOCKS (1ull << 52) /* of a store */
#define THIN_MAX_DISK (1ull << 60)   /* bytes */
#define THIN_MAX_LEVEL 9             /* of a tree */
#define THIN_MAX_ENTRIES 168         /* of a node */
#define THIN_NAME_MAX 63             /* bytes of a snapshot's name */

#define THIN_VERSION 1

/* A number on the store, which can't be taken for one that is not. */
typedef struct {
  uint64_t le;
} thin_le64;
typedef struct {
  uint32_t le;
} thin_le32;
typedef struct {
  uint16_t le;
} thin_le16;

static inline uint64_t
thin_get64 (thin_le64 x)
{
  return le64toh (x.le);
}

static inline thin_le64
thin_put64 (uint64_t x)
{
  return (thin_le64) { htole64 (x) };
}

static inline uint32_t
thin_get32 (thin_le32 x)
{
  return le32toh (x.le);
}

static inline thin_le32
thin_put32 (uint32_t x)
{
  return (thin_le32) { htole32 (x) };
}

static inline uint16_t
thin_get16 (thin_le16 x)
{
  return le16toh (x.le);
}

static inline thin_le16
thin_put16 (uint16_t x)
{
  return (thin_le16) { htole16 (x) };
}

/* Every block of metadata, and record of the log, begins with this.  The checksum is
 * XXH3 (64 bits) of what follows the header, its seed that of the bytes before the
 * checksum (with seed 0).
 */
struct thin_block_header {
  thin_le32 magic;
  uint8_t kind;    /* node: enum thin_tree; table: enum thin_table; else 0 */
  uint8_t level;   /* node, table: 0 is a leaf */
  thin_le16 count; /* node, table: entries */
  uint8_t uuid[16];
  thin_le64 address;    /* its own */
  thin_le64 generation; /* node, table, superblock: of the commit */
  thin_le64 spare[2];   /* 0 */
  thin_le64 checksum;
};
static_assert (sizeof (struct thin_block_header) == 64, "as FORMAT.md says");

/* "FthS", "FthN" and so on, as bytes. */
#define THIN_MAGIC_SUPER 0x53687446u
#define THIN_MAGIC_NODE 0x4e687446u
#define THIN_MAGIC_TABLE 0x54687446u
#define THIN_MAGIC_LOG 0x4c687446u
#define THIN_MAGIC_OWNER 0x4f687446u

enum thin_tree { THIN_EXTENTS = 1, THIN_FREE, THIN_REFS };

/* An entry of a node: 24 bytes in all trees and levels, in order of keys.  In an
 * interior node the key is that of the child's first entry.
 */
struct thin_entry {
  thin_le64
    key; /* leaf: where the range starts, on the disk (extents) or store */
  union {
    thin_le64 address; /* interior: of the child */
    thin_le64 length;  /* leaf: of the range */
  };
  union {
    thin_le64 generation; /* interior: of the child */
    thin_le64 value;      /* extents: physical, with flags in the high bits;
                           * refs: how many references, at least 2; free: 0 */
  };
};
static_assert (sizeof (struct thin_entry) == 24, "as FORMAT.md says");

#define THIN_UNWRITTEN (1ull << 63) /* reads as zero */
#define THIN_SHARED (1ull << 62)    /* refs may say more than one */
#define THIN_PHYSICAL ((1ull << 62) - 1)

struct thin_node {
  struct thin_block_header h;
  struct thin_entry entries[THIN_MAX_ENTRIES];
};
static_assert (sizeof (struct thin_node) == THIN_BLOCK, "one block");

/* Tables are written whole.  Leaves hold chunks of metadata or snapshots, the levels
 * above them entries as in a node's.
 */
enum thin_table { THIN_CHUNKS = 1, THIN_SNAPSHOTS };

struct thin_chunk_entry {
  thin_le64 start;
  thin_le32 length; /* at most 256 */
  thin_le32 flags;
  thin_le64 used[4]; /* bit i % 64 of word i / 64: block start + i is in use */
};
static_assert (sizeof (struct thin_chunk_entry) == 48, "as FORMAT.md says");
#define THIN_CHUNK_BLOCKS 256
#define THIN_CHUNK_OWED 1u /* the free tree has it still */

struct thin_root_entry {
  thin_le64 address; /* 0: empty */
  thin_le64 generation;
  thin_le64 level;
};

struct thin_snapshot_entry {
  char name[THIN_NAME_MAX + 1]; /* rest 0 */
  struct thin_root_entry root;
  thin_le64 disk_bytes;
  thin_le64 created; /* seconds since 1970 */
  thin_le64 mapped;
  thin_le64 unwritten;
  thin_le64 entries; /* of its extents' leaves */
};
static_assert (sizeof (struct thin_snapshot_entry) == 128, "as FORMAT.md says");

struct thin_log_place {
  thin_le64 block;    /* of the ring: 0 is its first */
  thin_le64 sequence; /* of the record that comes there */
  thin_le64 chain;    /* checksum of the record before */
};

struct thin_super_block {
  struct thin_block_header h;
  thin_le32 version;
  thin_le32 block_shift;
  thin_le64 compat;
  thin_le64 ro_compat;
  thin_le64 incompat;
  thin_le64 disk_bytes;
  thin_le64 store_blocks;
  thin_le64 log_start;
  thin_le64 log_blocks;
  thin_le64 snapshot_generation;
  struct thin_root_entry extents, free, refs, chunks, snapshots;
  thin_le64 free_blocks;
  thin_le64 mapped;
  thin_le64 unwritten;
  thin_le64 metadata_blocks;
  thin_le64 snapshot_count;
  struct thin_log_place log;
  thin_le64 extents_entries, free_entries, refs_entries; /* of all leaves */
};
static_assert (sizeof (struct thin_super_block) <= 512,
               "in one sector, so that it is written whole or not");

/* A record of the log: 1 to n blocks of the ring, one behind the other and not across
 * its end; the entries follow the header, the rest is zero.
 */
struct thin_log_header {
  struct thin_block_header
    h;              /* count: 0; generation: the sequence; address: of its
                               * first block on the store */
  thin_le64 chain;  /* checksum of the record before */
  thin_le32 blocks; /* its length */
  thin_le32 entries;
};
static_assert (sizeof (struct thin_log_header) == 80, "as FORMAT.md says");

enum thin_log_op {
  THIN_LOG_MAP = 1,
  THIN_LOG_UNWRITTEN,
  THIN_LOG_ZERO_KEEP,
  THIN_LOG_HOLE,
  THIN_LOG_CONVERT /* MAPPED where it was UNWRITTEN, at the same place */
};

struct thin_log_entry {
  thin_le64 logical;
  thin_le64 physical;  /* MAP, UNWRITTEN, CONVERT; else 0 */
  thin_le64 length_op; /* length << 8 | op */
};
static_assert (sizeof (struct thin_log_entry) == 24, "as FORMAT.md says");

/* Who has the store open for writing. */
struct thin_owner_block {
  struct thin_block_header h; /* generation: counts up with each write */
  uint8_t run[16];            /* of the server's run; all 0: released */
  char host[64];              /* rest 0 */
  thin_le64 time;             /* seconds since 1970, for people */
  thin_le64 interval;         /* ms between two beats */
};
static_assert (sizeof (struct thin_owner_block) <= 512, "in one sector");

#endif /* FOLIO_THIN_FORMAT_H */
