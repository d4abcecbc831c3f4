/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The oracle: what was written, lost and told, and what of it is durable.
 */

#include <stdlib.h>
#include <string.h>

#include "model-oracle-impl.h"

struct oracle *
oracle_create (struct world *world, uint64_t size)
{
  struct oracle *o = xcalloc (1, sizeof *o);

  o->world = world;
  o->size = size;
  o->nr_sectors = (size + ORACLE_SECTOR - 1) / ORACLE_SECTOR;
  o->sectors = xcalloc (o->nr_sectors, sizeof *o->sectors);
  o->base = xcalloc (o->nr_sectors, ORACLE_SECTOR);
  o->next_id = 1;
  return o;
}

void
oracle_restart (struct oracle *o)
{
  struct oracle_write *write;
  uint64_t i;

  for (i = 0; i < o->nr_sectors; i++)
    o->sectors[i].nr = 0;
  while ((write = o->writes) != NULL) {
    o->writes = write->next;
    free (write);
  }
  o->flush_begun = o->lost = 0;
  o->nr_flushes = 0;
}

const uint8_t *
oracle_content (const struct oracle *o)
{
  return o->base;
}

void
oracle_destroy (struct oracle *o)
{
  uint64_t i;

  oracle_restart (o);
  for (i = 0; i < o->nr_sectors; i++)
    free (o->sectors[i].writes);
  free (o->sectors);
  free (o->flushes);
  free (o->base);
  free (o);
}

void
oracle_see_losses (struct oracle *o)
{
  uint32_t losses = o->losses ? atomic_load (o->losses) : o->losses_seen;

  if (losses == o->losses_seen)
    return;
  o->losses_seen = losses;
  o->lost = ++o->moment;
}

void
oracle_watch (struct oracle *o, const _Atomic uint32_t *losses)
{
  o->losses = losses;
  o->losses_seen = losses ? atomic_load (losses) : 0;
}

void
oracle_set_threads (struct oracle *o)
{
  o->threads = true;
}

uint64_t
oracle_moment (struct oracle *o)
{
  oracle_see_losses (o);
  return ++o->moment;
}

/* --- writes --- */

/* Is it durable, all of it, whatever anybody was told? */
static bool
is_durable (const struct oracle *o, const struct oracle_write *write)
{
  return !write->failed && !write->nothing &&
         (write->ended < o->flush_begun ||
          (write->fua && write->ended != UINT64_MAX));
}

/* If the one is lost that went past the cache, over [start, end), are both? */
static bool
takes_along (const struct oracle_write *past, const struct oracle_write *write,
             uint64_t start, uint64_t end)
{
  return past->past_start <= start && end <= past->past_end &&
         (past == write || past->ended > write->begun);
}

/* May the write have been over when that was told? */
static bool
was_over (const struct oracle *o, const struct oracle_write *write,
          const struct oracle_told *told)
{
  return (o->threads ? write->begun : write->ended) <= told->at;
}

/* Did the flush not make the piece [start, end) of the write durable, since those
 * who waited for it knew that it may be lost?
 */
static bool
is_excused (const struct oracle *o, const struct sector *s,
            const struct oracle_write *write, const struct oracle_flush *flush,
            uint64_t start, uint64_t end)
{
  const struct oracle_told *told;
  uint32_t i;

  for (i = 0; i < s->nr; i++) {
    told = s->writes[i]->client == flush->client ? &flush->own : &flush->others;
    if (s->writes[i]->begun < told->lost &&
        (was_over (o, s->writes[i], told) || was_over (o, write, told)) &&
        takes_along (s->writes[i], write, start, end))
      return true;
  }
  return false;
}

bool
oracle_piece_durable (const struct oracle *o, const struct sector *s,
                      const struct oracle_write *write, uint64_t start,
                      uint64_t end)
{
  unsigned i;

  if (is_durable (o, write))
    return true;
  for (i = 0; !write->failed && !write->nothing && i < o->nr_flushes; i++)
    if (write->ended < o->flushes[i].begun &&
        !is_excused (o, s, write, &o->flushes[i], start, end))
      return true;
  return false;
}

bool
oracle_piece_gone (const struct oracle *o, const struct sector *s,
                   const struct oracle_write *write, uint64_t start,
                   uint64_t end)
{
  uint32_t i;

  for (i = 0; o->lost && i < s->nr; i++)
    if (s->writes[i]->begun < o->lost &&
        takes_along (s->writes[i], write, start, end) &&
        !oracle_piece_durable (o, s, s->writes[i], start, end))
      return true;
  return false;
}

/* Forget writes of the sector that a durable one rules out for good. */
static void
prune (struct oracle *o, uint64_t sector)
{
  struct sector *s = &o->sectors[sector];
  uint64_t start = sector * ORACLE_SECTOR, newest = 0;
  uint32_t i, n = 0;

  for (i = 0; i < s->nr; i++)
    if (is_durable (o, s->writes[i]) &&
        oracle_covers (s->writes[i], start, start + ORACLE_SECTOR) &&
        s->writes[i]->begun > newest)
      newest = s->writes[i]->begun;
  for (i = 0; i < s->nr; i++)
    if (s->writes[i]->ended >= newest)
      s->writes[n++] = s->writes[i];
  s->nr = n;
}

static void
add_to_sector (struct oracle *o, uint64_t sector, struct oracle_write *write)
{
  struct sector *s = &o->sectors[sector];

  if (s->nr == s->room)
    prune (o, sector);
  if (s->nr >= s->room / 2) {
    s->room = s->room ? s->room * 2 : 8;
    s->writes = realloc (s->writes, s->room * sizeof (struct oracle_write *));
    if (s->writes == NULL)
      die ("out of memory");
  }
  s->writes[s->nr++] = write;
}

struct oracle_write *
oracle_begin (struct oracle *o, uint64_t offset, uint64_t length, bool zero,
              bool fua)
{
  struct oracle_write *write = xcalloc (1, sizeof *write);
  uint64_t sector;

  *write = (struct oracle_write) {
    .next = o->writes,
    .id = o->next_id++,
    .offset = offset,
    .length = length,
    .begun = oracle_moment (o),
    .ended = UINT64_MAX,
    .zero = zero,
    .fua = fua,
  };
  o->writes = write;
  for (sector = offset / ORACLE_SECTOR;
       sector * ORACLE_SECTOR < offset + length; sector++)
    add_to_sector (o, sector, write);
  return write;
}

void
oracle_end (struct oracle *o, struct oracle_write *write, int result)
{
  write->ended = oracle_moment (o);
  write->failed = result < 0;
}

void
oracle_past (struct oracle *o, struct oracle_write *write, uint32_t block_size)
{
  uint64_t end = write->offset + write->length;

  write->past_start =
    (write->offset + block_size - 1) / block_size * block_size;
  write->past_end = end == o->size ? end : end / block_size * block_size;
}

static bool
same_told (const struct oracle_told *a, const struct oracle_told *b)
{
  return a->at == b->at && a->lost == b->lost;
}

void
oracle_flushed (struct oracle *o, const struct oracle_flush *flush)
{
  struct oracle_flush *last;
  unsigned i;

  if (flush->own.lost == 0 && flush->others.lost == 0) {
    if (flush->begun > o->flush_begun)
      o->flush_begun = flush->begun;
    return;
  }
  for (i = 0; i < o->nr_flushes; i++) {
    last = &o->flushes[i];
    if (last->client == flush->client && same_told (&last->own, &flush->own) &&
        same_told (&last->others, &flush->others)) {
      if (flush->begun > last->begun)
        last->begun = flush->begun;
      return;
    }
  }
  if (o->nr_flushes == o->room_flushes) {
    o->room_flushes = o->room_flushes ? o->room_flushes * 2 : 16;
    o->flushes = realloc (o->flushes, o->room_flushes * sizeof *o->flushes);
    if (o->flushes == NULL)
      die ("out of memory");
  }
  o->flushes[o->nr_flushes++] = *flush;
}

void
oracle_told (struct oracle *o, struct oracle_told *told)
{
  told->at = oracle_moment (o);
  told->lost = o->lost;
}
