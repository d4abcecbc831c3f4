/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The options and operands of a command.
 */

#ifndef FOLIO_IMG_ARGS_H
#define FOLIO_IMG_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "img/img.h"

/* All options there are; what a command takes of them, struct img_command says. */
enum img_option {
  OPT_SIZE,
  OPT_STORE_SIZE,
  OPT_BLOCK_SIZE,
  OPT_PREALLOCATE,
  OPT_FORCE,
  OPT_JSON,
  OPT_REPAIR,
  OPT_SALVAGE,
  OPT_SNAPSHOT,
  OPT_FROM,
  OPT_TO,
  OPT_OTHER,
  OPT_QUIET,
  OPT_MAX
};

#define OPT(x) (1u << OPT_##x)
#define MAX_OPERANDS 3

struct img_command {
  const char *name;
  const char *synopsis; /* its options and operands, for readers */
  const char *help;     /* what it does, in one line */
  unsigned options;     /* bits OPT (x) */
  int min, max;         /* operands */
  img_command_fn *run;
  int usage_status; /* if not IMG_USAGE */
};

struct img_args {
  const struct img_command *command;
  const char
    *option[OPT_MAX]; /* its value, or "" of one without; NULL: not given */
  const char *operand[MAX_OPERANDS];
  int operands;
};

/* Take them apart; argv[0] is the command's name.  Returns 0; or -EINVAL, and has
 * said what was wrong.
 */
extern int args_parse (struct img_args *args, const struct img_command *command,
                       int argc, char **argv);

/* Print a line for each option that the command takes. */
extern void args_help (const struct img_command *command);

static inline bool
args_given (const struct img_args *args, enum img_option option)
{
  return args->option[option] != NULL;
}

/* The option's size in bytes, from min to max; *size is left if it was not given.
 * Returns 0; or -EINVAL, and has said what was wrong.
 */
extern int args_size (const struct img_args *args, enum img_option option,
                      uint64_t min, uint64_t max, uint64_t *size);

/* The same of a word from a command line that stands for what. */
extern int args_size_of (const char *what, const char *value, uint64_t min,
                         uint64_t max, uint64_t *size);

/* The option's value is one of choices, NULL after the last; *choice is left if it was
 * not given.  Returns as args_size.
 */
extern int args_choice (const struct img_args *args, enum img_option option,
                        const char *const *choices, unsigned *choice);

#endif /* FOLIO_IMG_ARGS_H */
