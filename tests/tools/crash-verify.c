/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The crash test: the whole disk against what it may hold.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"

/* Sectors in one read. */
#define CHUNK 2048

static bool
sum_up (const struct tally *tally, const char *what)
{
  printf ("%s: %" PRIu64 " sectors, %" PRIu64 " could be old or new (%" PRIu64
          " are new), %" PRIu64 " wrong\n",
          what, tally->checked, tally->open, tally->newest, tally->wrong);
  return tally->wrong == 0;
}

static void
read_chunk (struct crash *crash, uint64_t first, uint64_t count, uint8_t *buf)
{
  struct request req = { .buf = buf };

  req.op.kind = OP_READ;
  req.op.offset = first * SECTOR;
  req.op.length = count * SECTOR;
  req.op.connection = (uint16_t) (first / CHUNK % crash->target.n);
  request_run (&crash->target, &req);
  if (req.error)
    die ("reading at %" PRIu64 ": %s", first * SECTOR, strerror (req.error));
}

bool
crash_verify (struct crash *crash, bool exact)
{
  struct tally tally = { 0 };
  uint8_t *buf = xcalloc (CHUNK, SECTOR);
  uint64_t first, n;

  for (first = 0; first < crash->sectors.n; first += n) {
    n = crash->sectors.n - first;
    n = n < CHUNK ? n : CHUNK;
    read_chunk (crash, first, n, buf);
    sectors_check (&crash->sectors, first, n, buf, exact, &tally);
    sectors_rebase (&crash->sectors, first, n, buf);
  }
  sectors_begin_epoch (&crash->sectors);
  free (buf);
  return sum_up (&tally, "disk");
}

bool
crash_verify_file (struct crash *crash, const char *path, bool exact)
{
  struct tally tally = { 0 };
  uint8_t *buf = xcalloc (CHUNK, SECTOR);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  uint64_t first, n;

  if (fd < 0)
    die ("%s: %s", path, strerror (errno));
  for (first = 0; first < crash->sectors.n; first += n) {
    n = crash->sectors.n - first;
    n = n < CHUNK ? n : CHUNK;
    read_all (fd, path, buf, n * SECTOR);
    sectors_check (&crash->sectors, first, n, buf, exact, &tally);
  }
  close (fd);
  free (buf);
  return sum_up (&tally, "file");
}
