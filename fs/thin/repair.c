/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Repairing an image: what the disk and its snapshots are made of says all that is in
 * use, and how often.  The rest is made anew from that, in one commit: the tree of free
 * space, the references, the bitmaps of the chunks, the counters.
 *
 * It is refused where the disks' own trees or the tables are damaged, or say of a block
 * that it is two things: nobody can tell which of them is true.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fs/thin/check-impl.h"
#include "fs/thin/repair.h"
#include "fs/thin/trees.h"

struct repairing {
  struct checking c;
  struct thin_holdings holdings;
  struct thin_events nodes; /* a block of metadata in use; so many references */
  struct thin_ranges used;  /* by data, chunks, and at fixed places; in order */
  struct thin_ranges room;  /* for new chunks: not the log's either */
  size_t at;                /* of room: not handed out yet */
};

/* --- what is in use --- */

static int
by_physical (const void *a, const void *b)
{
  const struct thin_holding *x = a, *y = b;

  return x->physical < y->physical ? -1 : x->physical > y->physical;
}

static int
by_start (const void *a, const void *b)
{
  const struct thin_range *x = a, *y = b;

  return x->start < y->start ? -1 : x->start > y->start;
}

static void
ambiguous (struct repairing *p, uint64_t block)
{
  thin_check_problem (&p->c, "block %" PRIu64 " is used for two things", block);
}

/* Data that two trees share is at the same place of the disk in both.  All of it,
 * without what is shared, becomes used.
 */
static int
note_data (struct repairing *p)
{
  struct thin_holdings *h = &p->holdings;
  const struct thin_holding *x, *last = NULL;
  uint64_t end = 0, start;
  size_t i;
  int r = 0;

  if (h->n > 0)
    qsort (h->list, h->n, sizeof *h->list, by_physical);
  for (i = 0; i < h->n && r == 0; i++) {
    x = &h->list[i];
    if (x->physical < end &&
        x->logical - x->physical != last->logical - last->physical) {
      ambiguous (p, x->physical);
      return -EUCLEAN;
    }
    start = thin_max (x->physical, end);
    if (x->physical + x->length <= end)
      continue;
    end = x->physical + x->length;
    last = x;
    r = thin_ranges_add (&p->used, start, end - start);
  }
  return r;
}

/* Blocks of chunks that are in use, and how often, by address: chunks may be added. */
static int
note_nodes (struct repairing *p)
{
  const struct thin_chunks *chunks = &p->c.m->chunks;
  size_t i;
  uint32_t j, count;
  int r = 0;

  for (i = 0; i < chunks->n && r == 0; i++) {
    r =
      thin_ranges_add (&p->used, chunks->list[i].start, chunks->list[i].length);
    for (j = 0; j < chunks->list[i].length && r == 0; j++) {
      count = p->c.counts[i * THIN_CHUNK_BLOCKS + j];
      if (count > 0)
        r = thin_events_add (&p->nodes, chunks->list[i].start + j, count);
    }
  }
  return r;
}

static int
note_fixed (struct repairing *p)
{
  const struct thin_super *super = &p->c.m->super;
  int r = thin_ranges_add (&p->used, 0, THIN_FIRST);

  if (r == 0)
    r = thin_ranges_add (&p->used, THIN_SUPER_B,
                         super->log_start + super->log_blocks - THIN_SUPER_B);
  return r;
}

/* In order, and none twice. */
static int
sort_used (struct repairing *p)
{
  struct thin_ranges *used = &p->used;
  size_t i;

  qsort (used->list, used->n, sizeof *used->list, by_start);
  for (i = 1; i < used->n; i++)
    if (used->list[i].start <
        used->list[i - 1].start + used->list[i - 1].length) {
      ambiguous (p, used->list[i].start);
      return -EUCLEAN;
    }
  return 0;
}

/* What lies between the ranges, of all blocks. */
static int
add_rest (const struct repairing *p, struct thin_ranges *rest)
{
  const struct thin_ranges *used = &p->used;
  uint64_t from = 0, limit = p->c.m->super.store_blocks;
  size_t i;
  int r = 0;

  for (i = 0; i < used->n && r == 0; i++) {
    if (used->list[i].start > from)
      r = thin_ranges_add (rest, from, used->list[i].start - from);
    from = used->list[i].start + used->list[i].length;
  }
  if (r == 0 && from < limit)
    r = thin_ranges_add (rest, from, limit - from);
  return r;
}

/* The part of [start, end) that the log has not given out. */
static int
add_room (struct repairing *p, struct range_map *log, uint64_t start,
          uint64_t end)
{
  struct range_entry *e;
  int r = 0;

  for (e = range_map_find (log, start); e && e->start < end && r == 0;
       e = range_map_next (e)) {
    if (e->start > start)
      r = thin_ranges_add (&p->room, start, e->start - start);
    start = thin_min (e->end, end);
  }
  if (r == 0 && start < end)
    r = thin_ranges_add (&p->room, start, end - start);
  return r;
}

/* The places of what the log says, as a set. */
static int
find_given_out (struct range_map *log, struct range_map *places)
{
  struct range_entry *e;
  uint64_t at;

  for (e = range_map_find (log, 0); e; e = range_map_next (e)) {
    if (e->kind < RANGE_UNWRITTEN)
      continue;
    if (!range_nodes_promise (places->nodes, 2))
      return -ENOMEM;
    at = range_physical (e, e->start);
    range_set_add (places, at, at + (e->end - e->start));
    range_nodes_redeem (places->nodes, 2);
  }
  return 0;
}

static int
find_room (struct repairing *p, struct range_map *log)
{
  struct thin_ranges rest = { 0 };
  struct range_nodes nodes;
  struct range_map places;
  size_t i;
  int r;

  range_nodes_init (&nodes);
  range_map_init (&places, &nodes);
  r = find_given_out (log, &places);
  if (r == 0)
    r = add_rest (p, &rest);
  for (i = 0; i < rest.n && r == 0; i++)
    r = add_room (p, &places, rest.list[i].start,
                  rest.list[i].start + rest.list[i].length);
  free (rest.list);
  range_map_clear (&places);
  range_nodes_destroy (&nodes);
  return r;
}

static int
find_out (struct repairing *p, struct range_map *log)
{
  int r = thin_check_begin (&p->c);

  if (r == 0)
    r = thin_check_disks (&p->c);
  if (p->c.damaged)
    return -EUCLEAN;
  if (r == 0)
    r = note_data (p);
  if (r == 0)
    r = note_nodes (p);
  if (r == 0)
    r = note_fixed (p);
  if (r == 0)
    r = sort_used (p);
  return r < 0 ? r : find_room (p, log);
}

/* --- the commit --- */

/* A thin_space's: what has been handed out is not again, as an attempt may fail. */
static int
take_room (void *opaque, uint64_t want, struct thin_range *range)
{
  struct repairing *p = opaque;
  struct thin_range *from;

  if (p->at == p->room.n)
    return -ENOSPC;
  from = &p->room.list[p->at];
  *range = (struct thin_range) { from->start, thin_min (from->length, want) };
  from->start += range->length;
  from->length -= range->length;
  p->at += from->length == 0;
  return 0;
}

/* As many as an attempt before this one has taken are free, and owed, like those that
 * this one takes.
 */
static int
make_free (struct thin_txn *t, struct repairing *p)
{
  int r;

  t->super.free = (struct thin_root) { 0 };
  t->super.free_entries = 0;
  t->tree_free = 0;
  thin_chunks_settle_debts (t->m);
  r = add_rest (p, &t->frees);
  if (r == 0)
    r = thin_free_apply (t);
  thin_chunks_owe_fresh (t->m);
  return r;
}

static int
make_refs (struct thin_txn *t, struct repairing *p)
{
  const struct thin_events *data = &p->c.data;
  int64_t sum = 0;
  size_t i;
  int r = 0;

  t->super.refs = (struct thin_root) { 0 };
  t->super.refs_entries = 0;
  for (i = 0; i < p->nodes.n && r == 0; i++)
    if (p->nodes.list[i].change > 1)
      r = thin_refs_add (t, p->nodes.list[i].at, 1,
                         (int) p->nodes.list[i].change - 1);
  for (i = 0; i < data->n && r == 0; i++) {
    if (sum > 1 && data->list[i].at > data->list[i - 1].at)
      r = thin_refs_add (t, data->list[i - 1].at,
                         data->list[i].at - data->list[i - 1].at,
                         (int) (sum - 1));
    sum += data->list[i].change;
  }
  return r;
}

static int
make_anew (struct thin_txn *t, void *opaque)
{
  struct repairing *p = opaque;
  int r;

  thin_chunks_use_only (t->m, &p->nodes);
  t->super.extents_entries = p->c.extents_entries;
  t->super.mapped = p->c.mapped;
  t->super.unwritten = p->c.unwritten;
  t->super.snapshot_count = p->c.snapshots;
  r = make_free (t, p);
  return r < 0 ? r : make_refs (t, p);
}

static int
commit (struct repairing *p)
{
  const struct thin_space space = { take_room, p }, none = { 0 };
  struct thin_meta *m = p->c.m;
  struct thin_txn *t;
  int r = thin_txn_begin (m, &t);

  if (r < 0)
    return r;
  thin_events_sort (&p->c.data);
  t->apply = make_anew;
  t->opaque = p;
  thin_meta_set_space (m, &space);
  r = thin_txn_commit (t, NULL, NULL, NULL);
  thin_meta_set_space (m, &none);
  return r;
}

int
thin_repair (struct thin_meta *m, struct range_map *log,
             struct thin_check *check)
{
  struct repairing p = { .c = { .m = m, .check = check } };
  int r;

  p.c.holdings = &p.holdings;
  r = find_out (&p, log);
  if (r == 0)
    r = commit (&p);
  thin_check_end (&p.c);
  free (p.holdings.list);
  free (p.nodes.list);
  free (p.used.list);
  free (p.room.list);
  return r;
}
