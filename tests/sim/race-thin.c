/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thin image under many threads.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/offline.h"
#include "fs/thin/super.h"
#include "tests/sim/race-thin.h"
#include "tests/tools/memory-store.h"
#include "tests/tools/util.h"

#define MIB (UINT64_C (1) << 20)

/* --- making it --- */

static const uint8_t uuid[16] = "a race of many";

/* Nobody has it: who opens it need not wait for an owner to beat. */
static void
release (struct store *store)
{
  void *block = thin_io_alloc (1);

  if (block == NULL)
    die ("out of memory");
  memset (block, 0, THIN_BLOCK);
  thin_seal (block, THIN_MAGIC_OWNER, uuid, THIN_OWNER, 1, THIN_BLOCK);
  if (thin_io_write_durable (store, THIN_OWNER, block, 1) < 0)
    die ("the owner's block cannot be written");
  free (block);
}

struct fake_store *
race_thin_create (struct env *env, struct rng *rng, uint64_t disk, bool tight)
{
  uint64_t size =
    tight ? 2 * MIB + disk / 2 + rng_below (rng, disk / 2) : 4 * MIB + 2 * disk;
  struct fake_store *fake =
    fake_store_create (env, size / THIN_BLOCK * THIN_BLOCK);
  const struct thin_create what = {
    .disk_bytes = disk,
    .log_blocks = THIN_MIN_LOG + rng_below (rng, 60),
    .uuid = uuid,
  };
  char text[200] = "";
  const struct store_message why = { text, sizeof text };

  fake->store.geo.exclusive = true;
  if (thin_create (&fake->store, &what, &why) < 0)
    die ("it cannot be made: %s", text);
  release (&fake->store);
  return fake;
}

/* --- what is left of it --- */

/* An image that nobody serves. */
struct image {
  struct world *world;
  struct memory_store store;
  struct thin_meta *meta;
  struct range_nodes nodes;
  struct range_map log;
};

static void
must (struct image *image, int r, const char *what)
{
  if (r < 0)
    world_fail (image->world, WORLD_ALL, "%s: %s", what, strerror (-r));
}

static void
print_problem (void *opaque, const char *message)
{
  (void) opaque;
  printf ("  %s\n", message);
}

static void
open_image (struct image *image, struct world *world, uint8_t *content,
            uint64_t size)
{
  const struct thin_open how = { .readonly = true };
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  uint64_t entries;

  image->world = world;
  memory_store_init (&image->store, content, size);
  range_nodes_init (&image->nodes);
  range_map_init (&image->log, &image->nodes);
  if (thin_meta_open (&image->store.store, &how, &image->meta, &why) < 0)
    world_fail (world, WORLD_ALL, "it does not open: %s", text);
  must (
    image,
    thin_log_collect (image->meta, &image->store.store, &image->log, &entries),
    "its log");
}

static void
close_image (struct image *image)
{
  thin_meta_close (image->meta);
  range_map_clear (&image->log);
  range_nodes_destroy (&image->nodes);
}

static void
check_image (struct image *image)
{
  struct thin_check check = { .problem = print_problem };
  int n;

  must (image, thin_check (image->meta, &check), "thin_check");
  n = thin_log_check (image->meta, &image->log, &check);
  must (image, n, "thin_log_check");
  if (check.problems + (uint64_t) n > 0)
    world_fail (image->world, WORLD_ALL, "%" PRIu64 " problems in the image",
                check.problems + (uint64_t) n);
}

static void
read_disk (struct image *image, uint64_t blocks, uint8_t *content)
{
  struct thin_extent e;
  uint64_t b, bytes;

  for (b = 0; b < blocks; b += e.length) {
    must (image,
          thin_log_lookup (image->meta, &image->log, NULL, b, blocks - b, &e),
          "looking it up");
    bytes = e.length * THIN_BLOCK;
    if (e.type == IOMAP_MAPPED)
      memcpy (content + b * THIN_BLOCK,
              image->store.content + e.physical * THIN_BLOCK, bytes);
    else
      memset (content + b * THIN_BLOCK, 0, bytes);
  }
}

/* What is under way comes to its end, as if it had before the cut; what would follow is
 * not begun.
 */
static void
cut_power (struct fake_store *fake, uint64_t seed, uint8_t *content)
{
  static const enum store_op ops[] = { STORE_WRITE, STORE_ZERO, STORE_TRIM,
                                       STORE_FLUSH };
  unsigned i;

  for (i = 0; i < 4; i++)
    fake_store_hold (fake, ops[i]);
  fake_store_crash (fake, seed);
  fake_store_peek (fake, 0, content, fake->store.geo.size);
  for (i = 0; i < 4; i++)
    fake_store_unhold (fake, ops[i]);
}

void
race_thin_crash (struct world *world, struct fake_store *fake, uint64_t seed,
                 uint64_t disk, uint8_t *content)
{
  uint8_t *all = xcalloc (1, fake->store.geo.size);
  struct image image;

  cut_power (fake, seed, all);
  open_image (&image, world, all, fake->store.geo.size);
  check_image (&image);
  read_disk (&image, disk / THIN_BLOCK, content);
  close_image (&image);
  free (all);
}
