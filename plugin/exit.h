/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The exit status, which is nbdkit's own but for one thing: that data was lost.
 * nbdkit asks no plugin for a status when it ends, so this is done on the way
 * out, after nbdkit has removed what it has to.  And what nbdkit may leave undone
 * when it exits by itself.
 */

#ifndef FOLIO_EXIT_H
#define FOLIO_EXIT_H

/* EX_IOERR of <sysexits.h>, by which systemd names it.  nbdkit's are 0 and 1. */
#define EXIT_DATA_LOST 74

/* In get_ready, before nbdkit forks.  Returns 0 or a negative errno. */
extern int exit_prepare (void);

/* If this process exits call fn, once, from the thread that does; NULL: none. */
extern void exit_call (void (*fn) (void));

/* The process that calls this will exit with EXIT_DATA_LOST instead of 0; and
 * with --run so will its parent, which runs the command, unless that has failed.
 */
extern void exit_data_lost (void);

#endif /* FOLIO_EXIT_H */
