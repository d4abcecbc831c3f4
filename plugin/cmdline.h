/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether nbdkit runs with -r.  It tells a plugin so only when a client opens
 * the disk, but a file must be opened and locked, or refused, at start: so
 * this reads the server's command line.
 */

#ifndef FOLIO_CMDLINE_H
#define FOLIO_CMDLINE_H

#include <stdbool.h>

/* A command line being read, argument by argument; begin with all false. */
struct cmdline {
  bool readonly; /* -r was there */
  bool skip;     /* the next argument belongs to the last option */
  bool ended;    /* no options come any more */
};

/* Take the next argument after the program's name.  nbdkit has parsed all of
 * them before, so they are not wrong.
 */
extern void cmdline_take (struct cmdline *cmdline, const char *arg);

/* Does this process run with -r?  False if that can't be found out. */
extern bool cmdline_readonly (void);

#endif /* FOLIO_CMDLINE_H */
