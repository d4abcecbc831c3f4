/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Looking up what stands at a place of the disk.
 */

#include <errno.h>

#include "fs/thin/node.h"

/* One lookup in the trees of one superblock. */
struct lookup {
  struct thin_meta *m;
  const struct thin_super *super;
  bool nowait;
  uint64_t block; /* where it failed */
};

static int
count_of (struct lookup *l, uint64_t block, uint64_t end, uint64_t *count,
          uint64_t *until)
{
  int r =
    thin_count (l->m, &l->super->refs, block, end, l->nowait, count, until);

  if (r == -EIO)
    l->block = block; /* of which it is not known; good enough for a message */
  return r;
}

/* Is it a snapshot's as well, by way of one of the nodes over it, or itself? */
static int
find_shared (struct lookup *l, const struct thin_path *path,
             struct thin_extent *e)
{
  uint64_t old = l->super->snapshot_generation, count, until;
  unsigned i;
  int r;

  if (l->super->refs.address == 0)
    return 0;
  for (i = 0; i < path->levels; i++) {
    if (path->nodes[i].generation > old)
      continue;
    r = count_of (l, path->nodes[i].address, path->nodes[i].address + 1, &count,
                  &until);
    if (r < 0 || count >= 2) {
      e->shared = true;
      return r;
    }
  }
  if (path->nodes[path->levels - 1].generation > old &&
      !(path->item.value & THIN_SHARED))
    return 0;
  r = count_of (l, e->physical, e->physical + e->length, &count, &until);
  if (r < 0)
    return r;
  e->shared = count >= 2;
  e->length = until - e->physical;
  return 0;
}

static int
look (struct lookup *l, const struct thin_root *root, uint64_t logical,
      uint64_t length, struct thin_extent *e)
{
  const struct thin_item *x;
  struct thin_path path;
  int r = thin_find (l->m, THIN_EXTENTS, root ? root : &l->super->extents,
                     logical, l->nowait, &path);

  if (r < 0) {
    l->block = path.levels ? path.nodes[path.levels - 1].address : 0;
    return r;
  }
  *e =
    (struct thin_extent) { .logical = logical,
                           .length = thin_min (length, path.next - logical) };
  x = &path.item;
  if (!path.found || x->start + x->length <= logical)
    return e->length > 0 && path.next > logical ? 0 : -EIO;
  e->type = x->value & THIN_UNWRITTEN ? IOMAP_UNWRITTEN : IOMAP_MAPPED;
  e->physical = (x->value & THIN_PHYSICAL) + (logical - x->start);
  e->length = thin_min (length, x->start + x->length - logical);
  return root ? 0 : find_shared (l, &path, e);
}

int
thin_meta_lookup (struct thin_meta *m, const struct thin_root *root,
                  uint64_t logical, uint64_t length, bool nowait,
                  struct thin_extent *e)
{
  struct thin_super super;
  struct lookup l = { .m = m, .super = &super, .nowait = nowait };
  uint64_t generation;
  int r;

  if (length == 0)
    return -EINVAL;
  thin_meta_roots (m, &super);
  do {
    generation = super.generation;
    r = look (&l, root, logical, length, e);
    if (r != -EIO)
      return r;
    /* What it is about may have been used again meanwhile. */
    thin_meta_roots (m, &super);
  } while (super.generation != generation);
  return thin_bad_block (m, "node of the extents", l.block);
}
