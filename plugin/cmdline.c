/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether nbdkit runs with -r, read from its command line.
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
take_long (struct cmdline *cmdline, const char *name)
{
  size_t len = strcspn (name, "=");

  if (len == 0)
    cmdline->ended = true;
  else if (is_any (name, len, long_readonly))
    cmdline->readonly = true;
  else if (name[len] == '\0' && is_any (name, len, long_with_argument))
    cmdline->skip = true;
}

static void
take_short (struct cmdline *cmdline, const char *letters)
{
  for (; *letters; letters++) {
    if (*letters == 'r')
      cmdline->readonly = true;
    if (strchr (short_with_argument, *letters)) {
      cmdline->skip = letters[1] == '\0';
      return;
    }
  }
}

void
cmdline_take (struct cmdline *cmdline, const char *arg)
{
  if (cmdline->skip)
    cmdline->skip = false;
  else if (cmdline->ended || arg[0] != '-' || arg[1] == '\0')
    ;
  else if (arg[1] == '-')
    take_long (cmdline, arg + 2);
  else
    take_short (cmdline, arg + 1);
}

bool
cmdline_readonly (void)
{
  struct cmdline cmdline = { false, false, false };
  FILE *fp = fopen ("/proc/self/cmdline", "re");
  char *arg = NULL;
  size_t size = 0;

  if (fp == NULL)
    return false;
  if (getdelim (&arg, &size, '\0', fp) > 0) { /* the program's name */
    while (getdelim (&arg, &size, '\0', fp) > 0)
      cmdline_take (&cmdline, arg);
  }
  free (arg);
  fclose (fp);
  return cmdline.readonly;
}
