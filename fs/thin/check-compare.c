/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Checking an image: what was counted, against what the image says.  One sweep over the
 * store from its first block to the last, range by range: where any of the lists begins
 * to say something else, a range ends.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "fs/thin/check-impl.h"

#define MOST_COMPLAINTS 20 /* of each kind that is found in the sweep */

/* A list of events, and where in it the sweep is. */
struct cursor {
  const struct thin_events *events;
  size_t i;
  int64_t sum; /* as of now */
};

enum { DATA, REFS, FREE, CURSORS };

struct sweep {
  struct checking *c;
  struct cursor cursors[CURSORS];
  size_t chunk; /* the first that ends behind `at' */
  uint64_t at;
  uint64_t complaints;
};

void
thin_check_problem (struct checking *c, const char *fmt, ...)
{
  char text[300];
  va_list args;

  va_start (args, fmt);
  if (vsnprintf (text, sizeof text, fmt, args) < 0)
    text[0] = '\0';
  va_end (args);
  c->check->problems++;
  if (c->check->problem)
    c->check->problem (c->check->opaque, text);
}

int
thin_check_event (struct thin_events *events, uint64_t start, uint64_t length,
                  int64_t by)
{
  int r = thin_events_add (events, start, by);

  return r < 0 ? r : thin_events_add (events, start + length, -by);
}

static void
complain (struct sweep *s, uint64_t end, const char *what)
{
  if (s->complaints++ < MOST_COMPLAINTS)
    thin_check_problem (s->c, "blocks %" PRIu64 " to %" PRIu64 " %s", s->at,
                        end - 1, what);
}

/* Take the events at `at'. */
static void
advance (struct cursor *cursor, uint64_t at)
{
  const struct thin_events *events = cursor->events;

  for (; cursor->i < events->n && events->list[cursor->i].at <= at; cursor->i++)
    cursor->sum += events->list[cursor->i].change;
}

static bool
is_fixed (const struct checking *c, uint64_t at, uint64_t *end)
{
  const struct thin_super *super = &c->m->super;
  uint64_t log_end = super->log_start + super->log_blocks;

  if (at < THIN_FIRST)
    *end = thin_min (*end, THIN_FIRST);
  else if (at < THIN_SUPER_B)
    *end = thin_min (*end, THIN_SUPER_B);
  else if (at < log_end)
    *end = thin_min (*end, log_end);
  return at < THIN_FIRST || (at >= THIN_SUPER_B && at < log_end);
}

static const struct thin_chunk *
chunk_at (struct sweep *s, uint64_t *end)
{
  const struct thin_chunks *chunks = &s->c->m->chunks;
  const struct thin_chunk *chunk;

  while (s->chunk < chunks->n &&
         chunks->list[s->chunk].start + chunks->list[s->chunk].length <= s->at)
    s->chunk++;
  if (s->chunk == chunks->n)
    return NULL;
  chunk = &chunks->list[s->chunk];
  if (chunk->start > s->at) {
    *end = thin_min (*end, chunk->start);
    return NULL;
  }
  *end = thin_min (*end, chunk->start + chunk->length);
  return chunk;
}

/* Data: all of [at, end) is of one kind. */
static void
compare_data (struct sweep *s, uint64_t end, bool fixed)
{
  int64_t data = s->cursors[DATA].sum, refs = s->cursors[REFS].sum;
  int64_t nr_free = s->cursors[FREE].sum;

  if (data > 0 && fixed)
    complain (s, end, "are data's, and metadata's");
  if (data > 0 && nr_free > 0)
    complain (s, end, "are data's, and free");
  if (data > 0 && refs != data - 1)
    complain (s, end, "have another number of references");
  if (data == 0 && refs != 0 && !s->c->damaged)
    complain (s, end, "have references, but nothing refers to them");
  if (data == 0 && nr_free == 0 && !fixed && !s->c->damaged)
    complain (s, end, "are neither used nor free");
  if (nr_free > 0 && fixed)
    complain (s, end, "are free, and metadata's");
}

/* A block of a chunk: one at a time where the refs speak of it. */
static void
compare_chunk (struct sweep *s, uint64_t end, const struct thin_chunk *chunk)
{
  const struct checking *c = s->c;
  size_t base = (chunk - c->m->chunks.list) * THIN_CHUNK_BLOCKS;
  int64_t nr_free = s->cursors[FREE].sum;

  if (s->cursors[DATA].sum > 0)
    complain (s, end, "are data's, and in a chunk of metadata");
  if ((nr_free > 0) != chunk->committed_owed)
    complain (s, end,
              nr_free > 0 ? "of a chunk of metadata are free"
                          : "are not owed to metadata");
  for (; s->at < end; s->at++) {
    uint64_t i = s->at - chunk->start;
    uint32_t count = c->counts[base + i];

    if (count == 0 && thin_chunk_bit (chunk->committed, i) && !c->damaged)
      complain (s, s->at + 1, "are marked as in use, but are not");
    if (count > 0 ? s->cursors[REFS].sum != count - 1
                  : s->cursors[REFS].sum != 0 && !c->damaged)
      complain (s, s->at + 1, "of metadata have another number of references");
  }
}

static void
compare_all (struct sweep *s)
{
  const struct checking *c = s->c;
  uint64_t limit = c->m->super.store_blocks;
  int i;

  while (s->at < limit) {
    const struct thin_chunk *chunk;
    uint64_t end = limit;
    bool fixed;

    for (i = 0; i < CURSORS; i++) {
      const struct thin_events *events = s->cursors[i].events;

      advance (&s->cursors[i], s->at);
      if (s->cursors[i].i < events->n)
        end = thin_min (end, events->list[s->cursors[i].i].at);
    }
    fixed = is_fixed (c, s->at, &end);
    chunk = chunk_at (s, &end);
    if (chunk)
      compare_chunk (s, end, chunk);
    else
      compare_data (s, end, fixed);
    s->at = end;
  }
}

static void
compare_counter (struct checking *c, const char *what, uint64_t found,
                 uint64_t said)
{
  if (found != said)
    thin_check_problem (c, "%" PRIu64 " blocks are %s instead of %" PRIu64,
                        found, what, said);
}

static void
compare_entries (struct checking *c, const char *tree, uint64_t found,
                 uint64_t said)
{
  if (found != said)
    thin_check_problem (
      c, "the tree of %s has %" PRIu64 " entries instead of %" PRIu64, tree,
      found, said);
}

static void
compare_counters (struct checking *c)
{
  const struct thin_super *super = &c->m->super;
  uint64_t owed = 0, blocks = 0;
  size_t i;

  for (i = 0; i < c->m->chunks.n; i++) {
    const struct thin_chunk *chunk = &c->m->chunks.list[i];

    if (chunk->fresh)
      continue;
    blocks += chunk->length;
    owed += chunk->committed_owed ? chunk->length : 0;
  }
  compare_counter (c, "free", c->free_blocks, super->free_blocks + owed);
  compare_counter (c, "in chunks", blocks, super->metadata_blocks);
  compare_counter (c, "mapped", c->mapped, super->mapped);
  compare_counter (c, "unwritten", c->unwritten, super->unwritten);
  compare_entries (c, "extents", c->extents_entries, super->extents_entries);
  compare_entries (c, "free space", c->free_entries, super->free_entries);
  compare_entries (c, "references", c->refs_entries, super->refs_entries);
}

int
thin_check_compare (struct checking *c)
{
  struct sweep s = {
    .c = c,
    .cursors = { { &c->data, 0, 0 }, { &c->refs, 0, 0 }, { &c->free, 0, 0 } },
  };
  int i;

  for (i = 0; i < CURSORS; i++)
    thin_events_sort ((struct thin_events *) s.cursors[i].events);
  compare_all (&s);
  if (s.complaints > MOST_COMPLAINTS)
    thin_check_problem (c, "and %" PRIu64 " more ranges like these",
                        s.complaints - MOST_COMPLAINTS);
  if (!c->damaged)
    compare_counters (c);
  return 0;
}
