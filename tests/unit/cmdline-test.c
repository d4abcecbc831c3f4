/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What nbdkit's command line says of reading only, the log, --run and the user.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/cmdline.h"

static struct cmdline
parse (const char *line)
{
  struct cmdline cmdline = { 0 };
  char *copy = strdup (line), *save, *arg;

  assert_non_null (copy);
  for (arg = strtok_r (copy, " ", &save); arg;
       arg = strtok_r (NULL, " ", &save))
    cmdline_take (&cmdline, arg);
  free (copy);
  return cmdline;
}

static bool
is_readonly (const char *line)
{
  return parse (line).readonly;
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
test_log (void **state)
{
  (void) state;
  assert_int_equal (parse ("folio d").log, CMDLINE_LOG_DEFAULT);
  assert_int_equal (parse ("--log=stderr folio d").log, CMDLINE_LOG_STDERR);
  assert_int_equal (parse ("--log stderr folio d").log, CMDLINE_LOG_STDERR);
  assert_int_equal (parse ("--log=syslog -r d").log, CMDLINE_LOG_SYSLOG);
  assert_int_equal (parse ("--log=syslog --log null").log, CMDLINE_LOG_NULL);
  assert_int_equal (parse ("--run --log=null d").log, CMDLINE_LOG_DEFAULT);
  assert_int_equal (parse ("--log syslog -P null").log, CMDLINE_LOG_SYSLOG);
  assert_int_equal (parse ("--long-options").log, CMDLINE_LOG_DEFAULT);
  assert_int_equal (parse ("-- --log=null").log, CMDLINE_LOG_DEFAULT);
}

static void
test_run (void **state)
{
  (void) state;
  assert_true (parse ("folio d --run x").run);
  assert_true (parse ("--run=x folio d").run);
  assert_true (parse ("--ru x folio d").run);
  assert_false (parse ("-e --run folio d").run);
  assert_false (parse ("folio d -- --run").run);
  assert_false (parse ("--read-only folio d").run);
}

static void
test_user (void **state)
{
  (void) state;
  assert_true (parse ("-u nobody folio d").user);
  assert_true (parse ("-funobody folio d").user);
  assert_true (parse ("--user=nobody folio d").user);
  assert_true (parse ("--user nobody folio d").user);
  assert_false (parse ("-g nobody folio d").user);
  assert_false (parse ("-U - folio d").user);
  assert_false (parse ("-P -u folio d").user);
  assert_false (parse ("--unix=u folio user").user);
}

static void
test_nothing_here (void **state)
{
  struct cmdline cmdline;

  (void) state;
  cmdline_read (&cmdline);
  assert_false (cmdline.readonly);
  assert_false (cmdline.run);
  assert_false (cmdline.user);
  assert_int_equal (cmdline.log, CMDLINE_LOG_DEFAULT);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_cmdline),      cmocka_unit_test (test_log),
    cmocka_unit_test (test_run),          cmocka_unit_test (test_user),
    cmocka_unit_test (test_nothing_here),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
