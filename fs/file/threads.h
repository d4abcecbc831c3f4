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

#endif /* FOLIO_FILE_THREADS_H */
