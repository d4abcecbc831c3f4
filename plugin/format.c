/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The formats there are.
 */

#include "fs/raw/raw.h"
#include "plugin/format.h"

const char *const format_names[] = { "raw", NULL };

static int (*const openers[]) (struct store *store, struct fs **fs) = {
  raw_open,
};

_Static_assert(sizeof format_names / sizeof *format_names ==
                 sizeof openers / sizeof *openers + 1,
               "each format has a name and can be opened");

int
format_open (unsigned format, struct store *store, struct fs **fs)
{
  return openers[format](store, fs);
}
