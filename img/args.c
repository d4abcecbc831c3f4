/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The options and operands of a command.
 */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "img/args.h"
#include "img/say.h"
#include "plugin/parse.h"

static const struct {
  const char *name;
  int letter;        /* 0: none */
  const char *value; /* NULL: it takes none */
  const char *help;
} options[OPT_MAX] = {
  [OPT_SIZE] = { "size", 's', "SIZE", "of the disk, as 10G" },
  [OPT_STORE_SIZE] = { "store-size", 0, "SIZE",
                       "of the file that is made; the default has room for "
                       "all of the disk" },
  [OPT_BLOCK_SIZE] = { "block-size", 0, "SIZE", "of allocation: 4k" },
  [OPT_PREALLOCATE] = { "preallocate", 0, NULL,
                        "take all of the store's space now" },
  [OPT_FORCE] = { "force", 0, NULL, "overwrite a store that holds something" },
  [OPT_JSON] = { "json", 0, NULL, "print JSON" },
  [OPT_REPAIR] = { "repair", 0, NULL, "repair what can be repaired" },
  [OPT_SALVAGE] = { "salvage", 0, NULL,
                    "copy what is left of a damaged thin disk" },
  [OPT_SNAPSHOT] = { "snapshot", 0, "NAME", "not the disk but its snapshot" },
  [OPT_FROM] = { "from", 'f', "FORMAT", "of the first store: raw or thin" },
  [OPT_TO] = { "to", 'O', "FORMAT", "of the target: raw or thin" },
  [OPT_OTHER] = { "other", 'F', "FORMAT", "of the second store: raw or thin" },
  [OPT_QUIET] = { "quiet", 'q', NULL, "no progress bar, no summary" },
};

/* getopt's values for options: their letters, or past all of these. */
static int
code_of (unsigned option)
{
  return options[option].letter ? options[option].letter
                                : CHAR_MAX + 1 + (int) option;
}

/* What the command takes, for getopt. */
static void
list_options (unsigned taken, char *letters, struct option *longs)
{
  unsigned i;

  *letters++ = ':'; /* say what is wrong by another value than '?' */
  for (i = 0; i < OPT_MAX; i++) {
    if (!(taken & 1u << i))
      continue;
    *longs++ = (struct option) { options[i].name, options[i].value != NULL,
                                 NULL, code_of (i) };
    if (options[i].letter) {
      *letters++ = (char) options[i].letter;
      if (options[i].value)
        *letters++ = ':';
    }
  }
  *letters = '\0';
  *longs = (struct option) { 0 };
}

static int
refuse_option (const struct img_command *command, int c, char **argv)
{
  const char *word = argv[optind - 1];
  char letter[3] = { '-', (char) optopt, '\0' };

  if (optopt > 0 && optopt <= CHAR_MAX)
    word = letter;
  if (c == ':')
    say_error ("%s: %s needs a value", command->name, word);
  else
    say_error ("%s: no such option, %s; it takes: %s", command->name, word,
               command->synopsis);
  return -EINVAL;
}

static int
take_option (struct img_args *args, int c)
{
  unsigned i;

  for (i = 0; i < OPT_MAX; i++)
    if (c == code_of (i))
      break;
  if (args->option[i]) {
    say_error ("%s: --%s is given twice", args->command->name, options[i].name);
    return -EINVAL;
  }
  args->option[i] = optarg ? optarg : "";
  return 0;
}

static int
take_operands (struct img_args *args, int argc, char **argv)
{
  const struct img_command *command = args->command;
  int i, n = argc - optind;

  if (n < command->min || n > command->max) {
    say_error ("%s: too %s operands; it takes: %s", command->name,
               n < command->min ? "few" : "many", command->synopsis);
    return -EINVAL;
  }
  for (i = 0; i < n; i++) {
    args->operand[i] = argv[optind + i];
    if (argv[optind + i][0] == '\0') {
      say_error ("%s: an operand is empty; it takes: %s", command->name,
                 command->synopsis);
      return -EINVAL;
    }
  }
  args->operands = n;
  return 0;
}

int
args_parse (struct img_args *args, const struct img_command *command, int argc,
            char **argv)
{
  struct option longs[OPT_MAX + 1];
  char letters[2 * OPT_MAX + 2];
  int c, r;

  *args = (struct img_args) { .command = command };
  list_options (command->options, letters, longs);
  opterr = 0;
  optind = 1;
  while ((c = getopt_long (argc, argv, letters, longs, NULL)) != -1) {
    if (c == '?' || c == ':')
      return refuse_option (command, c, argv);
    r = take_option (args, c);
    if (r < 0)
      return r;
  }
  return take_operands (args, argc, argv);
}

void
args_help (const struct img_command *command)
{
  char left[40];
  unsigned i;

  for (i = 0; i < OPT_MAX; i++) {
    if (!(command->options & 1u << i))
      continue;
    snprintf (left, sizeof left, "--%s%s%s", options[i].name,
              options[i].value ? " " : "",
              options[i].value ? options[i].value : "");
    if (options[i].letter)
      printf ("  -%c, %-20s %s\n", options[i].letter, left, options[i].help);
    else
      printf ("      %-20s %s\n", left, options[i].help);
  }
}

int
args_size_of (const char *what, const char *value, uint64_t min, uint64_t max,
              uint64_t *size)
{
  enum parse_result r = parse_size (value, size);
  char low[24], high[24];

  if (r == PARSE_OK && *size >= min && *size <= max)
    return 0;
  format_size (low, sizeof low, min);
  format_size (high, sizeof high, max);
  say_error ("%s %s: %s; allowed: %s to %s, as 512M or 10G", what, value,
             r == PARSE_OK        ? *size < min ? "too small" : "too large"
             : r == PARSE_SUFFIX  ? "no such unit"
             : r == PARSE_TOO_BIG ? "too large"
                                  : "not a size",
             low, high);
  return -EINVAL;
}

int
args_size (const struct img_args *args, enum img_option option, uint64_t min,
           uint64_t max, uint64_t *size)
{
  char what[24];

  if (!args_given (args, option))
    return 0;
  snprintf (what, sizeof what, "--%s", options[option].name);
  return args_size_of (what, args->option[option], min, max, size);
}

int
args_choice (const struct img_args *args, enum img_option option,
             const char *const *choices, unsigned *choice)
{
  char allowed[100];
  size_t used = 0;
  unsigned i;

  if (!args_given (args, option))
    return 0;
  for (i = 0; choices[i]; i++)
    if (strcmp (args->option[option], choices[i]) == 0) {
      *choice = i;
      return 0;
    }
  for (i = 0; choices[i] && used < sizeof allowed; i++)
    used += (size_t) snprintf (allowed + used, sizeof allowed - used, "%s%s",
                               i ? ", " : "", choices[i]);
  say_error ("--%s %s: no such choice; allowed: %s", options[option].name,
             args->option[option], allowed);
  return -EINVAL;
}
