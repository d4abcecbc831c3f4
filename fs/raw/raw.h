/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: the disk is the store, byte for byte.
 */

#ifndef FOLIO_RAW_H
#define FOLIO_RAW_H

#include "fs/iomap.h"

/* Make a raw fs of store.  The store stays the caller's and outlives
 * the fs.  Returns 0 and the fs, or -ENOMEM.
 */
extern int raw_open (struct store *store, struct fs **fs);

#endif /* FOLIO_RAW_H */
