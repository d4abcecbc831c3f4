/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The space of metadata.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/chunks.h"
#include "fs/thin/cost.h"
#include "fs/thin/node.h"
#include "fs/thin/table.h"

#define WORDS 4
#define LEAST_BLOCKS 8 /* of a chunk, if there is a range of so many */
#define SHARE_OF_FREE 64
#define WORTH_KEEPING 1024 /* free blocks, besides as many as are in use */

/* Which bits of a word stand for blocks of a chunk of this length. */
static uint64_t
mask (uint32_t length, unsigned word)
{
  if (length >= 64 * (word + 1))
    return UINT64_MAX;
  return length <= 64 * word ? 0 : (UINT64_C (1) << (length - 64 * word)) - 1;
}

static unsigned
bits (const uint64_t *words)
{
  unsigned i, n = 0;

  for (i = 0; i < WORDS; i++)
    n += __builtin_popcountll (words[i]);
  return n;
}

static uint64_t
free_bits (const struct thin_chunk *chunk, unsigned word)
{
  return chunk->gone ? 0
                     : ~(chunk->used[word] | chunk->hold[word]) &
                         mask (chunk->length, word);
}

/* Count everything anew. */
static void
count (struct thin_meta *m)
{
  struct thin_chunks *c = &m->chunks;
  size_t i;
  unsigned j;

  c->available = c->blocks = c->in_use = 0;
  for (i = 0; i < c->n; i++) {
    if (c->list[i].gone)
      continue;
    c->blocks += c->list[i].length;
    c->in_use += bits (c->list[i].used);
    for (j = 0; j < WORDS; j++)
      c->available += __builtin_popcountll (free_bits (&c->list[i], j));
  }
  c->hand = 0;
  pthread_mutex_lock (&m->lock);
  m->in_use = c->in_use;
  m->available = c->available;
  m->nr_chunks = c->n;
  pthread_mutex_unlock (&m->lock);
}

/* --- finding */

size_t
thin_chunks_reaching (const struct thin_chunks *c, uint64_t block)
{
  size_t low = 0, high = c->n;

  while (low < high) {
    size_t middle = (low + high) / 2;

    if (c->list[middle].start + c->list[middle].length > block)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

struct thin_chunk *
thin_chunks_of (struct thin_chunks *c, uint64_t block)
{
  size_t i = thin_chunks_reaching (c, block);

  return i < c->n && c->list[i].start <= block ? &c->list[i] : NULL;
}

/* --- loading */

static bool
decode (struct thin_chunk *chunk, const struct thin_chunk_entry *e,
        uint64_t from, uint64_t limit)
{
  unsigned i;

  *chunk = (struct thin_chunk) {
    .start = thin_get64 (e->start),
    .length = thin_get32 (e->length),
    .owed = thin_get32 (e->flags) & THIN_CHUNK_OWED,
  };
  chunk->committed_owed = chunk->owed;
  for (i = 0; i < WORDS; i++) {
    uint64_t word = thin_get64 (e->used[i]);

    chunk->used[i] = chunk->committed[i] = chunk->hold[i] = word;
    if (word & ~mask (chunk->length, i))
      return false;
  }
  return chunk->start >= from && chunk->length > 0 &&
         chunk->length <= THIN_CHUNK_BLOCKS && chunk->start < limit &&
         chunk->length <= limit - chunk->start &&
         !(thin_get32 (e->flags) & ~THIN_CHUNK_OWED);
}

static int
decode_all (struct thin_meta *m, const struct thin_chunk_entry *entries,
            size_t n)
{
  struct thin_chunks *c = &m->chunks;
  uint64_t from = THIN_FIRST;
  size_t i;

  c->list = calloc (n + 1, sizeof *c->list);
  if (c->list == NULL)
    return -ENOMEM;
  c->room = n + 1;
  for (i = 0; i < n; i++) {
    if (!decode (&c->list[i], &entries[i], from, m->super.store_blocks))
      return thin_bad_block (m, "table of chunks", m->super.chunks.address);
    from = c->list[i].start + c->list[i].length;
    if (c->list[i].owed)
      m->tree_free += c->list[i].length;
  }
  c->n = n;
  return 0;
}

int
thin_chunks_load (struct thin_meta *m)
{
  struct thin_chunks *c = &m->chunks;
  void *entries;
  size_t n;
  int r;

  if (c->loaded)
    return 0;
  r =
    thin_table_read (m, THIN_CHUNKS, &m->super.chunks,
                     sizeof (struct thin_chunk_entry), &entries, &n, &c->table);
  m->tree_free = m->super.free_blocks;
  if (r == 0)
    r = decode_all (m, entries, n);
  free (entries);
  if (r < 0) {
    thin_chunks_free (m);
    return r;
  }
  count (m);
  c->loaded = true;
  return 0;
}

void
thin_chunks_free (struct thin_meta *m)
{
  free (m->chunks.list);
  free (m->chunks.table.list);
  memset (&m->chunks, 0, sizeof m->chunks);
}

/* --- blocks */

/* Blocks of a chunk that is taken: less where there is not much space. */
static uint64_t
chunk_size (const struct thin_meta *m)
{
  uint64_t blocks = m->super.free_blocks / SHARE_OF_FREE;

  return thin_min (thin_max (blocks, LEAST_BLOCKS), THIN_CHUNK_BLOCKS);
}

/* Take another chunk from data's space. */
static int
grow (struct thin_meta *m)
{
  struct thin_chunks *c = &m->chunks;
  struct thin_range range;
  size_t at;
  int r = m->space.take (m->space.opaque, chunk_size (m), &range);

  if (r < 0)
    return r;
  at = thin_chunks_reaching (c, range.start);
  if (range.length == 0 || range.length > THIN_CHUNK_BLOCKS ||
      (at < c->n && c->list[at].start < range.start + range.length))
    return -EINVAL;
  if (c->n == c->room) {
    size_t room = 2 * c->room;
    struct thin_chunk *list = realloc (c->list, room * sizeof *list);

    if (list == NULL)
      return -ENOMEM;
    c->list = list;
    c->room = room;
  }
  memmove (&c->list[at + 1], &c->list[at], (c->n - at) * sizeof *c->list);
  c->list[at] = (struct thin_chunk) {
    .start = range.start,
    .length = range.length,
    .owed = true,
    .committed_owed = true,
    .fresh = true,
  };
  c->n++;
  c->hand = at;
  c->blocks += range.length;
  c->available += range.length;
  pthread_mutex_lock (&m->lock);
  m->available += range.length;
  m->nr_chunks = c->n;
  pthread_mutex_unlock (&m->lock);
  return 0;
}

/* A free block of a chunk, if there is one. */
static bool
take_from (struct thin_chunks *c, struct thin_chunk *chunk, uint64_t *block)
{
  unsigned word, bit;

  for (word = 0; word < WORDS; word++) {
    uint64_t found = free_bits (chunk, word);

    if (found == 0)
      continue;
    bit = __builtin_ctzll (found);
    chunk->used[word] |= UINT64_C (1) << bit;
    chunk->hold[word] |= UINT64_C (1) << bit;
    *block = chunk->start + 64 * word + bit;
    c->available--;
    c->in_use++;
    return true;
  }
  return false;
}

int
thin_chunks_alloc (struct thin_meta *m, uint64_t *block)
{
  struct thin_chunks *c = &m->chunks;
  int r;

  if (c->available == 0 && (r = grow (m)) < 0)
    return r;
  if (c->hand >= c->n)
    c->hand = 0;
  while (!take_from (c, &c->list[c->hand], block))
    c->hand = (c->hand + 1) % c->n;
  return 0;
}

int
thin_chunks_release (struct thin_meta *m, uint64_t block)
{
  struct thin_chunk *chunk = thin_chunks_of (&m->chunks, block);
  uint64_t i;

  if (chunk == NULL || !thin_chunk_bit (chunk->used, block - chunk->start))
    return thin_bad_block (m, "block in use", block);
  i = block - chunk->start;
  chunk->used[i / 64] &= ~(UINT64_C (1) << (i % 64));
  m->chunks.in_use--;
  if (!thin_chunk_bit (chunk->committed, i)) {
    chunk->hold[i / 64] &= ~(UINT64_C (1) << (i % 64));
    m->chunks.available++;
    thin_cache_drop (m->cache, block);
  }
  return 0;
}

/* --- the end of a transaction */

/* May it go, with what has been promised still fitting in the rest? */
static bool
is_spare (struct thin_meta *m, const struct thin_chunk *chunk)
{
  struct thin_chunks *c = &m->chunks;
  uint64_t keep =
    thin_min (c->in_use + WORTH_KEEPING, m->limit / 64 + THIN_CHUNK_BLOCKS);
  bool spare = false;

  if (chunk->gone || bits (chunk->used) || bits (chunk->hold) ||
      c->blocks - c->in_use < keep + chunk->length)
    return false;
  pthread_mutex_lock (&m->lock);
  if (c->blocks - chunk->length >= thin_cost_peak (m, m->promised)) {
    m->available -= chunk->length;
    spare = true;
  }
  pthread_mutex_unlock (&m->lock);
  return spare;
}

bool
thin_chunks_shrink (struct thin_meta *m, struct thin_range *range, bool *owed)
{
  struct thin_chunks *c = &m->chunks;
  size_t i;

  for (i = c->n; i-- > 0;) {
    struct thin_chunk *chunk = &c->list[i];

    if (!is_spare (m, chunk))
      continue;
    chunk->gone = true;
    c->blocks -= chunk->length;
    c->available -= chunk->length;
    *range = (struct thin_range) { chunk->start, chunk->length };
    *owed = chunk->owed;
    return true;
  }
  return false;
}

void
thin_chunks_committed (struct thin_meta *m)
{
  struct thin_chunks *c = &m->chunks;
  size_t i, n = 0;

  for (i = 0; i < c->n; i++) {
    struct thin_chunk *chunk = &c->list[i];

    if (chunk->gone)
      continue;
    memcpy (chunk->committed, chunk->used, sizeof chunk->used);
    memcpy (chunk->hold, chunk->used, sizeof chunk->used);
    chunk->committed_owed = chunk->owed;
    chunk->fresh = false;
    c->list[n++] = *chunk;
  }
  c->n = n;
  count (m);
}

void
thin_chunks_rollback (struct thin_meta *m)
{
  struct thin_chunks *c = &m->chunks;
  size_t i;

  for (i = 0; i < c->n; i++) {
    struct thin_chunk *chunk = &c->list[i];

    memcpy (chunk->hold, chunk->committed, sizeof chunk->used);
    memcpy (chunk->used, chunk->committed, sizeof chunk->used);
    chunk->owed = chunk->committed_owed;
    chunk->gone = false;
  }
  count (m);
}

/* --- repair */

void
thin_chunks_use_only (struct thin_meta *m, const struct thin_events *blocks)
{
  struct thin_chunks *c = &m->chunks;
  struct thin_chunk *chunk;
  uint64_t bit;
  size_t i;

  for (i = 0; i < c->n; i++)
    memset (c->list[i].used, 0, sizeof c->list[i].used);
  for (i = 0; i < blocks->n; i++) {
    chunk = thin_chunks_of (c, blocks->list[i].at);
    bit = blocks->list[i].at - chunk->start;
    chunk->used[bit / 64] |= UINT64_C (1) << (bit % 64);
    chunk->hold[bit / 64] |= UINT64_C (1) << (bit % 64);
  }
  count (m);
}

void
thin_chunks_settle_debts (struct thin_meta *m)
{
  size_t i;

  for (i = 0; i < m->chunks.n; i++)
    m->chunks.list[i].owed = false;
}

void
thin_chunks_owe_fresh (struct thin_meta *m)
{
  size_t i;

  for (i = 0; i < m->chunks.n; i++)
    if (m->chunks.list[i].fresh)
      m->chunks.list[i].owed = true;
}

struct thin_chunk_entry *
thin_chunks_encode (const struct thin_chunks *c)
{
  struct thin_chunk_entry *entries = calloc (c->n + 1, sizeof *entries), *e;
  size_t i;
  unsigned j;

  for (i = 0, e = entries; entries && i < c->n; i++) {
    const struct thin_chunk *chunk = &c->list[i];

    if (chunk->gone)
      continue;
    e->start = thin_put64 (chunk->start);
    e->length = thin_put32 (chunk->length);
    e->flags = thin_put32 (chunk->owed ? THIN_CHUNK_OWED : 0);
    for (j = 0; j < WORDS; j++)
      e->used[j] = thin_put64 (chunk->used[j]);
    e++;
  }
  return entries;
}
