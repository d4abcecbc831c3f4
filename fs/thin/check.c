/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Checking an image: every tree is walked, each node once, however many refer to it.
 * What was counted then is held against what the image says of itself.
 *
 *   blocks of metadata   are in a chunk whose bitmap says that they are in use, and
 *                        have as many references as the refs say (or one)
 *   blocks of data       have as many as the refs say, and are in no chunk, no fixed
 *                        place and not free
 *   all others           are free, and the free tree has them
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/check-impl.h"
#include "fs/thin/io.h"
#include "fs/thin/node.h"
#include "fs/thin/super.h"
#include "fs/thin/table.h"

/* --- metadata's blocks */

/* Another reference to a block of metadata.  Returns how many there were, or -1 if it can
 * be none.
 */
static int64_t
refer (struct checking *c, uint64_t block, const char *what)
{
  const struct thin_chunks *chunks = &c->m->chunks;
  size_t i = thin_chunks_reaching (chunks, block);
  const struct thin_chunk *chunk = &chunks->list[i];

  if (i == chunks->n || chunk->start > block) {
    thin_check_problem (c, "block %" PRIu64 ", %s, is in no chunk", block,
                        what);
    c->damaged = true;
    return -1;
  }
  if (!thin_chunk_bit (chunk->committed, block - chunk->start))
    thin_check_problem (c, "block %" PRIu64 ", %s, is not marked as in use",
                        block, what);
  return c->counts[i * THIN_CHUNK_BLOCKS + (block - chunk->start)]++;
}

static int
progress (struct checking *c)
{
  struct thin_check *check = c->check;

  check->nodes++;
  if (check->progress && check->nodes % 64 == 0 &&
      check->progress (check->opaque, check->nodes, c->m->chunks.in_use) != 0)
    return -ECANCELED;
  return 0;
}

/* --- trees */

static int
take_extent (struct checking *c, const struct thin_item *x)
{
  uint64_t at = x->value & THIN_PHYSICAL;
  struct thin_holdings *h = c->holdings;

  c->check->extents++;
  if (c->head) {
    c->extents_entries++;
    *(x->value & THIN_UNWRITTEN ? &c->unwritten : &c->mapped) += x->length;
  }
  if (h && h->n == h->room) {
    size_t room = h->room ? 2 * h->room : 256;
    struct thin_holding *list = realloc (h->list, room * sizeof *list);

    if (list == NULL)
      return -ENOMEM;
    h->list = list;
    h->room = room;
  }
  if (h)
    h->list[h->n++] = (struct thin_holding) { at, x->start, x->length };
  return thin_check_event (&c->data, at, x->length, 1);
}

static int
take_item (struct checking *c, enum thin_tree tree, const struct thin_item *x)
{
  switch (tree) {
  case THIN_EXTENTS: return take_extent (c, x);
  case THIN_FREE:
    c->free_entries++;
    c->free_blocks += x->length;
    return thin_check_event (&c->free, x->start, x->length, 1);
  case THIN_REFS:
    c->refs_entries++;
    return thin_check_event (&c->refs, x->start, x->length,
                             (int64_t) x->value - 1);
  }
  return 0;
}

static int check_node (struct checking *c, const struct thin_ref *ref);

static int
check_entries (struct checking *c, const struct thin_ref *ref,
               const struct thin_node *node)
{
  unsigned i;
  int r = 0;

  for (i = 0; r == 0 && i < thin_get16 (node->h.count); i++) {
    struct thin_ref child;
    struct thin_item x = thin_item_get (&node->entries[i]);

    if (ref->level == 0) {
      r = take_item (c, ref->tree, &x);
      continue;
    }
    if (i % THIN_PREFETCH == 0)
      thin_node_prefetch_children (c->m, node, ref, i);
    child = thin_child_ref (node, ref, i);
    r = check_node (c, &child);
  }
  return r;
}

/* A reference to a node; the first time, all that is below. */
static int
check_node (struct checking *c, const struct thin_ref *ref)
{
  struct thin_node *node = &c->nodes[ref->level];
  int64_t had = refer (c, ref->address, "a node");
  int r;

  if (had != 0)
    return 0;
  r = progress (c);
  if (r < 0)
    return r;
  r = thin_node_read (c->m, ref, node);
  if (r == -EIO) {
    thin_check_problem (c,
                        "block %" PRIu64
                        " is not the node that it has to be, or cannot be read",
                        ref->address);
    c->damaged = true;
    return 0;
  }
  return r < 0 ? r : check_entries (c, ref, node);
}

static int
check_tree (struct checking *c, enum thin_tree tree,
            const struct thin_root *root)
{
  struct thin_ref ref = thin_root_ref (tree, root);

  return root->address ? check_node (c, &ref) : 0;
}

/* --- tables */

static void
check_places (struct checking *c, const struct thin_places *places)
{
  size_t i;

  for (i = 0; i < places->n; i++)
    if (refer (c, places->list[i], "a table's") > 0) {
      thin_check_problem (c, "block %" PRIu64 " of a table is used twice",
                          places->list[i]);
      c->damaged = true;
    }
}

static int
check_snapshots (struct checking *c)
{
  struct thin_places places = { 0 };
  struct thin_snapshot *list;
  size_t i, n;
  void *entries;
  int r = thin_table_read (c->m, THIN_SNAPSHOTS, &c->m->super.snapshots,
                           sizeof (struct thin_snapshot_entry), &entries, &n,
                           &places);

  free (entries);
  if (r == 0)
    check_places (c, &places);
  free (places.list);
  if (r == 0)
    r = thin_snapshot_list (c->m, &list, &n);
  if (r == -EIO) {
    thin_check_problem (c, "the table of snapshots is damaged");
    c->damaged = true;
    return 0;
  }
  if (r < 0)
    return r;
  c->snapshots = n;
  if (n != c->m->super.snapshot_count)
    thin_check_problem (c, "%zu snapshots instead of %" PRIu64, n,
                        c->m->super.snapshot_count);
  for (i = 0; i < n && r == 0; i++)
    r = check_tree (c, THIN_EXTENTS, &list[i].root);
  free (list);
  return r;
}

/* --- all of it */

/* A power cut may leave one of them behind as it was, or torn: then the other counts. */
static void
check_super (struct checking *c, uint64_t address, const char *which)
{
  struct thin_check *check = c->check;
  void *block = thin_io_alloc (1);
  char text[100] = "";
  struct thin_super super;
  int r = block ? thin_io_read (c->m->store, address, block, 1) : -ENOMEM;

  if (r == 0)
    r = thin_super_decode (block, address, &super);
  free (block);
  if (r == 0 && super.generation == c->m->super.generation)
    return;
  snprintf (text, sizeof text,
            "the %s superblock is %s; the next change mends it", which,
            r < 0 ? "damaged" : "of another commit");
  check->notes++;
  if (check->note)
    check->note (check->opaque, text);
}

int
thin_check_disks (struct checking *c)
{
  int r;

  check_places (c, &c->m->chunks.table);
  c->head = true;
  r = check_tree (c, THIN_EXTENTS, &c->m->super.extents);
  c->head = false;
  return r < 0 ? r : check_snapshots (c);
}

static int
walk_all (struct checking *c)
{
  const struct thin_super *super = &c->m->super;
  int r;

  check_super (c, THIN_SUPER_A, "first");
  check_super (c, THIN_SUPER_B, "second");
  r = thin_check_disks (c);
  if (r == 0)
    r = check_tree (c, THIN_REFS, &super->refs);
  if (r == 0)
    r = check_tree (c, THIN_FREE, &super->free);
  return r;
}

int
thin_check_begin (struct checking *c)
{
  struct thin_check *check = c->check;
  int r = thin_chunks_load (c->m);

  check->problems = check->notes = check->nodes = check->extents = 0;
  if (r == -EIO) { /* nothing can be said without */
    thin_check_problem (c, "the table of chunks is damaged");
    c->damaged = true;
  }
  if (r < 0)
    return r;
  c->counts =
    calloc (c->m->chunks.n + 1, THIN_CHUNK_BLOCKS * sizeof *c->counts);
  c->nodes = calloc (THIN_MAX_LEVEL + 1, sizeof *c->nodes);
  return c->counts && c->nodes ? 0 : -ENOMEM;
}

void
thin_check_end (struct checking *c)
{
  free (c->counts);
  free (c->nodes);
  free (c->data.list);
  free (c->free.list);
  free (c->refs.list);
}

int
thin_check (struct thin_meta *m, struct thin_check *check)
{
  struct checking c = { .m = m, .check = check };
  int r = thin_check_begin (&c);

  if (r == 0)
    r = walk_all (&c);
  if (r == 0)
    r = thin_check_compare (&c);
  thin_check_end (&c);
  return c.counts == NULL && c.damaged ? 0 : r;
}
