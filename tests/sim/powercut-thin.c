/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts of a thin disk: what is looked at, and done to it, while nobody has it
 * open.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/request/mapping.h"
#include "fs/thin/offline.h"
#include "fs/thin/thin-impl.h"
#include "powercut.h"

#define MIB (UINT64_C (1) << 20)
#define MOST_LOG (THIN_MIN_LOG + 100) /* blocks */

/* The image of a run, opened past the cache. */
struct opened {
  struct thin_meta *meta;
  struct range_nodes nodes;
  struct range_map log;
};

/* As of the other format that has a map on the store; see fit_to_shuffle().  A flush also
 * fails when metadata that it needs cannot be read.
 */
void
thin_fit (struct run *run)
{
  struct run_config *c = &run->config;

  c->disk_size -= c->disk_size % THIN_BLOCK;
  if (c->mapping.mode == CACHE_NONE || c->mapping.sequential_cutoff)
    c->faults &= FAULT_READS | FAULT_WRITES;
  c->store.losing |= 1u << STORE_WRITE | 1u << STORE_READ;
}

uint64_t
thin_choose_store (struct run *run)
{
  uint64_t disk = run->config.disk_size;

  run->tight = world_chance (run->world, 40);
  run->fan = world_chance (run->world, 30)
               ? 0
               : 4 + (unsigned) world_below (run->world, 12);
  if (run->tight)
    return disk / 2 + 2 * MIB +
           world_below (run->world, disk / 2 + 1) / 4096 * 4096;
  /* What may be needed for small nodes at worst is a multiple of the data. */
  run->tight = run->fan > 0 && run->fan < 10;
  return (2 + MAX_SNAPSHOTS) * disk + 16 * MIB;
}

/* What there is of the store at first: it grows, then. */
static uint64_t
choose_part (struct run *run, uint64_t blocks)
{
  uint64_t least = THIN_LOG + MOST_LOG + 16;

  return least < blocks ? least + world_below (run->world, blocks - least)
                        : blocks;
}

void
thin_make (struct run *run)
{
  struct model_store *store =
    model_store_create (run->world, run->medium, &run->config.store);
  struct thin_create what = { .disk_bytes = run->config.disk_size };
  char text[200] = "";
  const struct store_message why = { text, sizeof text };

  if (world_chance (run->world, 70)) /* so that it is full now and then */
    what.log_blocks =
      THIN_MIN_LOG + world_below (run->world, MOST_LOG - THIN_MIN_LOG);
  if (world_chance (run->world, 20))
    what.store_blocks = choose_part (run, store->store.geo.size / 4096);
  if (thin_create (&store->store, &what, &why) < 0)
    world_fail (run->world, WORLD_ALL, "it cannot be made: %s", text);
  store->store.ops->close (&store->store);
  medium_flush (run->medium, UINT64_MAX, 0, UINT64_MAX);
}

/* --- open and closed --- */

static void
open_image (struct run *run, struct opened *o, bool writing)
{
  const struct thin_open how = { .readonly = !writing, .fan = run->fan };
  struct store *store = &run->store->store;
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  uint64_t entries = 0;
  int r;

  range_nodes_init (&o->nodes);
  range_map_init (&o->log, &o->nodes);
  if (thin_meta_open (store, &how, &o->meta, &why) < 0)
    world_fail (run->world, WORLD_ALL, "it does not open: %s", text);
  r = writing ? thin_log_settle (o->meta, store, &entries)
              : thin_log_collect (o->meta, store, &o->log, &entries);
  run_must (run, r, "replaying the log");
  world_note (run->world, "  entries in the log:", 0, 0, (int64_t) entries);
}

static void
close_image (struct opened *o)
{
  thin_meta_close (o->meta);
  range_map_clear (&o->log);
  range_nodes_destroy (&o->nodes);
}

/* --- verifying --- */

static void
print_problem (void *opaque, const char *message)
{
  (void) opaque;
  printf ("  %s\n", message);
}

static void
check_image (struct run *run, struct opened *o)
{
  struct thin_check check = { .problem = print_problem };
  int n;

  run_must (run, thin_check (o->meta, &check), "thin_check");
  n = thin_log_check (o->meta, &o->log, &check);
  run_must (run, n, "thin_log_check");
  if (check.problems + (uint64_t) n > 0)
    world_fail (run->world, WORLD_ALL, "%" PRIu64 " problems in the image",
                check.problems + (uint64_t) n);
}

static void
read_extent (struct run *run, const struct thin_extent *e, uint8_t *buf)
{
  uint64_t bytes = e->length * THIN_BLOCK;

  if (e->type == IOMAP_MAPPED)
    medium_read (run->medium, e->physical * THIN_BLOCK, buf, bytes);
  else
    memset (buf, 0, bytes);
}

static void
check_snapshot (struct run *run, struct opened *o, const struct run_snapshot *s)
{
  uint64_t blocks = run->config.disk_size / THIN_BLOCK, pos;
  uint8_t *buf = xcalloc (1, run->config.disk_size);
  struct thin_snapshot found;
  struct thin_extent e;

  run_must (run, thin_snapshot_find (o->meta, s->name, &found), s->name);
  for (pos = 0; pos < blocks; pos += e.length) {
    run_must (
      run,
      thin_meta_lookup (o->meta, &found.root, pos, blocks - pos, false, &e),
      "looking up a snapshot");
    read_extent (run, &e, buf);
    if (memcmp (buf, s->content + pos * THIN_BLOCK, e.length * THIN_BLOCK) != 0)
      world_fail (run->world, pos * THIN_BLOCK / MEDIUM_SECTOR,
                  "snapshot %s holds something else at block %" PRIu64
                  " or soon after it",
                  s->name, pos);
  }
  free (buf);
}

static void
verify (struct run *run, bool writing)
{
  struct opened o;
  unsigned i;

  open_image (run, &o, writing);
  check_image (run, &o);
  for (i = 0; i < run->nr_snapshots; i++)
    check_snapshot (run, &o, &run->snapshots[i]);
  close_image (&o);
}

/* The format replays the log by itself, unless it has been settled. */
void
thin_verify (struct run *run)
{
  verify (run, false);
  if (world_chance (run->world, 20))
    verify (run, true);
}

/* Has the block a place, or space reserved for one?  What is not known is well. */
static bool
has_space (struct thin *t, uint64_t b)
{
  struct range_map *maps[] = { &t->reserved, &t->again, &t->flying };
  struct thin_extent x;
  struct range_entry e;
  unsigned i;

  for (i = 0; i < 3; i++)
    if (range_map_any (maps[i], b, b + 1))
      return true;
  if (layers_find_place (&t->layers, b, b + 1, &e) && e.kind != RANGE_ZERO_KEEP)
    return e.kind >= RANGE_UNWRITTEN;
  return thin_meta_lookup (t->meta, NULL, b, 1, true, &x) < 0 ||
         (x.type != IOMAP_HOLE && !x.shared);
}

void
thin_check_reserved (struct run *run)
{
  struct thin *t = (struct thin *) run->fs;
  struct folios *folios = &run->mapping->folios;
  unsigned first, last;
  struct folio *folio;
  bool dirty;
  uint64_t b;

  if (thin_usable (t) < 0)
    return;
  for (b = 0; b < t->blocks; b++) {
    folio = index_get (folios->index, b);
    if (folio == NULL)
      continue;
    folio_clip (folio, b * THIN_BLOCK, (b + 1) * THIN_BLOCK, &first, &last);
    dirty = folio_find_sector (folios->arena, folio, first, last, IN_DIRTY,
                               true) < last;
    folio_put (folios->arena, folio);
    if (dirty && !has_space (t, b))
      world_fail (run->world, b * THIN_BLOCK / MEDIUM_SECTOR,
                  "no space is reserved for block %" PRIu64 ", which is dirty",
                  b);
  }
}

/* --- snapshots --- */

static void
make_snapshot (struct run *run, struct opened *o)
{
  struct run_snapshot *s = &run->snapshots[run->nr_snapshots];
  int r;

  snprintf (s->name, sizeof s->name, "s%05u", ++run->serial % 100000);
  r = thin_snapshot_create (o->meta, s->name, 0);
  if (run->tight && r < 0)
    return;
  run_must (run, r, "making a snapshot");
  s->content = xcalloc (1, run->config.disk_size);
  memcpy (s->content, oracle_content (run->oracle), run->config.disk_size);
  run->nr_snapshots++;
  world_note (run->world, "SNAPSHOT", 0, 0, run->nr_snapshots);
}

static void
delete_snapshot (struct run *run, struct opened *o)
{
  unsigned i = (unsigned) world_below (run->world, run->nr_snapshots);
  struct run_snapshot *s = &run->snapshots[i];

  run_must (run, thin_snapshot_delete (o->meta, s->name),
            "deleting a snapshot");
  free (s->content);
  *s = run->snapshots[--run->nr_snapshots];
  world_note (run->world, "SNAPSHOT GONE", 0, 0, run->nr_snapshots);
}

void
thin_take_snapshot (struct run *run)
{
  struct opened o;

  if (world_chance (run->world, 50))
    return;
  open_image (run, &o, true);
  if (run->nr_snapshots > 0 &&
      (run->nr_snapshots == MAX_SNAPSHOTS || world_chance (run->world, 40)))
    delete_snapshot (run, &o);
  else
    make_snapshot (run, &o);
  close_image (&o);
}

/* A store may say the same of itself. */
void
thin_watch (struct run *run)
{
  if (!(run->config.faults & FAULT_WRITES) &&
      ((struct thin *) run->fs)->work.error == -ENOSPC)
    world_fail (run->world, WORLD_ALL, "a checkpoint found no space");
}

void
thin_forget (struct run *run)
{
  while (run->nr_snapshots > 0)
    free (run->snapshots[--run->nr_snapshots].content);
}
