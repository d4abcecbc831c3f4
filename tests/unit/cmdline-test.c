/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What nbdkit's command line says of reading only.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/cmdline.h"

static bool
is_readonly (const char *line)
{
  struct cmdline cmdline = { false, false, false };
  char *copy = strdup (line), *save, *arg;

  assert_non_null (copy);
  for (arg = strtok_r (copy, " ", &save); arg;
       arg = strtok_r (NULL, " ", &save))
    cmdline_take (&cmdline, arg);
  free (copy);
  return cmdline.readonly;
}

static void
test_cmdline (void **state)
{
  (void) state;
  assert_true (is_readonly ("-r folio d"));
  assert_true (is_readonly ("folio d -r"));
  assert_true (is_readonly ("-fr folio d"));
  assert_true (is_readonly ("-rU - folio d"));
  assert_true (is_readonly ("--read-only folio d"));
  assert_true (is_readonly ("--readonly folio d"));
  assert_true (is_readonly ("--reado folio d"));
  assert_true (is_readonly ("-U sock -P pid -r folio d"));
  assert_true (is_readonly ("--filter=delay -r folio d"));
  assert_true (is_readonly ("--filter delay -r folio d"));
  assert_true (is_readonly ("--vsock -r folio d"));
  assert_true (is_readonly ("-p - -r folio d"));

  assert_false (is_readonly ("folio d"));
  assert_false (is_readonly ("folio r readonly"));
  assert_false (is_readonly ("-f -v folio d"));
  assert_false (is_readonly ("-U -r folio d"));
  assert_false (is_readonly ("-Ur folio d"));
  assert_false (is_readonly ("-e -r folio d"));
  assert_false (is_readonly ("--export -r folio d"));
  assert_false (is_readonly ("--run --readonly folio d"));
  assert_false (is_readonly ("--run=x folio -- -r"));
  assert_false (is_readonly ("folio -"));
  assert_false (is_readonly (""));
}

static void
test_no_readonly_here (void **state)
{
  (void) state;
  assert_false (cmdline_readonly ());
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_cmdline),
    cmocka_unit_test (test_no_readonly_here),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
