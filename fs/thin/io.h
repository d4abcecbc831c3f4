/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * I/O on the store for those who can wait: on any thread but the loop's, and with no
 * lock held.  All places and lengths are in blocks of THIN_BLOCK bytes; the memory is
 * aligned to that.  What is read or written need not be valid in any way.
 */

#ifndef FOLIO_THIN_IO_H
#define FOLIO_THIN_IO_H

#include <stdint.h>

#include "fs/store.h"

/* Memory for blocks, aligned, zeroed; to be freed by free.  NULL: there is none. */
extern void *thin_io_alloc (uint64_t blocks);

/* Read, write or flush, and wait.  Returns 0 or a negative errno; -EIO if it is not
 * wholly on the store.
 */
extern int thin_io_read (struct store *store, uint64_t block, void *buf,
                         uint64_t blocks);
extern int thin_io_write (struct store *store, uint64_t block, const void *buf,
                          uint64_t blocks);
extern int thin_io_flush (struct store *store);

/* Write and make it durable, again and again if the store loses it meanwhile: by FUA
 * if the store has it.  After an error it may be there or not, or in part.
 */
extern int thin_io_write_durable (struct store *store, uint64_t block,
                                  const void *buf, uint64_t blocks);

/* One of several transfers at once. */
struct thin_io {
  uint64_t block;
  void *buf;
  uint64_t blocks;
  int error; /* of it */
};

/* Have n of these read or written side by side, wait for all, and return the first
 * error.  At most THIN_IO_MAX.
 */
#define THIN_IO_MAX 64
extern int thin_io_read_all (struct store *store, struct thin_io *io,
                             unsigned n);
extern int thin_io_write_all (struct store *store, struct thin_io *io,
                              unsigned n);

#endif /* FOLIO_THIN_IO_H */
