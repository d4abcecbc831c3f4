/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: a disk that takes of its store only what is written to it.
 */

#ifndef FOLIO_THIN_THIN_H
#define FOLIO_THIN_THIN_H

#include "fs/iomap.h"

/* Open the image on the store, which is not attached yet, or can be asked already.  The
 * image is gone through when it is (iomap_ops.ready).  snapshot: the name of the one that
 * is to be the disk, read-only; or NULL.  Returns 0 or a negative errno, with the reason
 * in why.
 */
extern int thin_open (struct store *store, const char *snapshot, struct fs **fs,
                      const struct store_message *why);

/* Does the store hold such an image, or what looks like one?  Likewise. */
extern bool thin_is_image (struct store *store);

#endif /* FOLIO_THIN_THIN_H */
