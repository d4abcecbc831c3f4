/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Snapshots.  One is another reference to the root that the disk had then, and costs
 * nothing before the disk changes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/build.h"
#include "fs/thin/chunks.h"
#include "fs/thin/table.h"
#include "fs/thin/trees.h"

/* The table, in memory. */
struct snapshots {
  struct thin_meta *m;
  struct thin_snapshot_entry *list; /* with room for one more */
  size_t n;
  struct thin_places blocks; /* where it was */
  const char *name;
  uint64_t now;
};

/* --- the table */

static bool
is_name (const char *name)
{
  size_t i, n = strnlen (name, THIN_NAME_MAX + 1);

  for (i = 0; i < n; i++)
    if ((unsigned char) name[i] < ' ' || name[i] == 0x7f || name[i] == '/')
      return false;
  return n > 0 && n <= THIN_NAME_MAX;
}

static bool
is_entry (const struct thin_meta *m, const struct thin_snapshot_entry *e)
{
  return is_name (e->name) &&
         thin_get64 (e->root.address) < m->super.store_blocks &&
         thin_get64 (e->root.level) <= THIN_MAX_LEVEL &&
         thin_get64 (e->disk_bytes) <= THIN_MAX_DISK &&
         thin_get64 (e->disk_bytes) % THIN_BLOCK == 0;
}

static void
unload (struct snapshots *s)
{
  free (s->list);
  free (s->blocks.list);
}

static int
load (struct thin_meta *m, struct snapshots *s)
{
  void *entries, *more;
  size_t i;
  int r;

  *s = (struct snapshots) { .m = m };
  r = thin_table_read (m, THIN_SNAPSHOTS, &m->super.snapshots, sizeof *s->list,
                       &entries, &s->n, &s->blocks);
  s->list = entries;
  for (i = 0; r == 0 && i < s->n; i++)
    if (!is_entry (m, &s->list[i]))
      r = thin_bad_block (m, "table of snapshots", m->super.snapshots.address);
  more = r < 0 ? NULL : realloc (s->list, (s->n + 1) * sizeof *s->list);
  if (more == NULL) {
    unload (s);
    return r < 0 ? r : -ENOMEM;
  }
  s->list = more;
  return 0;
}

/* Its index, or n. */
static size_t
find (const struct snapshots *s, const char *name)
{
  size_t i;

  for (i = 0; i < s->n; i++)
    if (strcmp (s->list[i].name, name) == 0)
      break;
  return i;
}

static void
decode (const struct thin_snapshot_entry *e, struct thin_snapshot *s)
{
  *s = (struct thin_snapshot) {
    .root = { thin_get64 (e->root.address), thin_get64 (e->root.generation),
              thin_get64 (e->root.level) },
    .disk_bytes = thin_get64 (e->disk_bytes),
    .created = thin_get64 (e->created),
    .mapped = thin_get64 (e->mapped),
    .unwritten = thin_get64 (e->unwritten),
    .entries = thin_get64 (e->entries),
  };
  memcpy (s->name, e->name, sizeof s->name);
}

/* Write it anew, with these entries. */
static int
write_table (struct thin_txn *t, const struct snapshots *s,
             const struct thin_snapshot_entry *list, size_t n)
{
  struct thin_places places = { 0 };
  unsigned level;
  size_t i;
  int r = 0;

  for (i = 0; i < s->blocks.n && r == 0; i++)
    r = thin_chunks_release (t->m, s->blocks.list[i]);
  if (r == 0)
    r = thin_build_places (t, &places,
                           thin_table_blocks (n, sizeof *list, &level));
  if (r == 0)
    r = thin_build_table (t, THIN_SNAPSHOTS, list, n, sizeof *list, &places,
                          &t->super.snapshots);
  t->super.snapshot_count = n;
  free (places.list);
  return r;
}

/* --- references */

static int
refer_to (struct thin_txn *t, const struct thin_root *root)
{
  t->super.snapshot_generation = t->super.generation;
  return root->address ? thin_refs_add (t, root->address, 1, 1) : 0;
}

/* A tree loses its root; or, without a transaction, what would be free then is counted.
 */
struct dropping {
  struct thin_meta *m;
  struct thin_txn *t; /* or NULL */
  uint64_t blocks;
  struct thin_node *nodes; /* one for each level */
};

static int
count_refs (struct dropping *d, uint64_t block, uint64_t end, uint64_t *count,
            uint64_t *until)
{
  if (d->t)
    return thin_refs_count (d->t, block, end, count, until);
  return thin_count (d->m, &d->m->super.refs, block, end, false, count, until);
}

static int
drop_item (struct dropping *d, const struct thin_item *x)
{
  uint64_t at = x->value & THIN_PHYSICAL, end = at + x->length, count, until;
  int r = 0;

  if (d->t)
    return thin_refs_add (d->t, at, x->length, -1);
  for (; r == 0 && at < end; at = until) {
    r = count_refs (d, at, end, &count, &until);
    if (r == 0 && count < 2)
      d->blocks += until - at;
  }
  return r;
}

static int
drop_node (struct dropping *d, const struct thin_ref *ref)
{
  struct thin_node *node = &d->nodes[ref->level];
  uint64_t count, until;
  unsigned i;
  int r = count_refs (d, ref->address, ref->address + 1, &count, &until);

  if (r == 0 && count >= 2)
    return d->t ? thin_refs_add (d->t, ref->address, 1, -1) : 0;
  if (r == 0)
    r = thin_node_read (d->m, ref, node);
  if (r == 0 && d->t)
    r = thin_chunks_release (d->m, ref->address);
  d->blocks++;
  for (i = 0; r == 0 && i < thin_get16 (node->h.count); i++) {
    struct thin_ref child = thin_child_ref (node, ref, i);
    struct thin_item x = thin_item_get (&node->entries[i]);

    if (ref->level > 0 && i % THIN_PREFETCH == 0)
      thin_node_prefetch_children (d->m, node, ref, i);
    r = ref->level > 0 ? drop_node (d, &child) : drop_item (d, &x);
  }
  return r == -EIO ? thin_bad_block (d->m, "node", ref->address) : r;
}

static int
drop_root (struct thin_meta *m, struct thin_txn *t,
           const struct thin_root *root, uint64_t *blocks)
{
  struct dropping d = { .m = m, .t = t };
  struct thin_ref ref = thin_root_ref (THIN_EXTENTS, root);
  int r = 0;

  if (root->address) {
    d.nodes = malloc ((root->level + 1) * sizeof *d.nodes);
    r = d.nodes ? drop_node (&d, &ref) : -ENOMEM;
    free (d.nodes);
  }
  *blocks = d.blocks;
  return r;
}

/* --- what is done with them, in a transaction */

static int
apply_create (struct thin_txn *t, void *opaque)
{
  struct snapshots *s = opaque;
  struct thin_snapshot_entry *e = &s->list[s->n];
  const struct thin_root *root = &t->super.extents;
  int r;

  if (find (s, s->name) < s->n)
    return -EEXIST;
  memset (e, 0, sizeof *e);
  memcpy (e->name, s->name, strlen (s->name));
  e->root.address = thin_put64 (root->address);
  e->root.generation = thin_put64 (root->generation);
  e->root.level = thin_put64 (root->level);
  e->disk_bytes = thin_put64 (t->super.disk_bytes);
  e->created = thin_put64 (s->now);
  e->mapped = thin_put64 (t->super.mapped);
  e->unwritten = thin_put64 (t->super.unwritten);
  e->entries = thin_put64 (t->super.extents_entries);
  r = refer_to (t, root);
  return r < 0 ? r : write_table (t, s, s->list, s->n + 1);
}

static int
apply_delete (struct thin_txn *t, void *opaque)
{
  struct snapshots *s = opaque;
  size_t i = find (s, s->name), rest;
  struct thin_snapshot_entry *list;
  struct thin_snapshot snapshot;
  uint64_t blocks;
  int r;

  if (i == s->n)
    return -ENOENT;
  rest = s->n - i - 1;
  decode (&s->list[i], &snapshot);
  r = drop_root (t->m, t, &snapshot.root, &blocks);
  if (r < 0)
    return r;
  list = malloc (s->n * sizeof *list);
  if (list == NULL)
    return -ENOMEM;
  memcpy (list, s->list, i * sizeof *list);
  memcpy (list + i, s->list + i + 1, rest * sizeof *list);
  r = write_table (t, s, list, s->n - 1);
  free (list);
  return r;
}

static int
apply_revert (struct thin_txn *t, void *opaque)
{
  struct snapshots *s = opaque;
  size_t i = find (s, s->name);
  struct thin_snapshot snapshot;
  uint64_t blocks;
  int r;

  if (i == s->n)
    return -ENOENT;
  decode (&s->list[i], &snapshot);
  r = drop_root (t->m, t, &t->super.extents, &blocks);
  t->super.extents = snapshot.root;
  t->super.disk_bytes = snapshot.disk_bytes;
  t->super.mapped = snapshot.mapped;
  t->super.unwritten = snapshot.unwritten;
  t->super.extents_entries = snapshot.entries;
  return r < 0 ? r : refer_to (t, &snapshot.root);
}

static int
run (struct thin_meta *m, const char *name, uint64_t now,
     int (*apply) (struct thin_txn *t, void *opaque))
{
  struct snapshots s;
  struct thin_txn *t;
  int r = is_name (name) ? thin_txn_begin (m, &t) : -EINVAL;

  if (r < 0)
    return r;
  r = load (m, &s);
  if (r < 0) {
    thin_txn_abort (t);
    return r;
  }
  s.name = name;
  s.now = now;
  t->apply = apply;
  t->opaque = &s;
  r = thin_txn_commit (t, NULL, NULL, NULL);
  unload (&s);
  return r;
}

int
thin_snapshot_create (struct thin_meta *m, const char *name, uint64_t now)
{
  return run (m, name, now, apply_create);
}

int
thin_snapshot_delete (struct thin_meta *m, const char *name)
{
  return run (m, name, 0, apply_delete);
}

int
thin_snapshot_revert (struct thin_meta *m, const char *name)
{
  return run (m, name, 0, apply_revert);
}

/* --- asking */

int
thin_snapshot_find (struct thin_meta *m, const char *name,
                    struct thin_snapshot *snapshot)
{
  struct snapshots s;
  size_t i;
  int r = load (m, &s);

  if (r < 0)
    return r;
  i = find (&s, name);
  if (i < s.n)
    decode (&s.list[i], snapshot);
  r = i < s.n ? 0 : -ENOENT;
  unload (&s);
  return r;
}

int
thin_snapshot_list (struct thin_meta *m, struct thin_snapshot **list, size_t *n)
{
  struct snapshots s;
  int r = load (m, &s);

  if (r < 0)
    return r;
  *list = malloc ((s.n + 1) * sizeof **list);
  for (*n = 0; *list && *n < s.n; ++*n)
    decode (&s.list[*n], &(*list)[*n]);
  unload (&s);
  return *list ? 0 : -ENOMEM;
}

int
thin_snapshot_usage (struct thin_meta *m, const struct thin_snapshot *s,
                     uint64_t *blocks)
{
  return drop_root (m, NULL, &s->root, blocks);
}
