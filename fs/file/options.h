/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what it is opened with.
 */

#ifndef FOLIO_FILE_OPTIONS_H
#define FOLIO_FILE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum direct_mode { DIRECT_AUTO, DIRECT_ON, DIRECT_OFF };

/* What makes the calls to the kernel.  FILE_IO_AUTO: an io_uring if there can be
 * one, else threads.
 */
enum file_io { FILE_IO_AUTO, FILE_IO_URING, FILE_IO_THREADS };

struct file_store_options {
  const char *path;
  bool readonly;
  int64_t create; /* make a sparse file of this many bytes if there is
                          * none; -1: don't */
  enum direct_mode direct;
  enum file_io io;
  unsigned io_depth; /* requests in flight at most; threads: no more than 256 */
};

#endif /* FOLIO_FILE_OPTIONS_H */
