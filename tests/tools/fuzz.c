/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol fuzzer: see fuzz.h.  Requests go one by one over any of a few
 * connections, or in bursts, each of which keeps to its own part of the disk.
 */

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define MAX_AREA (UINT64_C (8) << 20)

static const char usage[] =
  "usage: fuzz --socket PATH [OPTION...]\n"
  "  --seed N               [a fresh one]\n"
  "  --requests N           [2000]\n"
  "  --partial-fast-zero    one that is declined may have zeroed a part\n"
  "  --save FILE            write what the disk's beginning must hold\n";

static const struct option options[] = {
  { "socket", required_argument, NULL, 'k' },
  { "seed", required_argument, NULL, 's' },
  { "requests", required_argument, NULL, 'n' },
  { "partial-fast-zero", no_argument, NULL, 'p' },
  { "save", required_argument, NULL, 'o' },
  { NULL, 0, NULL, 0 },
};

void
fuzz_fail (struct fuzz *fuzz, const char *fmt, ...)
{
  va_list args;
  unsigned i;

  fflush (stdout);
  fprintf (stderr, "fuzz: seed %" PRIu64 ", request %" PRIu64 ": ", fuzz->seed,
           fuzz->sent);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fprintf (stderr, "\n");
  for (i = 0; i < fuzz->nr_burst; i++) {
    const struct request *r = &fuzz->burst[i];

    fprintf (stderr,
             "  command %u flags 0x%x offset %" PRIu64 " count %" PRIu32 ": ",
             r->cmd, r->flags, r->offset, r->count);
    fprintf (stderr, r->answered ? "answer %u\n" : "no answer\n", r->error);
  }
  exit (1);
}

/* --- connections --- */

static void
reopen (struct fuzz *fuzz, struct wire *wire)
{
  bool structured = rng_chance (&fuzz->rng, 75);
  bool status = rng_chance (&fuzz->rng, 75);

  wire_open (fuzz, wire, structured, status);
}

/* Requests of the burst are over with. */
static void
forget_burst (struct fuzz *fuzz)
{
  unsigned i;

  for (i = 0; i < fuzz->nr_burst; i++) {
    free (fuzz->burst[i].data);
    free (fuzz->burst[i].extents);
  }
  fuzz->nr_burst = 0;
}

/* End the connection in some way, none of which concerns the others.  Nothing is
 * under way on it: nbdkit 1.32.5 may abort then.
 */
static void
be_rude (struct fuzz *fuzz, struct wire *wire)
{
  struct request *r = &fuzz->burst[0];
  uint64_t how = rng_below (&fuzz->rng, 5);
  size_t n;

  generate (fuzz, wire, r, 0, 0);
  fuzz->nr_burst = 1;
  n = rng_below (&fuzz->rng, 28 + (r->cmd == CMD_WRITE ? r->count : 0));
  if (how == 0)
    wire_send_part (fuzz, wire, r, (uint32_t) rng_next (&fuzz->rng), 28);
  else if (how == 1) {
    *r = (struct request) { .cmd = CMD_DISC, .flags = r->flags };
    wire_send (fuzz, wire, r);
  }
  else if (how == 2) { /* too much to be taken, even to be thrown away */
    free (r->data);
    *r = (struct request) { .cmd = CMD_WRITE, .count = 3 * MAX_REQUEST };
    wire_send (fuzz, wire, r);
  }
  else if (how == 3)
    wire_send_part (fuzz, wire, r, REQUEST_MAGIC, n);
  if (how < 3)
    wire_expect_end (fuzz, wire);
  forget_burst (fuzz);
  fuzz->rude++;
  wire_close (wire);
  reopen (fuzz, wire);
}

/* --- requests --- */

/* Read what a fast zero that was declined has left. */
static void
see_what_is_left (struct fuzz *fuzz, struct wire *wire,
                  const struct request *zero)
{
  struct request was = *zero, *r = &fuzz->burst[0];
  uint64_t i;

  forget_burst (fuzz);
  *r = (struct request) { .cmd = CMD_READ,
                          .offset = was.offset,
                          .count = was.count };
  if (was.offset >= fuzz->area)
    return;
  if (was.count > fuzz->area - was.offset)
    r->count = (uint32_t) (fuzz->area - was.offset);
  r->data = xcalloc (1, r->count);
  fuzz->nr_burst = 1;
  wire_send (fuzz, wire, r);
  wire_receive (fuzz, wire);
  for (i = 0; r->error == 0 && i < r->count; i++)
    if (r->data[i] == 0)
      fuzz->disk[r->offset + i] = 0;
  check (fuzz, wire, r);
}

static void
send_one (struct fuzz *fuzz, struct wire *wire)
{
  struct request *r = &fuzz->burst[0];

  generate (fuzz, wire, r, 0, 0);
  fuzz->nr_burst = 1;
  fuzz->sent++;
  wire_send (fuzz, wire, r);
  wire_receive (fuzz, wire);
  check (fuzz, wire, r);
  if (r->error == ERR_ENOTSUP && fuzz->partial)
    see_what_is_left (fuzz, wire, r);
  forget_burst (fuzz);
}

static void
send_burst (struct fuzz *fuzz, struct wire *wire)
{
  uint64_t slice = fuzz->area / MAX_BURST;
  unsigned i;

  for (i = 0; i < MAX_BURST; i++) {
    generate (fuzz, wire, &fuzz->burst[i], i * slice, (i + 1) * slice);
    if (fuzz->partial)
      fuzz->burst[i].flags &= (uint16_t) ~CMD_FAST_ZERO;
  }
  fuzz->nr_burst = MAX_BURST;
  for (i = 0; i < MAX_BURST; i++, fuzz->sent++)
    wire_send (fuzz, wire, &fuzz->burst[i]);
  wire_receive (fuzz, wire);
  for (i = 0; i < MAX_BURST; i++)
    check (fuzz, wire, &fuzz->burst[i]);
  forget_burst (fuzz);
}

/* Read all that is looked at: into disk, or to compare it. */
static void
read_disk (struct fuzz *fuzz, struct wire *wire, bool compare)
{
  struct request *r = &fuzz->burst[0];
  uint64_t at;

  for (at = 0; at < fuzz->area; at += r->count) {
    *r = (struct request) { .cmd = CMD_READ, .offset = at, .count = 1 << 20 };
    if (r->count > fuzz->area - at)
      r->count = (uint32_t) (fuzz->area - at);
    r->data = xcalloc (1, r->count);
    fuzz->nr_burst = 1;
    wire_send (fuzz, wire, r);
    wire_receive (fuzz, wire);
    if (r->error)
      fuzz_fail (fuzz, "the disk cannot be read: %u", r->error);
    if (!compare)
      memcpy (fuzz->disk + at, r->data, r->count);
    check (fuzz, wire, r);
    forget_burst (fuzz);
  }
}

static void
run (struct fuzz *fuzz)
{
  struct wire *wire;
  unsigned i;

  for (i = 0; i < NR_WIRES; i++)
    reopen (fuzz, &fuzz->wires[i]);
  fuzz->area = fuzz->wires[0].size < MAX_AREA ? fuzz->wires[0].size : MAX_AREA;
  fuzz->disk = xcalloc (1, fuzz->area);
  read_disk (fuzz, &fuzz->wires[0], false);
  while (fuzz->sent < fuzz->requests) {
    wire = &fuzz->wires[rng_below (&fuzz->rng, NR_WIRES)];
    if (rng_chance (&fuzz->rng, 1))
      be_rude (fuzz, wire);
    else if (rng_chance (&fuzz->rng, 10))
      send_burst (fuzz, wire);
    else
      send_one (fuzz, wire);
  }
  read_disk (fuzz, &fuzz->wires[0], true);
  for (i = 0; i < NR_WIRES; i++)
    wire_close (&fuzz->wires[i]);
}

static void
save (const struct fuzz *fuzz)
{
  int fd = open (fuzz->save, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

  if (fd < 0)
    die ("%s: cannot be opened", fuzz->save);
  write_all (fd, fuzz->save, fuzz->disk, fuzz->area);
  close (fd);
}

int
main (int argc, char **argv)
{
  struct fuzz fuzz = { .seed = fresh_seed (), .requests = 2000 };
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 'k': fuzz.socket = optarg; break;
    case 's': fuzz.seed = strtoull (optarg, NULL, 0); break;
    case 'n': fuzz.requests = strtoull (optarg, NULL, 0); break;
    case 'p': fuzz.partial = true; break;
    case 'o': fuzz.save = optarg; break;
    default: fputs (usage, stderr); return 2;
    }
  }
  if (fuzz.socket == NULL || optind != argc) {
    fputs (usage, stderr);
    return 2;
  }
  printf ("fuzz: seed %" PRIu64 "\n", fuzz.seed);
  fflush (stdout);
  fuzz.rng.state = fuzz.seed;
  run (&fuzz);
  if (fuzz.save)
    save (&fuzz);
  printf ("fuzz: ok, %" PRIu64 " requests, %" PRIu64 " refused, %" PRIu64
          " connections broken\n",
          fuzz.sent, fuzz.refused, fuzz.rude);
  free (fuzz.disk);
  return 0;
}
