/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where messages go.  nbdkit has a log for errors, each of which says that it is
 * one, and shows nothing else without -v.  What is no error goes the same way,
 * to standard error or the system log, but by ourselves.
 */

#ifndef FOLIO_LOG_H
#define FOLIO_LOG_H

#include "fs/env.h"
#include "plugin/cmdline.h"

/* Where nbdkit's log goes to: once it has forked, in the background if it did.
 * Until this is called it is standard error.
 */
extern void log_start (enum cmdline_log log, bool background);

/* From now on errors bypass nbdkit's log too, and no lock is taken that a thread
 * of nbdkit's may hold for ever; debug messages are dropped.
 */
extern void log_bypass (void);

/* For struct env: from any thread. */
extern void log_message (struct env *env, enum log_level level,
                         const char *message);

#endif /* FOLIO_LOG_H */
