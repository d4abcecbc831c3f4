/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the metadata of the thin format costs, on a store in memory that takes no time:
 * a disk of 1 TiB with many extents of one block each; checkpoints in order and at
 * random, lookups, opening.  "make bench/thin-bench" in the build tree's tests/, then
 *
 *   thin-bench [EXTENTS [OPERATIONS [NODES [FILE]]]]
 *
 * EXTENTS (10,000,000) are made in order, then checkpoints of OPERATIONS (100,000) at
 * random places; NODES are kept in memory (0: as many as usual).  With FILE, which must
 * not be there, it is the store, and stays; without a snapshot.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "fs/thin/meta.h"
#include "tests/tools/util.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/file-rig.h"

#define DISK (UINT64_C (1) << 40)

struct bench {
  struct store *store;
  struct thin_meta *m;
  struct rng rng;
  uint64_t extents, ops;
  unsigned nodes;
  uint64_t step; /* blocks of the disk between two extents */
  bool stays;
};

static void
must (int r, const char *what)
{
  if (r < 0)
    die ("%s: error %d", what, -r);
}

static void
report (const char *what, uint64_t start, uint64_t count)
{
  uint64_t ns = now_ns () - start;

  printf ("  %-32s %9.1f ms %9.1f ns each\n", what, ns / 1e6,
          (double) ns / count);
  fflush (stdout);
}

static void
open_image (struct bench *b)
{
  struct thin_open how = { .cache_nodes = b->nodes };
  char text[200] = "";
  struct store_message why = { text, sizeof text };
  struct thin_extent e;
  uint64_t start = now_ns ();

  if (thin_meta_open (b->store, &how, &b->m, &why) < 0)
    die ("%s", text);
  must (thin_meta_lookup (b->m, NULL, 0, 1, false, &e), "lookup");
  report ("open and look up", start, 1);
}

/* One checkpoint; where says where the i-th goes. */
static void
checkpoint (struct bench *b, uint64_t (*where) (struct bench *b, uint64_t i),
            uint64_t from, uint64_t n)
{
  struct thin_range range;
  struct thin_txn *t;
  uint64_t i;

  must (thin_txn_begin (b->m, &t), "begin");
  for (i = 0; i < n; i++) {
    if (i % 64 == 0)
      must (thin_meta_take (b->m, 64, &range), "take");
    if (i % 64 < range.length)
      must (
        thin_txn_map (t, where (b, from + i), 1, range.start + i % 64, false),
        "map");
  }
  must (thin_txn_commit (t, NULL, NULL, NULL), "commit");
}

static uint64_t
in_order (struct bench *b, uint64_t i)
{
  return i * b->step;
}

static uint64_t
anywhere (struct bench *b, uint64_t i)
{
  (void) i;
  return rng_below (&b->rng, b->extents) * b->step;
}

static void
lookups (struct bench *b, uint64_t n, bool nowait, const char *what)
{
  uint64_t start = now_ns (), i, missing = 0;
  struct thin_extent e;

  for (i = 0; i < n; i++)
    missing +=
      thin_meta_lookup (b->m, NULL, anywhere (b, i), 1, nowait, &e) < 0;
  report (what, start, n);
  if (missing)
    printf ("    (%" PRIu64 " of them not in memory)\n", missing);
}

static void
shared (struct bench *b)
{
  uint64_t start = now_ns ();

  must (thin_snapshot_create (b->m, "s", 0), "snapshot");
  report ("snapshot", start, 1);
  start = now_ns ();
  checkpoint (b, anywhere, 0, b->ops);
  report ("checkpoint after that", start, b->ops);
}

static void
run (struct bench *b)
{
  struct thin_super super;
  struct rusage usage;
  uint64_t start = now_ns (), i;

  for (i = 0; i < b->extents; i += b->ops)
    checkpoint (b, in_order, i, b->ops);
  report ("extents made in order", start, b->extents);
  for (i = 0; i < 5; i++) {
    start = now_ns ();
    checkpoint (b, anywhere, 0, b->ops);
    report ("checkpoint, at random", start, b->ops);
  }
  lookups (b, 1000000, false, "lookups");
  lookups (b, 1000000, true, "lookups that do not wait");
  if (!b->stays)
    shared (b);
  thin_meta_close (b->m);
  open_image (b);
  thin_meta_super (b->m, &super);
  getrusage (RUSAGE_SELF, &usage);
  printf ("  metadata: %" PRIu64
          " MiB in chunks; memory (with the store's): %ld "
          "MiB\n",
          super.metadata_blocks >> 8, usage.ru_maxrss >> 10);
}

static void
open_file (struct rig *rig, const char *path)
{
  const struct file_store_options o = {
    .path = path,
    .create = (int64_t) DISK,
    .direct = DIRECT_ON,
    .io_depth = 32,
  };

  rig_open (rig, &o);
  rig_start (rig);
}

int
main (int argc, char *argv[])
{
  struct thin_create what = { .disk_bytes = DISK };
  struct env env;
  struct rig rig;
  char text[200] = "";
  struct store_message why = { text, sizeof text };
  struct bench b = {
    .rng = { 1 },
    .extents = argc > 1 ? strtoull (argv[1], NULL, 0) : 10000000,
    .ops = argc > 2 ? strtoull (argv[2], NULL, 0) : 100000,
    .nodes = argc > 3 ? strtoul (argv[3], NULL, 0) : 0,
    .stays = argc > 4,
  };

  env_init (&env);
  b.step = DISK / THIN_BLOCK / b.extents;
  if (b.stays) {
    open_file (&rig, argv[4]);
    b.store = rig.store;
  }
  else
    b.store = &fake_store_create (&env, DISK)->store;
  if (thin_create (b.store, &what, &why) < 0)
    die ("%s", text);
  open_image (&b);
  run (&b);
  thin_meta_close (b.m);
  if (b.stays)
    rig_close (&rig);
  else
    b.store->ops->close (b.store);
  return 0;
}
