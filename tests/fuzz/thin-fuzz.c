/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Any bytes as a thin image: it opens or does not; if it does, all of it is looked up,
 * its log replayed, its snapshots listed, all of it checked, and a transaction made.
 * Whatever the bytes, nothing crashes, goes on for ever or reads where nothing is.
 *
 * The input is a list of blocks, so that it is small and a mutation of it is something:
 *
 *   flags (1 byte)  block (2)  length (2)  bytes ...     little-endian
 *
 * FUZZ_SEAL: its header's address and checksum are made right, or no mutation would come
 * further than to the checksum.  FUZZ_CHAIN, of any: so are the sequence and chain of all
 * records of the log, from where the superblock says.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/offline.h"
#include "fs/thin/super.h"
#include "thin-fuzz.h"
#include "tools/memory-store.h"

static const uint8_t uuid[16] = "a fuzzed image..";

/* --- input --- */

static uint32_t
get (const uint8_t *p, unsigned n)
{
  return n == 1 ? p[0] : (uint32_t) p[0] | (uint32_t) p[1] << 8;
}

/* How many blocks the checksum is over. */
static uint64_t
sealed_blocks (const uint8_t *block, uint64_t at)
{
  const struct thin_log_header *h = (const struct thin_log_header *) block;
  uint64_t n = thin_get32 (h->blocks);

  if (thin_get32 (h->h.magic) != THIN_MAGIC_LOG || n == 0 ||
      n > FUZZ_BLOCKS - at)
    return 1;
  return n;
}

static void
seal (uint8_t *content, uint64_t at)
{
  struct thin_block_header *h =
    (struct thin_block_header *) (content + at * THIN_BLOCK);
  uint64_t n = sealed_blocks (content + at * THIN_BLOCK, at);

  thin_seal (h, thin_get32 (h->magic), uuid, at, thin_get64 (h->generation),
             n * THIN_BLOCK);
}

static void
seal_log (uint8_t *content)
{
  struct thin_log_header *h;
  struct thin_super super;
  uint64_t at, n, left;

  if (thin_super_decode (content, THIN_SUPER_A, &super) < 0)
    return;
  for (left = super.log_blocks; left > 0; left -= n < left ? n : left) {
    at = super.log_start + super.log.block;
    if (at >= FUZZ_BLOCKS)
      break;
    h = (struct thin_log_header *) (content + at * THIN_BLOCK);
    if (thin_get32 (h->h.magic) != THIN_MAGIC_LOG)
      break;
    n = sealed_blocks (content + at * THIN_BLOCK, at);
    h->chain = thin_put64 (super.log.chain);
    h->h.generation = thin_put64 (super.log.sequence++);
    seal (content, at);
    super.log.chain = thin_get64 (h->h.checksum);
    super.log.block = (super.log.block + n) % super.log_blocks;
  }
}

void
fuzz_unpack (const uint8_t *data, size_t size, uint8_t *content)
{
  uint64_t sealed[FUZZ_RECORDS];
  unsigned n = 0, i;
  bool chain = false;

  while (size >= FUZZ_HEADER && n < FUZZ_RECORDS) {
    uint64_t at = get (data + 1, 2) % FUZZ_BLOCKS;
    size_t length = get (data + 3, 2);

    if (length > size - FUZZ_HEADER)
      length = size - FUZZ_HEADER;
    memcpy (content + at * THIN_BLOCK, data + FUZZ_HEADER,
            length < THIN_BLOCK ? length : THIN_BLOCK);
    if (data[0] & FUZZ_SEAL)
      sealed[n++] = at;
    chain |= (data[0] & FUZZ_CHAIN) != 0;
    data += FUZZ_HEADER + length;
    size -= FUZZ_HEADER + length;
  }
  for (i = 0; i < n; i++)
    seal (content, sealed[i]);
  if (chain)
    seal_log (content);
}

static bool
is_metadata (const uint8_t *block)
{
  return block[0] == 'F' && block[1] == 't' && block[2] == 'h';
}

void
fuzz_pack (const uint8_t *content, FILE *fp)
{
  uint64_t at;

  for (at = 0; at < FUZZ_BLOCKS; at++) {
    const uint8_t *block = content + at * THIN_BLOCK;
    size_t length = THIN_BLOCK;

    if (!is_metadata (block))
      continue;
    while (block[length - 1] == 0)
      length--;
    putc (FUZZ_SEAL | FUZZ_CHAIN, fp);
    putc ((int) (at & 0xff), fp);
    putc ((int) (at >> 8), fp);
    putc ((int) (length & 0xff), fp);
    putc ((int) (length >> 8), fp);
    fwrite (block, 1, length, fp);
  }
}

const uint8_t *
fuzz_uuid (void)
{
  return uuid;
}

/* --- what is done to it --- */

static void
broken (const char *what)
{
  fprintf (stderr, "thin-fuzz: %s\n", what);
  abort ();
}

/* Whatever it says is inside of the disk and the store. */
static void
look_at_all (struct thin_meta *m, const struct thin_root *root, uint64_t blocks,
             struct range_map *log)
{
  struct thin_extent e;
  uint64_t pos;
  unsigned n;
  int r;

  for (pos = 0, n = 0; pos < blocks && n < FUZZ_LOOKUPS; pos += e.length, n++) {
    r = log ? thin_log_lookup (m, log, NULL, pos, blocks - pos, &e)
            : thin_meta_lookup (m, root, pos, blocks - pos, false, &e);
    if (r < 0)
      return;
    if (e.logical != pos || e.length == 0 || e.length > blocks - pos)
      broken ("an extent that is not where it was asked for");
    if (e.type != IOMAP_HOLE &&
        (e.physical >= FUZZ_BLOCKS || e.length > FUZZ_BLOCKS - e.physical))
      broken ("an extent that is not on the store");
  }
}

static void
look_at_snapshots (struct thin_meta *m)
{
  struct thin_snapshot *list;
  uint64_t usage;
  size_t n, i;

  if (thin_snapshot_list (m, &list, &n) < 0)
    return;
  for (i = 0; i < n && i < FUZZ_SNAPSHOTS; i++) {
    look_at_all (m, &list[i].root, list[i].disk_bytes / THIN_BLOCK, NULL);
    thin_snapshot_usage (m, &list[i], &usage);
  }
  free (list);
}

static void
ignore_problem (void *opaque, const char *message)
{
  (void) opaque;
  (void) message;
}

static bool
is_clean (struct thin_meta *m)
{
  struct thin_check check = { .problem = ignore_problem };

  return thin_check (m, &check) == 0 && check.problems == 0;
}

static void
read_image (struct memory_store *s)
{
  const struct thin_open how = { .readonly = true, .cache_nodes = 64 };
  char text[200];
  const struct store_message why = { text, sizeof text };
  struct range_nodes nodes;
  struct range_map log;
  struct thin_super super;
  struct thin_meta *m;
  uint64_t entries;

  if (thin_meta_open (&s->store, &how, &m, &why) < 0)
    return;
  range_nodes_init (&nodes);
  range_map_init (&log, &nodes);
  thin_meta_super (m, &super);
  if (thin_log_collect (m, &s->store, &log, &entries) == 0) {
    const struct thin_check check = { .problem = ignore_problem };

    look_at_all (m, NULL, super.disk_bytes / THIN_BLOCK, &log);
    thin_log_check (m, &log, &check);
  }
  look_at_snapshots (m);
  is_clean (m);
  range_map_clear (&log);
  range_nodes_destroy (&nodes);
  thin_meta_close (m);
}

static int
change (struct thin_meta *m)
{
  struct thin_range range;
  struct thin_txn *t;
  int r = thin_txn_begin (m, &t);

  if (r < 0)
    return r;
  thin_txn_hole (t, 1, 1);
  thin_txn_zero_keep (t, 5, 10);
  if (thin_meta_take (m, 3, &range) == 0)
    thin_txn_map (t, 2, range.length, range.start, false);
  return thin_txn_commit (t, NULL, NULL, NULL);
}

/* What was clean stays so. */
static void
write_image (struct memory_store *s)
{
  const struct thin_open how = { .cache_nodes = 64 };
  char text[200];
  const struct store_message why = { text, sizeof text };
  struct thin_meta *m;
  uint64_t entries;
  bool clean;

  if (thin_meta_open (&s->store, &how, &m, &why) < 0)
    return;
  clean = is_clean (m);
  if (thin_log_settle (m, &s->store, &entries) == 0) {
    clean = clean && entries == 0;
    change (m);
    thin_snapshot_create (m, "fuzz", 0);
    change (m);
    thin_snapshot_delete (m, "fuzz");
    if (clean && !is_clean (m))
      broken ("a clean image is not any more");
  }
  thin_meta_close (m);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  uint8_t *content = calloc (FUZZ_BLOCKS, THIN_BLOCK);
  struct memory_store s;

  if (content == NULL)
    return 0;
  fuzz_unpack (data, size, content);
  memory_store_init (&s, content, FUZZ_BLOCKS * THIN_BLOCK);
  read_image (&s);
  write_image (&s);
  free (content);
  return 0;
}
