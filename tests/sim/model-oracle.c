/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The oracle.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model-oracle.h"

/* The writes of one sector, in the order in which they began. */
struct sector {
  struct oracle_write **writes;
  uint32_t nr, room;
};

struct oracle {
  struct world *world;
  uint64_t size;
  uint64_t nr_sectors;
  uint64_t moment;
  uint64_t
    flush_begun; /* of those that succeeded unconditionally, the latest */
  struct oracle_flush *flushes; /* of those that did after something was told */
  unsigned nr_flushes, room_flushes;
  const uint32_t *losses; /* the store's */
  uint32_t losses_seen;
  uint64_t lost; /* moment of the last of them */
  uint32_t next_id;
  struct oracle_write *writes;
  struct sector *sectors;
  uint8_t *base; /* what was there when the disk was opened */
};

/* What one look at a sector is about. */
struct look {
  struct oracle *oracle;
  uint64_t sector;
  bool survived;  /* after a power cut; else a read */
  uint64_t begun; /* the read's */
};

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

/* Whatever begins from here on has begun after it. */
static void
see_losses (struct oracle *o)
{
  if (o->losses == NULL || *o->losses == o->losses_seen)
    return;
  o->losses_seen = *o->losses;
  o->lost = ++o->moment;
}

void
oracle_watch (struct oracle *o, const uint32_t *losses)
{
  o->losses = losses;
  o->losses_seen = losses ? *losses : 0;
}

uint64_t
oracle_moment (struct oracle *o)
{
  see_losses (o);
  return ++o->moment;
}

/* --- contents --- */

/* The word at byte 8 * word of the disk.  The first of a sector can be read by
 * a human.
 */
static uint64_t
word_of (const struct oracle_write *write, uint64_t word)
{
  uint64_t sector = word * 8 / ORACLE_SECTOR;

  if (write->zero)
    return 0;
  if (word * 8 % ORACLE_SECTOR == 0)
    return (uint64_t) write->id << 32 | sector;
  return mix64 ((uint64_t) write->id << 40 ^ word);
}

/* Fill buf with, or compare it to, what the write makes of [start, end). */
static bool
each_word (const struct oracle_write *write, uint64_t start, uint64_t end,
           uint8_t *fill, const uint8_t *compare)
{
  uint64_t pos, n, word;
  const uint8_t *bytes = (const uint8_t *) &word;

  for (pos = start; pos < end; pos += n) {
    word = word_of (write, pos / 8);
    n = 8 - pos % 8;
    if (n > end - pos)
      n = end - pos;
    if (fill)
      memcpy (fill + (pos - start), bytes + pos % 8, n);
    else if (memcmp (compare + (pos - start), bytes + pos % 8, n) != 0)
      return false;
  }
  return true;
}

void
oracle_fill (const struct oracle_write *write, void *buf)
{
  each_word (write, write->offset, write->offset + write->length, buf, NULL);
}

/* --- writes --- */

static bool
covers (const struct oracle_write *write, uint64_t start, uint64_t end)
{
  return write->offset <= start && end <= write->offset + write->length;
}

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

/* Did the flush not make the piece [start, end) of the write durable, since those
 * who waited for it knew that it may be lost?
 */
static bool
is_excused (const struct sector *s, const struct oracle_write *write,
            const struct oracle_flush *flush, uint64_t start, uint64_t end)
{
  const struct oracle_told *told;
  uint32_t i;

  for (i = 0; i < s->nr; i++) {
    told = s->writes[i]->client == flush->client ? &flush->own : &flush->others;
    if (s->writes[i]->begun < told->lost &&
        (s->writes[i]->ended <= told->at || write->ended <= told->at) &&
        takes_along (s->writes[i], write, start, end))
      return true;
  }
  return false;
}

/* The same of a piece. */
static bool
piece_durable (const struct oracle *o, const struct sector *s,
               const struct oracle_write *write, uint64_t start, uint64_t end)
{
  unsigned i;

  if (is_durable (o, write))
    return true;
  for (i = 0; !write->failed && !write->nothing && i < o->nr_flushes; i++)
    if (write->ended < o->flushes[i].begun &&
        !is_excused (s, write, &o->flushes[i], start, end))
      return true;
  return false;
}

/* May the piece be gone by now? */
static bool
piece_gone (const struct oracle *o, const struct sector *s,
            const struct oracle_write *write, uint64_t start, uint64_t end)
{
  uint32_t i;

  for (i = 0; o->lost && i < s->nr; i++)
    if (s->writes[i]->begun < o->lost &&
        takes_along (s->writes[i], write, start, end) &&
        !piece_durable (o, s, s->writes[i], start, end))
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
        covers (s->writes[i], start, start + ORACLE_SECTOR) &&
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

/* --- judging --- */

/* Does the write settle what was in [start, end) before it, for this look? */
static bool
settles (const struct look *look, const struct oracle_write *write,
         uint64_t start, uint64_t end)
{
  const struct oracle *o = look->oracle;
  const struct sector *s = &o->sectors[look->sector];

  if (look->survived)
    return piece_durable (o, s, write, start, end);
  return !write->failed && !write->nothing && write->ended < look->begun &&
         !piece_gone (o, s, write, start, end);
}

/* When the latest write of [start, end), a piece, has begun that settles what
 * was there before.
 */
static uint64_t
settled (const struct look *look, uint64_t start, uint64_t end)
{
  const struct sector *s = &look->oracle->sectors[look->sector];
  uint64_t newest = 0;
  uint32_t i;

  for (i = 0; i < s->nr; i++)
    if (s->writes[i]->begun > newest && covers (s->writes[i], start, end) &&
        settles (look, s->writes[i], start, end))
      newest = s->writes[i]->begun;
  return newest;
}

/* May the piece [start, end) hold got? */
static bool
may_hold (const struct look *look, const uint8_t *got, uint64_t start,
          uint64_t end)
{
  const struct oracle *o = look->oracle;
  const struct sector *s = &o->sectors[look->sector];
  uint64_t since = settled (look, start, end);
  uint32_t i;

  for (i = s->nr; i > 0; i--) {
    struct oracle_write *write = s->writes[i - 1];

    if (!write->nothing && write->ended > since && covers (write, start, end) &&
        each_word (write, start, end, NULL, got))
      return true;
  }
  return since == 0 && memcmp (got, o->base + start, end - start) == 0;
}

/* Add to cuts where the write begins or ends, if that is inside [start, end).
 * Sorted; returns how many there are.
 */
static unsigned
add_cut (uint64_t *cuts, unsigned n, uint64_t start, uint64_t end, uint64_t cut)
{
  unsigned i;

  if (cut <= start || cut >= end)
    return n;
  for (i = n; i > 0 && cuts[i - 1] > cut; i--)
    ;
  if (i > 0 && cuts[i - 1] == cut)
    return n;
  memmove (cuts + i + 1, cuts + i, (n - i) * sizeof *cuts);
  cuts[i] = cut;
  return n + 1;
}

static void __attribute__ ((noreturn))
report (const struct look *look, const uint8_t *got, uint64_t start,
        uint64_t end)
{
  const struct oracle *o = look->oracle;
  const struct oracle_write *write;
  uint64_t word = 0, since = settled (look, start, end);
  const struct sector *s = &o->sectors[look->sector];
  uint32_t i;

  printf ("bytes [%" PRIu64 ", %" PRIu64 ") of sector %" PRIu64 " %s\n", start,
          end, look->sector,
          look->survived ? "after the power cut" : "as read");
  for (i = 0; i < s->nr; i++)
    printf ("  written by %" PRIu32 "%s%s%s%s%s\n", s->writes[i]->id,
            s->writes[i]->zero ? ", zeroes" : "",
            s->writes[i]->past_end > start ? ", past the cache" : "",
            s->writes[i]->failed ? ", failed" : "",
            s->writes[i]->ended == UINT64_MAX ? ", under way" : "",
            s->writes[i]->begun == since ? ": not older than this" : "");
  for (write = o->writes; write; write = write->next)
    if (!write->zero && each_word (write, start, end, NULL, got))
      printf ("  holds what was written by %" PRIu32 "\n", write->id);
  if (memcmp (got, o->base + start, end - start) == 0)
    printf ("  holds what was there from the start\n");
  memcpy (&word, got, end - start < 8 ? end - start : 8);
  world_fail (o->world, look->sector, "sector %" PRIu64 " holds %016" PRIx64,
              look->sector, word);
}

/* The part [start, end) of the look's sector holds got. */
static void
judge (const struct look *look, const uint8_t *got, uint64_t start,
       uint64_t end)
{
  const struct sector *s = &look->oracle->sectors[look->sector];
  uint64_t cuts[ORACLE_SECTOR], from = start; /* one a byte at most */
  unsigned n = 0, i;
  uint32_t j;

  for (j = 0; j < s->nr; j++) {
    const struct oracle_write *write = s->writes[j];

    n = add_cut (cuts, n, start, end, write->offset);
    n = add_cut (cuts, n, start, end, write->offset + write->length);
    n = add_cut (cuts, n, start, end, write->past_start);
    n = add_cut (cuts, n, start, end, write->past_end);
  }
  cuts[n++] = end;
  for (i = 0; i < n; from = cuts[i++])
    if (!may_hold (look, got + (from - start), from, cuts[i]))
      report (look, got + (from - start), from, cuts[i]);
}

static void
judge_all (struct look *look, const uint8_t *buf, uint64_t offset,
           uint64_t length)
{
  uint64_t pos, n;

  for (pos = offset; pos < offset + length; pos += n) {
    n = ORACLE_SECTOR - pos % ORACLE_SECTOR;
    if (n > offset + length - pos)
      n = offset + length - pos;
    look->sector = pos / ORACLE_SECTOR;
    judge (look, buf + (pos - offset), pos, pos + n);
  }
}

void
oracle_read (struct oracle *o, const void *buf, uint64_t offset,
             uint64_t length, uint64_t begun)
{
  struct look look = { .oracle = o, .begun = begun };

  see_losses (o);
  judge_all (&look, buf, offset, length);
}

void
oracle_survived (struct oracle *o, const void *buf, uint64_t offset,
                 uint64_t length)
{
  struct look look = { .oracle = o, .survived = true };

  judge_all (&look, buf, offset, length);
  memcpy (o->base + offset, buf, length);
}
