/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nodes, read and verified.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/node.h"
#include "fs/thin/super.h"

struct thin_ref
thin_root_ref (enum thin_tree tree, const struct thin_root *root)
{
  return (struct thin_ref) {
    .tree = tree,
    .level = root->level,
    .address = root->address,
    .generation = root->generation,
    .high = UINT64_MAX,
  };
}

struct thin_ref
thin_child_ref (const struct thin_node *node, const struct thin_ref *ref,
                unsigned i)
{
  const struct thin_entry *e = &node->entries[i];

  return (struct thin_ref) {
    .tree = ref->tree,
    .level = ref->level - 1,
    .address = thin_get64 (e->address),
    .generation = thin_get64 (e->generation),
    .low = thin_get64 (e->key),
    .high =
      i + 1u < thin_get16 (node->h.count) ? thin_get64 (e[1].key) : ref->high,
    .exact = true,
  };
}

/* --- verifying */

static bool
valid_item (enum thin_tree tree, const struct thin_item *x, uint64_t limit)
{
  uint64_t physical = x->value & THIN_PHYSICAL;

  if (x->length == 0 || x->length > THIN_MAX_BLOCKS)
    return false;
  switch (tree) {
  case THIN_EXTENTS:
    return x->start <= THIN_MAX_BLOCKS && physical < limit &&
           x->length <= limit - physical;
  case THIN_FREE:
    return x->value == 0 && x->start < limit && x->length <= limit - x->start;
  case THIN_REFS:
    return x->value >= 2 && x->value <= THIN_MAX_REFS && x->start < limit &&
           x->length <= limit - x->start;
  }
  return false;
}

static bool
valid_leaf (const struct thin_node *node, const struct thin_ref *ref,
            uint64_t limit)
{
  unsigned i, n = thin_get16 (node->h.count);
  uint64_t at = ref->low;

  for (i = 0; i < n; i++) {
    struct thin_item x = thin_item_get (&node->entries[i]);

    if (x.start < at || !valid_item (ref->tree, &x, limit))
      return false;
    at = x.start + x.length;
  }
  return at <= ref->high;
}

static bool
valid_inner (const struct thin_node *node, const struct thin_ref *ref,
             uint64_t limit)
{
  unsigned i, n = thin_get16 (node->h.count);
  uint64_t at = ref->low;

  for (i = 0; i < n; i++) {
    struct thin_item x = thin_item_get (&node->entries[i]);

    if (x.start < at || x.start == UINT64_MAX || x.length == 0 ||
        x.length >= limit || x.value > ref->generation)
      return false;
    at = x.start + 1;
  }
  return at <= ref->high;
}

bool
thin_node_valid (const struct thin_node *node, const struct thin_ref *ref,
                 const uint8_t *uuid, uint64_t store_blocks)
{
  unsigned n = thin_get16 (node->h.count);

  if (!thin_sealed (&node->h, THIN_MAGIC_NODE, uuid, ref->address, THIN_BLOCK))
    return false;
  if (node->h.kind != ref->tree || node->h.level != ref->level ||
      thin_get64 (node->h.generation) != ref->generation || n == 0 ||
      n > THIN_MAX_ENTRIES)
    return false;
  if (ref->exact && thin_get64 (node->entries[0].key) != ref->low)
    return false;
  return ref->level > 0 ? valid_inner (node, ref, store_blocks)
                        : valid_leaf (node, ref, store_blocks);
}

int
thin_bad_block (struct thin_meta *m, const char *what, uint64_t address)
{
  if (atomic_exchange (&m->last_bad, address) != address)
    env_log (m->store->env, LOG_ERROR,
             "thin: block %" PRIu64 " of the store is not the %s that it has "
             "to be, or cannot be read",
             address, what);
  return -EIO;
}

/* --- reading */

/* It is read; keep it if it is what it has to be. */
static int
take_in (struct thin_meta *m, const struct thin_ref *ref,
         const struct thin_node *node)
{
  if (!thin_node_valid (node, ref, m->uuid, m->limit))
    return -EIO;
  thin_cache_put (m->cache, node, ref->level);
  return 0;
}

/* What is in memory was valid, but for another parent maybe. */
static bool
fits (const struct thin_node *node, const struct thin_ref *ref)
{
  return node->h.kind == ref->tree && node->h.level == ref->level;
}

int
thin_node_read (struct thin_meta *m, const struct thin_ref *ref,
                struct thin_node *node)
{
  struct thin_node *buf;
  int r;

  if (thin_cache_copy (m->cache, ref->address, ref->generation, node))
    return fits (node, ref) ? 0 : -EIO;
  buf = thin_io_alloc (1);
  if (buf == NULL)
    return -ENOMEM;
  r = thin_io_read (m->store, ref->address, buf, 1);
  if (r == 0)
    r = take_in (m, ref, buf);
  if (r == 0)
    memcpy (node, buf, sizeof *node);
  free (buf);
  return r;
}

static int
by_address (const void *a, const void *b)
{
  uint64_t x = ((const struct thin_ref *) a)->address;
  uint64_t y = ((const struct thin_ref *) b)->address;

  return x < y ? -1 : x > y;
}

/* Neighbours on the store are read as one.  Returns how many reads that are. */
static unsigned
plan_reads (const struct thin_ref *refs, unsigned n, struct thin_node *bufs,
            struct thin_io *ios)
{
  unsigned i, k = 0;

  for (i = 0; i < n; i++) {
    if (k > 0 && ios[k - 1].block + ios[k - 1].blocks == refs[i].address)
      ios[k - 1].blocks++;
    else
      ios[k++] = (struct thin_io) { refs[i].address, &bufs[i], 1, 0 };
  }
  return k;
}

void
thin_node_prefetch (struct thin_meta *m, const struct thin_ref *refs,
                    unsigned n)
{
  struct thin_node *bufs = NULL;
  struct thin_io ios[THIN_PREFETCH];
  struct thin_ref wanted[THIN_PREFETCH];
  unsigned i, j, at = 0, k = 0;

  for (i = 0; i < n && i < THIN_PREFETCH; i++)
    if (!thin_cache_has (m->cache, refs[i].address, refs[i].generation))
      wanted[k++] = refs[i];
  if (k > 1)
    bufs = thin_io_alloc (k);
  if (bufs == NULL)
    return;
  qsort (wanted, k, sizeof *wanted, by_address);
  k = plan_reads (wanted, k, bufs, ios);
  (void) thin_io_read_all (m->store, ios, k);
  for (i = 0; i < k; i++)
    for (j = 0; j < ios[i].blocks; j++, at++)
      if (ios[i].error == 0)
        (void) take_in (m, &wanted[at], &bufs[at]);
  free (bufs);
}

void
thin_node_prefetch_children (struct thin_meta *m, const struct thin_node *node,
                             const struct thin_ref *ref, unsigned i)
{
  struct thin_ref refs[THIN_PREFETCH];
  unsigned k;

  for (k = 0; k < THIN_PREFETCH && i < thin_get16 (node->h.count); i++)
    refs[k++] = thin_child_ref (node, ref, i);
  thin_node_prefetch (m, refs, k);
}

int
thin_leaf_read (struct thin_meta *m, enum thin_tree tree,
                const struct thin_root *root, uint64_t key,
                struct thin_node *node, struct thin_ref *ref)
{
  int r;

  for (*ref = thin_root_ref (tree, root);;) {
    unsigned i, n;

    r = thin_node_read (m, ref, node);
    if (r < 0 || ref->level == 0)
      return r;
    n = thin_get16 (node->h.count);
    for (i = 1; i < n && thin_get64 (node->entries[i].key) <= key; i++)
      ;
    *ref = thin_child_ref (node, ref, i - 1);
  }
}

/* --- finding */

/* Blocks on either side of a leaf that are read with it. */
#define BESIDE (THIN_PREFETCH / 2)

struct search {
  struct thin_ref ref, up; /* up: what it was found in, if any */
  uint64_t key;
  struct thin_path *path;
  int error;
};

/* One node of the way: the next one's ref, or the item. */
static void
search_node (const struct thin_node *node, void *opaque)
{
  struct search *s = opaque;
  unsigned low = 0, high = thin_get16 (node->h.count);

  s->error = 0;
  if (!fits (node, &s->ref)) {
    s->error = -EIO;
    return;
  }
  while (low < high) { /* the first with a greater key */
    unsigned middle = (low + high) / 2;

    if (thin_get64 (node->entries[middle].key) <= s->key)
      low = middle + 1;
    else
      high = middle;
  }
  s->path->found = low > 0;
  s->path->next = low < thin_get16 (node->h.count)
                    ? thin_get64 (node->entries[low].key)
                    : s->ref.high;
  if (low == 0)
    return;
  if (s->ref.level > 0) {
    s->up = s->ref;
    s->ref = thin_child_ref (node, &s->up, low - 1);
  }
  else
    s->path->item = thin_item_get (&node->entries[low - 1]);
}

/* Of the node's children, sorted, those without a gap around address.  Returns how many. */
static unsigned
find_beside (const struct thin_node *node, const struct thin_ref *up,
             uint64_t address, struct thin_ref *refs)
{
  unsigned i, k = 0, first = 0, end;

  for (i = 0; i < thin_get16 (node->h.count); i++) {
    struct thin_ref child = thin_child_ref (node, up, i);

    if (child.address + BESIDE > address && child.address < address + BESIDE)
      refs[k++] = child;
    if (k == 2 * BESIDE) /* a bad image */
      break;
  }
  qsort (refs, k, sizeof *refs, by_address);
  for (end = 1; end < k; end++)
    if (refs[end].address != refs[end - 1].address + 1) {
      if (refs[end].address > address)
        break;
      first = end;
    }
  memmove (refs, refs + first, (end - first) * sizeof *refs);
  return k > 0 ? end - first : 0;
}

/* Where each read is a seek, what lies beside a leaf comes with it: most of them were
 * written in order.
 */
static void
read_beside (struct thin_meta *m, const struct search *s,
             struct thin_node *node)
{
  struct thin_ref refs[2 * BESIDE];

  if (thin_cache_copy (m->cache, s->up.address, s->up.generation, node))
    thin_node_prefetch (m, refs,
                        find_beside (node, &s->up, s->ref.address, refs));
}

static int
search_read (struct thin_meta *m, struct search *s)
{
  struct thin_node *node = malloc (sizeof *node);
  int r;

  if (node && m->store->geo.rotational && s->ref.level == 0 && s->up.address)
    read_beside (m, s, node);
  r = node ? thin_node_read (m, &s->ref, node) : -ENOMEM;
  if (r == 0) {
    search_node (node, s);
    r = s->error;
  }
  free (node);
  return r;
}

int
thin_find (struct thin_meta *m, enum thin_tree tree,
           const struct thin_root *root, uint64_t key, bool nowait,
           struct thin_path *path)
{
  struct search s = { .ref = thin_root_ref (tree, root),
                      .key = key,
                      .path = path };
  unsigned level = root->level;
  int r;

  path->found = false;
  path->next = UINT64_MAX;
  path->levels = 0;
  if (root->address == 0)
    return 0;
  for (;;) {
    path->nodes[path->levels].address = s.ref.address;
    path->nodes[path->levels++].generation = s.ref.generation;
    if (thin_cache_look (m->cache, s.ref.address, s.ref.generation, search_node,
                         &s))
      r = s.error;
    else
      r = nowait ? -EAGAIN : search_read (m, &s);
    if (r < 0 || level-- == 0 || !path->found)
      return r;
  }
}

int
thin_count (struct thin_meta *m, const struct thin_root *refs, uint64_t block,
            uint64_t end, bool nowait, uint64_t *count, uint64_t *until)
{
  struct thin_path path;
  int r = thin_find (m, THIN_REFS, refs, block, nowait, &path);

  if (r < 0)
    return r;
  *count = 1;
  *until = thin_min (end, path.next);
  if (path.found && path.item.start + path.item.length > block) {
    *count = path.item.value;
    *until = thin_min (end, path.item.start + path.item.length);
  }
  return 0;
}
