/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What nbdkit's command line says of reading only, the log, --run and the user.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/cmdline.h"
#include "tests/unit/test.h"

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

TEST (cmdline)
{
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

TEST (log)
{
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

TEST (run)
{
  assert_true (parse ("folio d --run x").run);
  assert_true (parse ("--run=x folio d").run);
  assert_true (parse ("--ru x folio d").run);
  assert_false (parse ("-e --run folio d").run);
  assert_false (parse ("folio d -- --run").run);
  assert_false (parse ("--read-only folio d").run);
}

TEST (user)
{
  assert_true (parse ("-u nobody folio d").user);
  assert_true (parse ("-funobody folio d").user);
  assert_true (parse ("--user=nobody folio d").user);
  assert_true (parse ("--user nobody folio d").user);
  assert_false (parse ("-g nobody folio d").user);
  assert_false (parse ("-U - folio d").user);
  assert_false (parse ("-P -u folio d").user);
  assert_false (parse ("--unix=u folio user").user);
}

TEST (nothing_here)
{
  struct cmdline cmdline;

  cmdline_read (&cmdline);
  assert_false (cmdline.readonly);
  assert_false (cmdline.run);
  assert_false (cmdline.user);
  assert_int_equal (cmdline.log, CMDLINE_LOG_DEFAULT);
}

RUN_TESTS ()
