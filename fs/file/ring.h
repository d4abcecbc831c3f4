/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: the engine that is an io_uring.
 */

#ifndef FOLIO_FILE_RING_H
#define FOLIO_FILE_RING_H

#include "fs/file/engine.h"
#include "fs/store.h"

extern const struct file_engine file_ring;

/* Can it be used here?  Returns 0 or a negative errno with a message. */
extern int file_ring_probe (const struct store_message *m);

/* Why start failed, as a clause. */
extern const char *file_ring_explain (int error);

#endif /* FOLIO_FILE_RING_H */
