/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * JSON on standard output.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "img/json.h"
#include "img/say.h"

static int
print (json_t *json, size_t flags)
{
  int r = json ? json_dumpf (json, stdout, flags) : -1;

  if (json == NULL)
    say_error ("out of memory");
  json_decref (json);
  return json == NULL ? -ENOMEM : r < 0 ? -EIO : 0; /* stdout's: main says so */
}

int
json_print (json_t *json)
{
  int r = print (json, JSON_INDENT (2));

  putchar ('\n');
  return r;
}

int
json_print_element (json_t *json, bool first)
{
  fputs (first ? "[\n  " : ",\n  ", stdout);
  return print (json, 0);
}

void
json_print_end (bool empty)
{
  puts (empty ? "[]" : "\n]");
}
