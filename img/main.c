/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img: makes, looks at, checks and converts disks in the thin format.
 */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "img/args.h"
#include "img/say.h"
#include "img/stop.h"
#include "plugin/parse.h"

static const struct img_command commands[] = {
  { "create",
    "-s SIZE [--store-size SIZE] [--block-size SIZE] [--preallocate] "
    "[--force] [-q] STORE",
    "make an empty disk",
    OPT (SIZE) | OPT (STORE_SIZE) | OPT (BLOCK_SIZE) | OPT (PREALLOCATE) |
      OPT (FORCE) | OPT (QUIET),
    1, 1, img_create, 0 },
  { "info", "[--json] STORE", "tell what an image is, and how full", OPT (JSON),
    1, 1, img_info, 0 },
  { "map", "[--json] [--snapshot NAME] STORE", "tell what stands where",
    OPT (JSON) | OPT (SNAPSHOT), 1, 1, img_map, 0 },
  { "check", "[--repair] [-q] STORE", "verify an image",
    OPT (REPAIR) | OPT (QUIET), 1, 1, img_check, 16 },
  { "resize", "[--force] [-q] STORE [SIZE]",
    "change a disk's size, and take what its store has grown by",
    OPT (FORCE) | OPT (QUIET), 1, 2, img_resize, 0 },
  { "snapshot", "create|delete|revert NAME STORE, or list [--json] STORE",
    "make, delete, go back to or list snapshots", OPT (JSON), 2, 3,
    img_snapshot, 0 },
  { "convert",
    "-O raw|thin [-f raw|thin] [--snapshot NAME] [--store-size SIZE] "
    "[--salvage] [--force] [-q] FROM TO",
    "copy a disk, from one format to another",
    OPT (TO) | OPT (FROM) | OPT (SNAPSHOT) | OPT (STORE_SIZE) | OPT (SALVAGE) |
      OPT (FORCE) | OPT (QUIET),
    2, 2, img_convert, 0 },
  { "compare", "[-f raw|thin] [-F raw|thin] [--snapshot NAME] [-q] ONE OTHER",
    "see whether two disks hold the same",
    OPT (FROM) | OPT (OTHER) | OPT (SNAPSHOT) | OPT (QUIET), 2, 2, img_compare,
    0 },
};

#define NR_COMMANDS (sizeof commands / sizeof *commands)

static void
print_help (void)
{
  size_t i;

  puts (
    "Usage: folio-img COMMAND [OPTION...] STORE...\n"
    "\n"
    "STORE is a file or block device, PATH or file:PATH, or an NBD server's "
    "disk,\n"
    "nbd://HOST/EXPORT, nbds://, nbd+unix:// or nbds+unix://.\n");
  for (i = 0; i < NR_COMMANDS; i++)
    printf ("  %-9s %s\n", commands[i].name, commands[i].help);
  puts ("\nfolio-img COMMAND --help tells of one, folio-img(1) of all.");
}

static int
help_command (const struct img_command *command)
{
  printf ("Usage: folio-img %s %s\n\nTo %s.\n\n", command->name,
          command->synopsis, command->help);
  args_help (command);
  return IMG_OK;
}

static int
refuse_command (const char *name)
{
  unsigned distance, best = 3;
  const char *nearest = NULL;
  size_t i;

  for (i = 0; i < NR_COMMANDS; i++) {
    distance = edit_distance (name, commands[i].name);
    if (distance < best) {
      best = distance;
      nearest = commands[i].name;
    }
  }
  say_error ("%s: no such command%s%s%s; see folio-img --help", name,
             nearest ? ", did you mean " : "", nearest ? nearest : "",
             nearest ? "?" : "");
  return IMG_USAGE;
}

static int
run_command (const struct img_command *command, int argc, char **argv)
{
  struct img_args args;
  int i, status;

  for (i = 1; i < argc; i++)
    if (strcmp (argv[i], "--help") == 0)
      return help_command (command);
  if (args_parse (&args, command, argc, argv) < 0)
    return command->usage_status ? command->usage_status : IMG_USAGE;
  stop_catch ();
  status = command->run (&args);
  if (status == IMG_STOPPED)
    say_error ("stopped");
  if (fflush (stdout) != 0 || ferror (stdout)) {
    say_error ("%s: standard output cannot be written", command->name);
    return status ? status : IMG_FAILED;
  }
  return status;
}

int
main (int argc, char **argv)
{
  size_t i;

  if (argc < 2) {
    say_error ("no command; see folio-img --help");
    return IMG_USAGE;
  }
  if (strcmp (argv[1], "--help") == 0 || strcmp (argv[1], "-h") == 0) {
    print_help ();
    return IMG_OK;
  }
  if (strcmp (argv[1], "--version") == 0) {
    puts ("folio-img (nbdkit-folio) " FOLIO_VERSION);
    return IMG_OK;
  }
  for (i = 0; i < NR_COMMANDS; i++)
    if (strcmp (argv[1], commands[i].name) == 0)
      return run_command (&commands[i], argc - 1, argv + 1);
  return refuse_command (argv[1]);
}
