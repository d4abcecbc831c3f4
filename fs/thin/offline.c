/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the log of an image that nobody serves.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/log.h"
#include "fs/thin/node.h"
#include "fs/thin/offline.h"

/* --- into a map --- */

struct collecting {
  struct range_map *map;
  uint64_t entries;
};

static enum range_kind
kind_of (enum thin_log_op op)
{
  switch (op) {
  case THIN_LOG_MAP:
  case THIN_LOG_CONVERT: return RANGE_MAPPED;
  case THIN_LOG_UNWRITTEN: return RANGE_UNWRITTEN;
  case THIN_LOG_ZERO_KEEP: return RANGE_ZERO_KEEP;
  case THIN_LOG_HOLE: break;
  }
  return RANGE_HOLE;
}

static int
collect (void *opaque, enum thin_log_op op, uint64_t logical, uint64_t length,
         uint64_t physical)
{
  struct collecting *c = opaque;

  if (!range_nodes_promise (c->map->nodes, 2))
    return -ENOMEM;
  range_map_set (c->map, &(struct range_entry) { .start = logical,
                                                 .end = logical + length,
                                                 .kind = kind_of (op),
                                                 .physical = physical });
  range_nodes_redeem (c->map->nodes, 2);
  c->entries++;
  return 0;
}

int
thin_log_collect (struct thin_meta *m, struct store *store,
                  struct range_map *map, uint64_t *entries)
{
  struct collecting c = { .map = map };
  struct thin_log_position end;
  struct thin_super super;
  int r;

  thin_meta_super (m, &super);
  r = thin_log_replay (store, &super, collect, &c, &end);
  *entries = c.entries;
  return r;
}

int
thin_log_salvage (struct thin_meta *m, struct store *store,
                  struct range_map *map, uint64_t *entries, uint64_t *gaps)
{
  struct collecting c = { .map = map };
  struct thin_super super;
  int r;

  thin_meta_super (m, &super);
  r = thin_log_replay_past (store, &super, collect, &c, gaps);
  *entries = c.entries;
  return r;
}

/* --- looking up --- */

/* What the map does not say is as the trees have it; what it says is zero keeps the
 * space that it had there.
 */
int
thin_log_lookup (struct thin_meta *m, struct range_map *map,
                 const struct thin_root *root, uint64_t logical,
                 uint64_t length, struct thin_extent *e)
{
  const struct range_entry *x = range_map_find (map, logical);
  bool inside = x && x->start <= logical;
  uint64_t end = x == NULL ? UINT64_MAX : inside ? x->end : x->start;
  int r;

  if (length > end - logical)
    length = end - logical;
  if (!inside || x->kind == RANGE_ZERO_KEEP) {
    r = thin_meta_lookup (m, root, logical, length, false, e);
    if (r == 0 && inside && e->type == IOMAP_MAPPED)
      e->type = e->shared ? IOMAP_HOLE : IOMAP_UNWRITTEN;
    return r;
  }
  *e = (struct thin_extent) {
    .logical = logical,
    .length = length,
    .type = x->kind == RANGE_MAPPED      ? IOMAP_MAPPED
            : x->kind == RANGE_UNWRITTEN ? IOMAP_UNWRITTEN
                                         : IOMAP_HOLE,
    .physical = range_physical (x, logical),
  };
  return 0;
}

uint64_t
thin_lost_until (struct thin_meta *m, const struct thin_root *root,
                 uint64_t logical)
{
  struct thin_node *node = malloc (sizeof *node);
  struct thin_ref ref = { .high = 0 };
  struct thin_super super;

  thin_meta_super (m, &super);
  if (node)
    thin_leaf_read (m, THIN_EXTENTS, root ? root : &super.extents, logical,
                    node, &ref);
  free (node);
  return ref.high > logical ? ref.high : logical + 1;
}

/* --- into the trees --- */

/* Space for the metadata of that: free, and none of which the log has given out. */
struct settling {
  struct thin_meta *m;
  struct thin_txn *txn;
  struct range_map taken;
  uint64_t cursor;
  uint64_t entries;
};

/* The part of a free range, from start on, that the log has not given out. */
static bool
find_untaken (struct settling *s, struct thin_range *range)
{
  uint64_t end = range->start + range->length;
  const struct range_entry *x;

  while (range->start < end) {
    x = range_map_find (&s->taken, range->start);
    if (x == NULL || x->start >= end)
      break;
    if (x->start > range->start) {
      end = x->start;
      break;
    }
    range->start = x->end;
  }
  range->length = range->start < end ? end - range->start : 0;
  return range->length > 0;
}

static int
take_space (void *opaque, uint64_t want, struct thin_range *range)
{
  struct settling *s = opaque;
  int n;

  while (s->cursor != UINT64_MAX) {
    uint64_t next;

    n = thin_meta_find_free (s->m, s->cursor, 1, range, 1, &next);
    if (n < 0)
      return n;
    if (n == 0)
      s->cursor = next;
    else if (find_untaken (s, range)) {
      range->length = range->length < want ? range->length : want;
      s->cursor = range->start + range->length;
      return 0;
    }
    else
      s->cursor = range->start;
  }
  return -ENOSPC;
}

static int
settle (void *opaque, enum thin_log_op op, uint64_t logical, uint64_t length,
        uint64_t physical)
{
  struct settling *s = opaque;

  s->entries++;
  switch (op) {
  case THIN_LOG_HOLE: return thin_txn_hole (s->txn, logical, length);
  case THIN_LOG_ZERO_KEEP: return thin_txn_zero_keep (s->txn, logical, length);
  case THIN_LOG_CONVERT:
    return thin_txn_map (s->txn, logical, length, physical, false);
  case THIN_LOG_MAP:
  case THIN_LOG_UNWRITTEN: break;
  }
  if (!range_nodes_promise (s->taken.nodes, 2))
    return -ENOMEM;
  range_set_add (&s->taken, physical, physical + length);
  range_nodes_redeem (s->taken.nodes, 2);
  return thin_txn_map (s->txn, logical, length, physical,
                       op == THIN_LOG_UNWRITTEN);
}

static int
settle_all (struct settling *s, struct store *store)
{
  const struct thin_space space = { take_space, s }, none = { 0 };
  struct thin_log_position end;
  struct thin_super super;
  int r;

  thin_meta_super (s->m, &super);
  r = thin_log_replay (store, &super, settle, s, &end);
  if (r < 0 || s->entries == 0) {
    thin_txn_abort (s->txn);
    return r;
  }
  thin_meta_set_space (s->m, &space);
  r = thin_txn_commit (s->txn, &end, NULL, NULL);
  thin_meta_set_space (s->m, &none);
  return r;
}

int
thin_log_settle (struct thin_meta *m, struct store *store, uint64_t *entries)
{
  struct settling s = { .m = m };
  struct range_nodes nodes;
  int r = thin_txn_begin (m, &s.txn);

  if (r < 0)
    return r;
  range_nodes_init (&nodes);
  range_map_init (&s.taken, &nodes);
  r = settle_all (&s, store);
  range_map_clear (&s.taken);
  range_nodes_destroy (&nodes);
  *entries = s.entries;
  return r;
}

/* --- checking --- */

/* How many blocks from pos on, of the entry, are where the disk has them already, or in
 * free space; 0, or a negative errno.
 */
static int
count_good (struct thin_meta *m, const struct range_entry *x, uint64_t pos,
            uint64_t *n)
{
  uint64_t place = range_physical (x, pos), next;
  struct thin_range range;
  struct thin_extent e;
  int r = thin_meta_lookup (m, NULL, pos, x->end - pos, false, &e);

  *n = 0;
  if (r < 0)
    return r;
  if (e.type != IOMAP_HOLE && !e.shared && e.physical == place) {
    *n = e.length;
    return 0;
  }
  r = thin_meta_find_free (m, place, 1, &range, 1, &next);
  if (r <= 0 || range.start > place)
    return r < 0 ? r : 0;
  *n = range.start + range.length - place;
  *n = *n < e.length ? *n : e.length;
  return 0;
}

/* The entry as a whole: of several ops that came to lie side by side. */
static int
is_good (struct thin_meta *m, const struct range_entry *x)
{
  uint64_t pos, n;
  int r;

  for (pos = x->start; pos < x->end; pos += n) {
    r = count_good (m, x, pos, &n);
    if (r < 0 || n == 0)
      return r;
  }
  return 1;
}

int
thin_log_check (struct thin_meta *m, struct range_map *map,
                const struct thin_check *check)
{
  const struct range_entry *x;
  char message[160];
  int r, n = 0;

  for (x = range_map_find (map, 0); x;
       x = range_map_next ((struct range_entry *) x)) {
    if (x->kind < RANGE_UNWRITTEN)
      continue;
    r = is_good (m, x);
    if (r < 0)
      return r;
    if (r > 0)
      continue;
    n++;
    snprintf (message, sizeof message,
              "log: blocks %" PRIu64 " to %" PRIu64
              " of the disk are at %" PRIu64 ", which is not free",
              x->start, x->end - 1, x->physical);
    check->problem (check->opaque, message);
  }
  return n;
}
