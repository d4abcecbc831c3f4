/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The oracle: which contents a sector may have.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model-oracle-impl.h"

/* What one look at a sector is about. */
struct look {
  struct oracle *oracle;
  uint64_t sector;
  bool survived;  /* after a power cut; else a read */
  uint64_t begun; /* the read's */
};

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

/* --- judging --- */

/* Does the write settle what was in [start, end) before it, for this look? */
static bool
settles (const struct look *look, const struct oracle_write *write,
         uint64_t start, uint64_t end)
{
  const struct oracle *o = look->oracle;
  const struct sector *s = &o->sectors[look->sector];

  if (look->survived)
    return oracle_piece_durable (o, s, write, start, end);
  return !write->failed && !write->nothing && write->ended < look->begun &&
         !oracle_piece_gone (o, s, write, start, end);
}

/* When the latest write of [start, end), a piece, has begun that settles what
 * was there before.
 */
static uint64_t
settled (const struct look *look, uint64_t start, uint64_t end)
{
  const struct sector *s = &look->oracle->sectors[look->sector];
  uint32_t i;

  for (i = s->nr; i > 0; i--)
    if (oracle_covers (s->writes[i - 1], start, end) &&
        settles (look, s->writes[i - 1], start, end))
      return s->writes[i - 1]->begun;
  return 0;
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

    if (!write->nothing && write->ended > since &&
        oracle_covers (write, start, end) &&
        each_word (write, start, end, NULL, got))
      return true;
  }
  return since == 0 && memcmp (got, o->base + start, end - start) == 0;
}

/* The same of each byte by itself, if that may be. */
static bool
may_be_mixed (const struct look *look, const uint8_t *got, uint64_t start,
              uint64_t end)
{
  uint64_t pos = start;

  if (!look->oracle->threads)
    return false;
  while (pos < end && may_hold (look, got + (pos - start), pos, pos + 1))
    pos++;
  return pos == end;
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
    printf (
      "  written by %" PRIu32 ", %" PRIu64 " to %" PRId64 "%s%s%s%s%s%s\n",
      s->writes[i]->id, s->writes[i]->begun, (int64_t) s->writes[i]->ended,
      s->writes[i]->fua ? ", FUA" : "", s->writes[i]->zero ? ", zeroes" : "",
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
    if (!may_hold (look, got + (from - start), from, cuts[i]) &&
        !may_be_mixed (look, got + (from - start), from, cuts[i]))
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

  oracle_see_losses (o);
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
