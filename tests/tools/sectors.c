/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What each sector of the disk may hold after a crash.  See sectors.h.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sectors.h"
#include "state-file.h"
#include "util.h"

#define WORDS (SECTOR / 8)
#define MAGIC UINT64_C (0x726f74636573210a)

/* Reports printed at most; the rest is counted. */
#define REPORTS_MAX 5

struct header {
  char magic[STATE_MAGIC];
  uint64_t n, key, epoch;
};

static const char state_magic[STATE_MAGIC] = "crash01";

void
sectors_init (struct sectors *sectors, uint64_t n, uint64_t key)
{
  sectors->n = n;
  sectors->key = key;
  sectors->epoch = 1;
  sectors->floor = xcalloc (n, sizeof *sectors->floor);
  sectors->last = xcalloc (n, sizeof *sectors->last);
  sectors->zero = xcalloc (n, sizeof *sectors->zero);
  history_init (&sectors->history);
}

void
sectors_free (struct sectors *sectors)
{
  history_free (&sectors->history);
  free (sectors->floor);
  free (sectors->last);
  free (sectors->zero);
}

bool
sectors_load (struct sectors *sectors, const char *path)
{
  struct header header;
  int fd = state_open (path, state_magic, &header, sizeof header);

  if (fd < 0)
    return false;
  sectors_init (sectors, header.n, header.key);
  sectors->epoch = header.epoch;
  read_all (fd, path, sectors->floor, header.n * sizeof *sectors->floor);
  read_all (fd, path, sectors->last, header.n * sizeof *sectors->last);
  read_all (fd, path, sectors->zero, header.n * sizeof *sectors->zero);
  history_load (&sectors->history, fd, path);
  close (fd);
  return true;
}

void
sectors_save (struct sectors *sectors, const char *path)
{
  struct header header = {
    .n = sectors->n,
    .key = sectors->key,
    .epoch = sectors->epoch,
  };
  int fd;

  memcpy (header.magic, state_magic, sizeof state_magic);
  fd = state_create (path, &header, sizeof header);
  write_all (fd, path, sectors->floor, header.n * sizeof *sectors->floor);
  write_all (fd, path, sectors->last, header.n * sizeof *sectors->last);
  write_all (fd, path, sectors->zero, header.n * sizeof *sectors->zero);
  history_save (&sectors->history, fd, path);
  state_commit (fd, path);
}

void
sectors_fill (const struct sectors *sectors, uint64_t sector,
              uint64_t generation, uint8_t *buf)
{
  uint64_t words[WORDS];
  uint64_t seed = mix64 (sectors->key ^ mix64 (sector ^ mix64 (generation)));
  unsigned i;

  words[0] = MAGIC;
  words[1] = sector;
  words[2] = generation;
  for (i = 3; i < WORDS; i++)
    words[i] = mix64 (seed + i);
  memcpy (buf, words, SECTOR);
}

void
sectors_issued (struct sectors *sectors, const struct op *op)
{
  uint64_t s = op->offset / SECTOR, end = s + op->length / SECTOR;

  for (; s < end; s++) {
    sectors->last[s] = op->id;
    if (op->kind != OP_WRITE)
      sectors->zero[s] = op->id;
  }
}

void
sectors_durable (struct sectors *sectors, const struct op *op)
{
  uint64_t s = op->offset / SECTOR, end = s + op->length / SECTOR;

  for (; s < end; s++)
    if (sectors->floor[s] < op->id)
      sectors->floor[s] = op->id;
}

static bool
is_zero (const uint8_t *buf)
{
  static const uint8_t zeroes[SECTOR];

  return memcmp (buf, zeroes, SECTOR) == 0;
}

/* The generation whose data of this sector buf holds, 0 if none. */
static uint64_t
recognise (const struct sectors *sectors, uint64_t sector, const uint8_t *buf)
{
  uint8_t whole[SECTOR];
  uint64_t generation;

  memcpy (&generation, buf + 16, sizeof generation);
  sectors_fill (sectors, sector, generation, whole);
  return memcmp (whole, buf, SECTOR) == 0 ? generation : 0;
}

static bool
is_allowed (const struct sectors *sectors, uint64_t s, const uint8_t *buf,
            bool exact)
{
  uint64_t floor = exact ? sectors->last[s] : sectors->floor[s];
  uint64_t generation;

  if (is_zero (buf))
    return sectors->zero[s] >= floor;
  generation = recognise (sectors, s, buf);
  if (generation == 0)
    return false;
  return generation == floor ||
         (generation > floor && generation >= sectors->epoch &&
          generation <= sectors->last[s]);
}

/* Name what was found in sector s. */
static void
describe (const struct sectors *sectors, uint64_t s, const uint8_t *buf)
{
  uint64_t words[WORDS];
  uint64_t generation = recognise (sectors, s, buf);
  uint8_t whole[SECTOR];
  unsigned same = 0;

  memcpy (words, buf, SECTOR);
  if (is_zero (buf))
    fprintf (stderr, "zeroes");
  else if (generation)
    fprintf (stderr, "the data of #%" PRIu64, generation);
  else if (words[0] != MAGIC)
    fprintf (stderr, "something unknown");
  else if (words[1] != s)
    fprintf (stderr, "data of sector %" PRIu64 " from #%" PRIu64, words[1],
             words[2]);
  else {
    sectors_fill (sectors, s, words[2], whole);
    while (same < SECTOR && whole[same] == buf[same])
      same++;
    fprintf (stderr, "a torn sector: #%" PRIu64 " in the first %u bytes only",
             words[2], same);
  }
}

static void
report (struct sectors *sectors, uint64_t s, const uint8_t *buf, bool exact)
{
  flockfile (stderr);
  fprintf (stderr, "WRONG: sector %" PRIu64 " (offset %" PRIu64 ") holds ", s,
           s * SECTOR);
  describe (sectors, s, buf);
  fprintf (stderr, "\n  allowed: ");
  if (exact)
    fprintf (stderr, "#%" PRIu64, sectors->last[s]);
  else
    fprintf (stderr, "#%" PRIu64 " or later, to #%" PRIu64, sectors->floor[s],
             sectors->last[s]);
  fprintf (stderr,
           "; this life began with #%" PRIu64 "; zeroes if #%" PRIu64
           " is allowed\n",
           sectors->epoch, sectors->zero[s]);
  history_tell (&sectors->history, stderr, s * SECTOR, NULL, 0);
  funlockfile (stderr);
}

void
sectors_check (struct sectors *sectors, uint64_t first, uint64_t count,
               const uint8_t *buf, bool exact, struct tally *tally)
{
  uint64_t i;

  for (i = 0; i < count; i++) {
    uint64_t s = first + i;
    const uint8_t *p = buf + i * SECTOR;

    tally->checked++;
    if (sectors->floor[s] != sectors->last[s]) {
      tally->open++;
      tally->newest += is_allowed (sectors, s, p, true);
    }
    if (!is_allowed (sectors, s, p, exact) && tally->wrong++ < REPORTS_MAX)
      report (sectors, s, p, exact);
  }
}

void
sectors_rebase (struct sectors *sectors, uint64_t first, uint64_t count,
                const uint8_t *buf)
{
  uint64_t i;

  for (i = 0; i < count; i++) {
    uint64_t s = first + i;
    uint64_t found = recognise (sectors, s, buf + i * SECTOR);

    sectors->floor[s] = sectors->last[s] = found;
    sectors->zero[s] = 0;
  }
}

void
sectors_begin_epoch (struct sectors *sectors)
{
  sectors->epoch = sectors->history.next_id;
}
