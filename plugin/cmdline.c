/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit's command line.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/cmdline.h"

/* nbdkit's options that take an argument, long and short. */
static const char *const long_with_argument[] = {
  "debug",         "export",
  "export-name",   "exportname",
  "filter",        "group",
  "ip-addr",       "ipaddr",
  "log",           "mask-handshake",
  "pid-file",      "pidfile",
  "port",          "run",
  "selinux-label", "threads",
  "tls",           "tls-certificates",
  "tls-psk",       "unix",
  "user",          NULL,
};
static const char short_with_argument[] = "DegiPptUu";

static const char *const long_readonly[] = { "read-only", "readonly", NULL };
static const char *const long_run[] = { "run", NULL };
static const char *const long_user[] = { "user", NULL };

/* Long options may be abbreviated, and are unambiguous here. */
static bool
is_any (const char *name, size_t len, const char *const *options)
{
  for (; *options; options++) {
    if (strncmp (name, *options, len) == 0)
      return true;
  }
  return false;
}

static void
take_log (struct cmdline *cmdline, const char *value)
{
  static const char *const names[] = {
    [CMDLINE_LOG_STDERR] = "stderr",
    [CMDLINE_LOG_SYSLOG] = "syslog",
    [CMDLINE_LOG_NULL] = "null",
  };
  unsigned i;

  for (i = CMDLINE_LOG_STDERR; i <= CMDLINE_LOG_NULL; i++) {
    if (strcmp (value, names[i]) == 0)
      cmdline->log = (enum cmdline_log) i;
  }
}

static void
take_long (struct cmdline *cmdline, const char *name)
{
  size_t len = strcspn (name, "=");
  bool alone = name[len] == '\0';
  bool log = len == 3 && strncmp (name, "log", len) == 0; /* no less */

  if (len == 0) {
    cmdline->ended = true;
    return;
  }
  if (is_any (name, len, long_readonly))
    cmdline->readonly = true;
  if (is_any (name, len, long_run))
    cmdline->run = true;
  if (is_any (name, len, long_user))
    cmdline->user = true;
  if (log && !alone)
    take_log (cmdline, name + len + 1);
  cmdline->skip = alone && is_any (name, len, long_with_argument);
  cmdline->skip_is_log = log;
}

static void
take_short (struct cmdline *cmdline, const char *letters)
{
  for (; *letters; letters++) {
    if (*letters == 'r')
      cmdline->readonly = true;
    if (*letters == 'u')
      cmdline->user = true;
    if (strchr (short_with_argument, *letters)) {
      cmdline->skip = letters[1] == '\0';
      cmdline->skip_is_log = false;
      return;
    }
  }
}

void
cmdline_take (struct cmdline *cmdline, const char *arg)
{
  if (cmdline->skip) {
    if (cmdline->skip_is_log)
      take_log (cmdline, arg);
    cmdline->skip = false;
  }
  else if (cmdline->ended || arg[0] != '-' || arg[1] == '\0')
    ;
  else if (arg[1] == '-')
    take_long (cmdline, arg + 2);
  else
    take_short (cmdline, arg + 1);
}

void
cmdline_read (struct cmdline *cmdline)
{
  FILE *fp = fopen ("/proc/self/cmdline", "re");
  char *arg = NULL;
  size_t size = 0;

  memset (cmdline, 0, sizeof *cmdline);
  if (fp == NULL)
    return;
  if (getdelim (&arg, &size, '\0', fp) > 0) { /* the program's name */
    while (getdelim (&arg, &size, '\0', fp) > 0)
      cmdline_take (cmdline, arg);
  }
  free (arg);
  fclose (fp);
}
