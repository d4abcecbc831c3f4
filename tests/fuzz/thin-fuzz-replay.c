/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fuzzer's inputs without a fuzzer: those of a directory are done, and each of them
 * with random changes.
 *
 *   thin-fuzz-replay DIRECTORY [ROUNDS [SEED]]
 *   thin-fuzz-replay --make DIRECTORY       make the first inputs, of small images
 */

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/thin/layers.h"
#include "fs/thin/log.h"
#include "thin-fuzz.h"
#include "tools/memory-store.h"
#include "tools/util.h"

#define INPUT_MAX 65536

/* --- doing them --- */

/* Some bytes of it are others. */
static void
mutate (uint8_t *data, size_t size, struct rng *rng)
{
  uint64_t n = rng_log (rng, 8);
  size_t at;

  for (; n > 0 && size > 0; n--) {
    at = rng_below (rng, size);
    switch (rng_below (rng, 4)) {
    case 0: data[at] ^= (uint8_t) (1u << rng_below (rng, 8)); break;
    case 1: data[at] = (uint8_t) rng_next (rng); break;
    case 2: data[at] = rng_chance (rng, 50) ? 0 : 0xff; break;
    case 3: data[at] = data[rng_below (rng, size)]; break;
    }
  }
}

static void
replay (const char *path, uint64_t rounds, uint64_t seed)
{
  FILE *fp = fopen (path, "rb");
  uint8_t *original = xcalloc (1, INPUT_MAX), *data = xcalloc (1, INPUT_MAX);
  size_t size = fp ? fread (original, 1, INPUT_MAX, fp) : 0;
  uint64_t i;

  if (fp == NULL || size == 0)
    die ("%s cannot be read", path);
  fclose (fp);
  LLVMFuzzerTestOneInput (original, size);
  for (i = 0; i < rounds; i++) {
    struct rng rng = { mix64 (seed + i) };

    memcpy (data, original, size);
    mutate (data, size, &rng);
    LLVMFuzzerTestOneInput (data, size);
  }
  free (original);
  free (data);
}

static unsigned
replay_all (const char *name, uint64_t rounds, uint64_t seed)
{
  DIR *dir = opendir (name);
  struct dirent *entry;
  char path[4096];
  unsigned n = 0;

  if (dir == NULL)
    die ("there is no directory %s", name);
  while ((entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] == '.')
      continue;
    snprintf (path, sizeof path, "%s/%s", name, entry->d_name);
    replay (path, rounds, seed);
    n++;
  }
  closedir (dir);
  return n;
}

/* --- making them --- */

static void
must (int r, const char *what)
{
  if (r < 0)
    die ("%s: %s", what, strerror (-r));
}

/* n ranges of the disk, with a hole between two. */
static void
fill (struct thin_meta *m, uint64_t n, uint64_t first)
{
  struct thin_range range;
  struct thin_txn *t;
  uint64_t i;

  must (thin_txn_begin (m, &t), "begin");
  for (i = 0; i < n; i++) {
    must (thin_meta_take (m, 1, &range), "take");
    must (thin_txn_map (t, first + 2 * i, 1, range.start, i % 5 == 4), "map");
  }
  must (thin_txn_commit (t, NULL, NULL, NULL), "commit");
}

/* An entry of each kind, and others over them. */
static void
note_changes (struct thin_meta *m, struct range_map *map, uint64_t first)
{
  static const struct range_entry entries[] = {
    { .end = 2, .kind = RANGE_MAPPED, .flags = LAYER_OWN },
    { .start = 3, .end = 4, .kind = RANGE_UNWRITTEN, .flags = LAYER_OWN },
    { .start = 5, .end = 7, .kind = RANGE_ZERO_KEEP },
    { .start = 8, .end = 12, .kind = RANGE_HOLE },
  };
  struct thin_range range;
  struct range_entry e;
  unsigned i;

  for (i = 0; i < 4; i++) {
    e = entries[i];
    e.start += first;
    e.end += first;
    if (e.flags & LAYER_OWN) {
      must (thin_meta_take (m, e.end - e.start, &range), "take");
      e.physical = range.start;
    }
    range_map_set (map, &e);
  }
}

/* Records in the log, so many. */
static void
record (struct thin_meta *m, uint8_t *content, unsigned n)
{
  struct range_nodes nodes;
  struct thin_super super;
  struct range_map map;
  struct thin_log log;
  uint8_t *to;

  thin_meta_super (m, &super);
  thin_log_init (&log, &super);
  range_nodes_init (&nodes);
  range_map_init (&map, &nodes);
  for (; n > 0; n--) {
    note_changes (m, &map, 7 * (uint64_t) n);
    to = content + (log.start + log.head.block) * THIN_BLOCK;
    thin_log_encode (&log, &map, map.count, LAYER_OWN, to);
    thin_log_advance (&log, to);
    range_map_clear (&map);
  }
  range_nodes_destroy (&nodes);
}

static void
make (const char *directory, const char *name, uint64_t extents,
      unsigned snapshots, unsigned records)
{
  uint8_t *content = xcalloc (FUZZ_BLOCKS, THIN_BLOCK);
  const struct thin_create what = { .disk_bytes = UINT64_C (4) << 20,
                                    .log_blocks = 16,
                                    .uuid = fuzz_uuid () };
  char text[200] = "", path[4096], snapshot[24];
  const struct store_message why = { text, sizeof text };
  struct memory_store s;
  struct thin_meta *m;
  unsigned i;
  FILE *fp;

  memory_store_init (&s, content, FUZZ_BLOCKS * THIN_BLOCK);
  must (thin_create (&s.store, &what, &why), "create");
  must (thin_meta_open (&s.store, &(struct thin_open) { 0 }, &m, &why), "open");
  if (extents > 0)
    fill (m, extents, 0);
  for (i = 0; i < snapshots; i++) {
    snprintf (snapshot, sizeof snapshot, "snapshot%u", i);
    must (thin_snapshot_create (m, snapshot, 1), "snapshot");
    fill (m, 2, 10 * i);
  }
  record (m, content, records);
  thin_meta_close (m);
  snprintf (path, sizeof path, "%s/%s", directory, name);
  fp = fopen (path, "wb");
  if (fp == NULL)
    die ("%s cannot be written", path);
  fuzz_pack (content, fp);
  fclose (fp);
  free (content);
}

static void
make_all (const char *directory)
{
  mkdir (directory, 0777);
  make (directory, "empty", 0, 0, 0);
  make (directory, "small", 10, 0, 0);
  make (directory, "snapshots", 10, 3, 0);
  make (directory, "two-levels", 180, 1, 0);
  make (directory, "log", 10, 0, 1);
  make (directory, "long-log", 30, 1, 5);
}

int
main (int argc, char **argv)
{
  uint64_t rounds = 0, seed = 1;
  unsigned n;

  if (argc == 3 && strcmp (argv[1], "--make") == 0) {
    make_all (argv[2]);
    return 0;
  }
  if (argc < 2)
    die ("which directory?");
  if (argc > 2)
    rounds = strtoull (argv[2], NULL, 0);
  if (argc > 3)
    seed = strtoull (argv[3], NULL, 0);
  n = replay_all (argv[1], rounds, seed);
  if (n == 0)
    die ("%s has no inputs", argv[1]);
  printf ("%u inputs, each with %" PRIu64 " changes from seed %" PRIu64 "\n", n,
          rounds, seed);
  return 0;
}
