/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is on a model store.
 */

#include <stdlib.h>
#include <string.h>

#include "model-medium.h"

struct medium *
medium_create (struct world *world, uint64_t size)
{
  struct medium *m = xcalloc (1, sizeof *m);

  m->world = world;
  m->size = size;
  m->sectors = (size + MEDIUM_SECTOR - 1) / MEDIUM_SECTOR;
  m->durable = xcalloc (m->sectors, MEDIUM_SECTOR);
  m->versions = xcalloc (m->sectors, sizeof *m->versions);
  m->changed = xcalloc (m->sectors, sizeof *m->changed);
  m->extents = xcalloc (m->size / MEDIUM_GRAIN + 1, 1);
  memset (m->extents, STORE_HOLE, m->size / MEDIUM_GRAIN + 1);
  return m;
}

/* --- versions --- */

static struct medium_version *
version_new (struct medium *m)
{
  struct medium_version *v = m->unused;

  if (v)
    m->unused = v->older;
  else
    v = xcalloc (1, sizeof *v);
  return v;
}

/* Drop v and what is older. */
static void
versions_drop (struct medium *m, struct medium_version *v)
{
  struct medium_version *older;

  for (; v; v = older) {
    older = v->older;
    v->older = m->unused;
    m->unused = v;
  }
}

void
medium_destroy (struct medium *m)
{
  struct medium_version *v;
  size_t i;

  for (i = 0; i < m->nr_changed; i++)
    versions_drop (m, m->versions[m->changed[i]]);
  while ((v = m->unused) != NULL) {
    m->unused = v->older;
    free (v);
  }
  free (m->extents);
  free (m->changed);
  free (m->versions);
  free (m->durable);
  free (m);
}

static uint8_t *
durable_sector (struct medium *m, uint64_t sector)
{
  return m->durable + sector * MEDIUM_SECTOR;
}

static const uint8_t *
visible_sector (struct medium *m, uint64_t sector)
{
  const struct medium_version *v = m->versions[sector];

  return v ? v->data : durable_sector (m, sector);
}

/* A new version of the sector, with what was visible in it. */
static uint8_t *
change_sector (struct medium *m, uint64_t sector)
{
  struct medium_version *v = version_new (m);

  memcpy (v->data, visible_sector (m, sector), MEDIUM_SECTOR);
  v->seq = m->seq;
  v->doomed = false;
  v->older = m->versions[sector];
  if (v->older == NULL)
    m->changed[m->nr_changed++] = (uint32_t) sector;
  m->versions[sector] = v;
  return v->data;
}

/* --- reading and writing --- */

/* How much of [pos, end) is in pos's sector. */
static uint64_t
in_sector (uint64_t pos, uint64_t end)
{
  uint64_t n = MEDIUM_SECTOR - pos % MEDIUM_SECTOR;

  return n < end - pos ? n : end - pos;
}

static uint64_t
clip (const struct medium *m, uint64_t offset, uint64_t length)
{
  if (offset >= m->size)
    return offset;
  return length < m->size - offset ? offset + length : m->size;
}

void
medium_read (struct medium *m, uint64_t offset, void *buf, uint64_t length)
{
  uint64_t pos = offset, end = clip (m, offset, length), n;

  for (; pos < end; pos += n) {
    n = in_sector (pos, end);
    memcpy ((uint8_t *) buf + (pos - offset),
            visible_sector (m, pos / MEDIUM_SECTOR) + pos % MEDIUM_SECTOR, n);
  }
  memset ((uint8_t *) buf + (pos - offset), 0, offset + length - pos);
}

/* Where the byte at pos is in the request's memory, and in *n how many follow
 * it there, *n at most.
 */
static const uint8_t *
source (const struct store_req *req, uint64_t pos, uint64_t *n)
{
  uint64_t at = pos - req->offset;
  int i;

  for (i = 0; at >= req->iov[i].iov_len; i++)
    at -= req->iov[i].iov_len;
  if (*n > req->iov[i].iov_len - at)
    *n = req->iov[i].iov_len - at;
  return (const uint8_t *) req->iov[i].iov_base + at;
}

static void
fill_sector (const struct store_req *req, uint8_t *data, uint64_t pos,
             uint64_t end)
{
  uint64_t n;

  for (; pos < end; pos += n) {
    n = end - pos;
    if (req->op == STORE_WRITE) {
      const uint8_t *from = source (req, pos, &n);

      memcpy (data + pos % MEDIUM_SECTOR, from, n);
    }
    else
      memset (data + pos % MEDIUM_SECTOR, 0, n);
  }
}

/* Data wherever something was written, holes where a whole grain was given
 * back.
 */
static void
note_extent (struct medium *m, const struct store_req *req, uint64_t end,
             bool whole)
{
  uint64_t first = req->offset / MEDIUM_GRAIN;
  uint64_t last = (end + MEDIUM_GRAIN - 1) / MEDIUM_GRAIN;
  enum store_extent type = STORE_DATA;

  if (req->op != STORE_WRITE) {
    if (!whole)
      return;
    first = (req->offset + MEDIUM_GRAIN - 1) / MEDIUM_GRAIN;
    if (end < m->size)
      last = end / MEDIUM_GRAIN;
    type = req->op == STORE_TRIM ? STORE_HOLE : STORE_UNWRITTEN;
  }
  if (first < last)
    memset (m->extents + first, type, last - first);
}

void
medium_apply (struct medium *m, const struct store_req *req, unsigned percent)
{
  uint64_t pos = req->offset, end = clip (m, req->offset, req->length), n;

  m->seq++;
  for (; pos < end; pos += n) {
    n = in_sector (pos, end);
    if (percent == 100 || world_chance (m->world, percent))
      fill_sector (req, change_sector (m, pos / MEDIUM_SECTOR), pos, pos + n);
  }
  if (req->offset < end)
    note_extent (m, req, end, percent == 100);
}

/* --- durability --- */

/* Take out of m->changed the sectors that are all durable again. */
static void
sweep_changed (struct medium *m)
{
  size_t i, n = 0;

  for (i = 0; i < m->nr_changed; i++)
    if (m->versions[m->changed[i]])
      m->changed[n++] = m->changed[i];
  m->nr_changed = n;
}

/* The newest version up to seq becomes durable, unless it is doomed. */
static void
flush_sector (struct medium *m, uint64_t sector, uint64_t seq)
{
  struct medium_version **p = &m->versions[sector], *v;

  while (*p && ((*p)->seq > seq || (*p)->doomed))
    p = &(*p)->older;
  v = *p;
  if (v == NULL)
    return;
  memcpy (durable_sector (m, sector), v->data, MEDIUM_SECTOR);
  *p = NULL;
  versions_drop (m, v);
}

void
medium_flush (struct medium *m, uint64_t seq, uint64_t offset, uint64_t length)
{
  uint64_t first = offset / MEDIUM_SECTOR;
  uint64_t last = (clip (m, offset, length) - 1) / MEDIUM_SECTOR;
  size_t i;

  for (i = 0; i < m->nr_changed; i++)
    if (m->changed[i] >= first && m->changed[i] <= last)
      flush_sector (m, m->changed[i], seq);
  sweep_changed (m);
}

void
medium_doom (struct medium *m)
{
  struct medium_version *v;
  size_t i;

  for (i = 0; i < m->nr_changed; i++)
    for (v = m->versions[m->changed[i]]; v; v = v->older)
      v->doomed = true;
}

/* --- power cuts --- */

/* Any version, the durable one included. */
static void
cut_sector (struct medium *m, uint64_t sector)
{
  struct medium_version *v = m->versions[sector];
  unsigned n = 0;

  for (; v; v = v->older)
    n++;
  n = (unsigned) world_below (m->world, n + 1);
  for (v = m->versions[sector]; v && n > 0; v = v->older)
    n--;
  if (v)
    memcpy (durable_sector (m, sector), v->data, MEDIUM_SECTOR);
}

static bool
all_zero (const uint8_t *p, size_t n)
{
  return n == 0 || (p[0] == 0 && memcmp (p, p + 1, n - 1) == 0);
}

/* What has bytes again is no hole. */
static void
correct_extents (struct medium *m)
{
  uint64_t grain, start, n;

  for (grain = 0; grain * MEDIUM_GRAIN < m->size; grain++) {
    start = grain * MEDIUM_GRAIN;
    n = m->size - start < MEDIUM_GRAIN ? m->size - start : MEDIUM_GRAIN;
    if (m->extents[grain] != STORE_DATA && !all_zero (m->durable + start, n))
      m->extents[grain] = STORE_DATA;
  }
}

void
medium_cut (struct medium *m)
{
  enum { OLDEST, NEWEST, ANY } mode;
  uint64_t sector;
  size_t i;

  mode = world_chance (m->world, 30)   ? OLDEST
         : world_chance (m->world, 10) ? NEWEST
                                       : ANY;
  for (i = 0; i < m->nr_changed; i++) {
    sector = m->changed[i];
    if (mode == NEWEST)
      memcpy (durable_sector (m, sector), visible_sector (m, sector),
              MEDIUM_SECTOR);
    else if (mode == ANY)
      cut_sector (m, sector);
    versions_drop (m, m->versions[sector]);
    m->versions[sector] = NULL;
  }
  m->nr_changed = 0;
  correct_extents (m);
}

enum store_extent
medium_extent (const struct medium *m, uint64_t offset, uint64_t *length)
{
  uint64_t grain = offset / MEDIUM_GRAIN;
  enum store_extent type = m->extents[grain];
  uint64_t end;

  while (grain * MEDIUM_GRAIN < m->size && m->extents[grain] == type)
    grain++;
  end = grain * MEDIUM_GRAIN < m->size ? grain * MEDIUM_GRAIN : m->size;
  *length = end - offset;
  return type;
}
