/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test: random requests of all kinds on several
 * connections, compared byte by byte with a copy of the disk in memory.
 * This file reads the options and puts the parts together.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

struct options {
  const char *uri, *state, *base, *compare_file;
  unsigned connections, seconds, rounds;
  bool verify_only, final_verify, threads, lockstep, races, no_fast_zero;
  uint64_t size, window;
};

static const char usage[] =
  "oracle --uri URI [OPTION]...    test the server at URI\n"
  "oracle --state FILE --compare-file DISK\n"
  "  --seed N            replay the requests of an earlier run\n"
  "  --ops N             requests to make (default 10000)\n"
  "  --seconds N         stop after this time instead\n"
  "  --rounds N          change the pattern this often (default 4)\n"
  "  --connections N     (default 4)\n"
  "  --depth N           requests in flight in lock step (default 16)\n"
  "  --max-len SIZE      longest request (default 2M)\n"
  "  --size SIZE         the size that the disk, or the window, must have\n"
  "  --window OFFSET     test just SIZE bytes from there on\n"
  "  --fua PERCENT       of the changes (default 5)\n"
  "  --trim PERCENT      of the changes (default 10)\n"
  "  --zero PERCENT      of the changes (default 20)\n"
  "  --no-fast-zero      some servers zero a part and then decline\n"
  "  --phase threads|lockstep|races   do just this part of the test\n"
  "  --base FILE         the disk starts with this content, not zeroes\n"
  "  --state FILE        go on from this state if it exists; save it\n"
  "  --verify-only       compare the whole disk, do nothing else\n"
  "  --no-final-verify   do not read everything at the end\n"
  "  --compare-file DISK compare this file with the state\n";

enum { OPT_HELP = 256 };

static const struct option long_options[] = {
  { "uri", required_argument, NULL, 'u' },
  { "seed", required_argument, NULL, 's' },
  { "ops", required_argument, NULL, 'o' },
  { "seconds", required_argument, NULL, 't' },
  { "rounds", required_argument, NULL, 'r' },
  { "connections", required_argument, NULL, 'c' },
  { "depth", required_argument, NULL, 'd' },
  { "max-len", required_argument, NULL, 'm' },
  { "window", required_argument, NULL, 'w' },
  { "size", required_argument, NULL, 'z' },
  { "fua", required_argument, NULL, 'f' },
  { "trim", required_argument, NULL, 'T' },
  { "zero", required_argument, NULL, 'Z' },
  { "no-fast-zero", no_argument, NULL, 'N' },
  { "phase", required_argument, NULL, 'p' },
  { "base", required_argument, NULL, 'b' },
  { "state", required_argument, NULL, 'S' },
  { "verify-only", no_argument, NULL, 'v' },
  { "no-final-verify", no_argument, NULL, 'n' },
  { "compare-file", required_argument, NULL, 'C' },
  { "help", no_argument, NULL, OPT_HELP },
  { NULL, 0, NULL, 0 },
};

static void
parse_phase (struct options *options, const char *phase)
{
  options->threads = strcmp (phase, "threads") == 0;
  options->lockstep = strcmp (phase, "lockstep") == 0;
  options->races = strcmp (phase, "races") == 0;
  if (!options->threads && !options->lockstep && !options->races)
    die ("--phase: threads, lockstep or races");
}

static bool
parse_number (int opt, struct oracle *oracle, struct options *options)
{
  switch (opt) {
  case 's': oracle->seed = size_option ("seed", optarg); return true;
  case 'o': oracle->ops = size_option ("ops", optarg); return true;
  case 't':
    options->seconds = (unsigned) size_option ("seconds", optarg);
    return true;
  case 'r':
    options->rounds = (unsigned) size_option ("rounds", optarg);
    return true;
  case 'c':
    options->connections = (unsigned) size_option ("connections", optarg);
    return true;
  case 'd':
    oracle->depth = (unsigned) size_option ("depth", optarg);
    return true;
  case 'm': oracle->max_len = size_option ("max-len", optarg); return true;
  case 'z': options->size = size_option ("size", optarg); return true;
  case 'w': options->window = size_option ("window", optarg); return true;
  case 'f': oracle->fua = (unsigned) size_option ("fua", optarg); return true;
  case 'T': oracle->trim = (unsigned) size_option ("trim", optarg); return true;
  case 'Z': oracle->zero = (unsigned) size_option ("zero", optarg); return true;
  default: return false;
  }
}

static void
parse_one (int opt, struct oracle *oracle, struct options *options)
{
  if (parse_number (opt, oracle, options))
    return;
  switch (opt) {
  case 'u': options->uri = optarg; break;
  case 'p': parse_phase (options, optarg); break;
  case 'b': options->base = optarg; break;
  case 'S': options->state = optarg; break;
  case 'v': options->verify_only = true; break;
  case 'n': options->final_verify = false; break;
  case 'N': options->no_fast_zero = true; break;
  case 'C': options->compare_file = optarg; break;
  case OPT_HELP: fputs (usage, stdout); exit (EXIT_SUCCESS);
  default: fputs (usage, stderr); exit (EXIT_FAILURE);
  }
}

static void
parse_options (int argc, char **argv, struct oracle *oracle,
               struct options *options)
{
  int opt;

  while ((opt = getopt_long (argc, argv, "", long_options, NULL)) != -1)
    parse_one (opt, oracle, options);
  if (optind < argc || oracle->depth < 1 || oracle->max_len < 1 ||
      oracle->max_len > 32 << 20 || options->rounds < 1)
    die ("wrong options; see --help");
  if (oracle->seed == 0)
    oracle->seed = fresh_seed ();
  if (options->seconds) {
    oracle->ops = 0;
    oracle->deadline = now_ns () + options->seconds * UINT64_C (1000000000);
  }
}

static int
compare_file (struct oracle *oracle, const struct options *options)
{
  bool ok;

  if (!options->state || !image_load (&oracle->image, options->state))
    die ("--compare-file needs a state");
  ok = image_compare_file (&oracle->image, options->compare_file);
  printf ("%s: %s\n", options->compare_file, ok ? "as it should be" : "WRONG");
  image_free (&oracle->image);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void
begin (struct oracle *oracle, const struct options *options)
{
  target_open (&oracle->target, options->uri, options->connections);
  if (options->no_fast_zero)
    oracle->target.can_fast_zero = false;
  if (options->window)
    target_set_window (&oracle->target, options->window, options->size);
  if (options->size && options->size != oracle->target.size)
    die ("the disk has %" PRIu64 " bytes, not %" PRIu64, oracle->target.size,
         options->size);
  if (!options->state || !image_load (&oracle->image, options->state)) {
    image_init (&oracle->image, oracle->target.size);
    if (options->base)
      image_read_file (&oracle->image, options->base);
  }
  if (oracle->image.size != oracle->target.size)
    die ("the disk has %" PRIu64 " bytes, the state %" PRIu64,
         oracle->target.size, oracle->image.size);
  if (oracle->max_len > oracle->target.size)
    oracle->max_len = oracle->target.size;
}

static void
run_phases (struct oracle *oracle, const struct options *options)
{
  unsigned phases = options->threads + options->lockstep + options->races;
  unsigned i, rounds = options->seconds ? UINT32_MAX : options->rounds;
  uint64_t share = oracle->ops / options->rounds / phases;

  if (options->seconds)
    share = 2000;
  for (i = 0; i < rounds && oracle_goes_on (oracle, 0, 0); i++) {
    uint64_t seed = mix64 (oracle->seed + i);

    if (options->threads)
      oracle_run_threads (oracle, seed, share + 1);
    if (options->lockstep)
      oracle_run_lockstep (oracle, seed, share + 1);
    if (options->races)
      oracle_run_races (oracle, seed, share + 1);
  }
}

static int
end (struct oracle *oracle, const struct options *options)
{
  bool failed = atomic_load (&oracle->failed);

  printf ("%s: %" PRIu64 " requests, seed %" PRIu64 "\n",
          failed ? "FAILED" : "ok", (uint64_t) atomic_load (&oracle->done),
          oracle->seed);
  if (!failed && options->state)
    image_save (&oracle->image, options->state);
  target_close (&oracle->target);
  image_free (&oracle->image);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
main (int argc, char *argv[])
{
  struct oracle oracle = {
    .ops = 10000,
    .max_len = 2 << 20,
    .depth = 16,
    .fua = 5,
    .trim = 10,
    .zero = 20,
  };
  struct options options = {
    .connections = 4,
    .rounds = 4,
    .final_verify = true,
    .threads = true,
    .lockstep = true,
    .races = true,
  };

  parse_options (argc, argv, &oracle, &options);
  if (options.compare_file)
    return compare_file (&oracle, &options);
  if (!options.uri)
    die ("--uri is missing; see --help");
  printf ("oracle: seed %" PRIu64 "\n", oracle.seed);
  fflush (stdout);
  begin (&oracle, &options);
  if (!options.verify_only)
    run_phases (&oracle, &options);
  if (!oracle.failed && (options.verify_only || options.final_verify))
    oracle_verify (&oracle);
  return end (&oracle, &options);
}
