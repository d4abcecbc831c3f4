/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The crash test: keep a server busy until it is killed with SIGKILL,
 * then check what is on the disk: each sector holds its newest durable
 * data or something that was sent later, never anything else.  This file
 * reads the options and puts the parts together.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash.h"

struct options {
  const char *uri, *state, *file;
  unsigned connections;
  bool verify_only, exact;
};

static const char usage[] =
  "crash --uri URI --state FILE [OPTION]...   verify, then load\n"
  "crash --uri URI --state FILE --verify      verify through the server\n"
  "crash --state FILE --file DISK             verify the image file\n"
  "  --seed N          replay the choices of an earlier run\n"
  "  --kill-pid PID    kill the server after a while\n"
  "  --terminate       with SIGTERM, which must lose nothing\n"
  "  --abort           with SIGABRT, likewise\n"
  "  --after-ops N     that is, after N answers (default: random)\n"
  "  --expect-death    somebody else will kill the server\n"
  "  --ops N           end after N answers (default 0: never)\n"
  "  --connections N   (default 4)\n"
  "  --depth N         requests in flight (default 32)\n"
  "  --max-len SIZE    (default 256K)\n"
  "  --hot N           places written most of the time (default 8)\n"
  "  --flush PERCENT   of the requests (default 4)\n"
  "  --fua PERCENT     of the changes (default 4)\n"
  "  --holes PERCENT   of the requests, zero or trim (default 12)\n"
  "  --exact           the server ended in peace: only the newest is right\n";

enum { OPT_HELP = 256 };

static const struct option long_options[] = {
  { "uri", required_argument, NULL, 'u' },
  { "state", required_argument, NULL, 'S' },
  { "file", required_argument, NULL, 'F' },
  { "verify", no_argument, NULL, 'v' },
  { "exact", no_argument, NULL, 'e' },
  { "expect-death", no_argument, NULL, 'x' },
  { "seed", required_argument, NULL, 's' },
  { "kill-pid", required_argument, NULL, 'k' },
  { "after-ops", required_argument, NULL, 'a' },
  { "ops", required_argument, NULL, 'o' },
  { "connections", required_argument, NULL, 'c' },
  { "depth", required_argument, NULL, 'd' },
  { "max-len", required_argument, NULL, 'm' },
  { "hot", required_argument, NULL, 'h' },
  { "flush", required_argument, NULL, 'l' },
  { "fua", required_argument, NULL, 'f' },
  { "holes", required_argument, NULL, 'H' },
  { "terminate", no_argument, NULL, 't' },
  { "abort", no_argument, NULL, 'A' },
  { "help", no_argument, NULL, OPT_HELP },
  { NULL, 0, NULL, 0 },
};

static bool
parse_number (int opt, struct crash *crash, struct options *options)
{
  uint64_t n;

  switch (opt) {
  case 's':
  case 'k':
  case 'a':
  case 'o':
  case 'c':
  case 'd':
  case 'm':
  case 'h':
  case 'l':
  case 'f':
  case 'H': n = size_option ("option", optarg); break;
  default: return false;
  }
  switch (opt) {
  case 's': crash->seed = n; break;
  case 'k': crash->kill_pid = (pid_t) n; break;
  case 'a': crash->after_ops = n; break;
  case 'o': crash->ops = n; break;
  case 'c': options->connections = (unsigned) n; break;
  case 'd': crash->depth = (unsigned) n; break;
  case 'm': crash->max_len = n; break;
  case 'h': crash->hot = (unsigned) n; break;
  case 'l': crash->flush = (unsigned) n; break;
  case 'H': crash->holes = n < 60 ? (unsigned) n : 60; break;
  case 'f': crash->fua = (unsigned) n; break;
  }
  return true;
}

static void
parse_one (int opt, struct crash *crash, struct options *options)
{
  if (parse_number (opt, crash, options))
    return;
  switch (opt) {
  case 'u': options->uri = optarg; break;
  case 'S': options->state = optarg; break;
  case 'F': options->file = optarg; break;
  case 'v': options->verify_only = true; break;
  case 'e': options->exact = true; break;
  case 't': crash->terminate = true; break;
  case 'A': crash->terminate = crash->abort = true; break;
  case 'x': crash->expect_death = true; break;
  case OPT_HELP: fputs (usage, stdout); exit (EXIT_SUCCESS);
  default: fputs (usage, stderr); exit (EXIT_FAILURE);
  }
}

static void
parse_options (int argc, char **argv, struct crash *crash,
               struct options *options)
{
  int opt;

  while ((opt = getopt_long (argc, argv, "", long_options, NULL)) != -1)
    parse_one (opt, crash, options);
  if (optind < argc || !options->state || !options->uri == !options->file ||
      crash->depth < 1 || crash->max_len < SECTOR)
    die ("wrong options; see --help");
  if (crash->seed == 0)
    crash->seed = fresh_seed ();
  if (crash->kill_pid) {
    struct rng rng = { crash->seed };

    if (crash->after_ops == 0)
      crash->after_ops = 20 + rng_below (&rng, 1000);
  }
}

static int
verify_file (struct crash *crash, const struct options *options)
{
  bool ok;

  if (!sectors_load (&crash->sectors, options->state))
    die ("%s: no such file", options->state);
  ok = crash_verify_file (crash, options->file, options->exact);
  sectors_free (&crash->sectors);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main (int argc, char *argv[])
{
  struct crash crash = {
    .max_len = 256 << 10,
    .depth = 32,
    .hot = 8,
    .flush = 4,
    .fua = 4,
    .holes = 12,
  };
  struct options options = { .connections = 4 };
  bool ok = true;

  parse_options (argc, argv, &crash, &options);
  if (options.file)
    return verify_file (&crash, &options);
  printf ("crash: seed %" PRIu64 "\n", crash.seed);
  fflush (stdout);
  target_open (&crash.target, options.uri, options.connections);
  if (sectors_load (&crash.sectors, options.state))
    ok = crash_verify (&crash, options.exact);
  else
    sectors_init (&crash.sectors, crash.target.size / SECTOR,
                  mix64 (crash.seed));
  if (crash.sectors.n != crash.target.size / SECTOR)
    die ("the state is of a disk of another size");
  if (ok && !options.verify_only)
    ok = crash_load (&crash);
  if (ok)
    sectors_save (&crash.sectors, options.state);
  target_close (&crash.target);
  sectors_free (&crash.sectors);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
