/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What of nbdkit's command line it does not tell its plugins, or too late:
 * whether it runs with -r (it says so only when a client opens the disk, but a file
 * must be opened and locked, or refused, at start), where its log goes, and whether
 * it changes its user after that.
 */

#ifndef FOLIO_CMDLINE_H
#define FOLIO_CMDLINE_H

#include <stdbool.h>

enum cmdline_log {
  CMDLINE_LOG_DEFAULT, /* standard error, or syslog in the background */
  CMDLINE_LOG_STDERR,
  CMDLINE_LOG_SYSLOG,
  CMDLINE_LOG_NULL,
};

/* A command line being read, argument by argument; begin with all 0. */
struct cmdline {
  bool readonly;        /* -r was there */
  bool run;             /* --run was there */
  bool user;            /* -u was there: root's rights will be gone */
  enum cmdline_log log; /* what --log was */
  bool skip;            /* the next argument belongs to the last option ... */
  bool skip_is_log;     /* ... which is --log */
  bool ended;           /* no options come any more */
};

/* Take the next argument after the program's name.  nbdkit has parsed all of
 * them before, so they are not wrong.
 */
extern void cmdline_take (struct cmdline *cmdline, const char *arg);

/* That of this process; all 0 if that can't be found out. */
extern void cmdline_read (struct cmdline *cmdline);

#endif /* FOLIO_CMDLINE_H */
