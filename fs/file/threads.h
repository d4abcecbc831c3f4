/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: the engine that is some threads.
 */

#ifndef FOLIO_FILE_THREADS_H
#define FOLIO_FILE_THREADS_H

#include "fs/file/engine.h"

extern const struct file_engine file_threads;

/* What its threads do: make the call and wait.  Returns its result. */
extern int file_make_call (const struct file_call *call);

#endif /* FOLIO_FILE_THREADS_H */
