/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Making thin images.
 */

#ifndef FOLIO_IMG_CREATE_H
#define FOLIO_IMG_CREATE_H

#include <stdint.h>

#include "img/attached.h"

/* How large a store is, in bytes, with room for a disk of so many, all of it written. */
extern uint64_t create_store_size (uint64_t disk_size);

/* Make an empty image there.  Returns 0; or a negative errno, and has said why. */
extern int create_image (struct attached *a, uint64_t disk_size);

#endif /* FOLIO_IMG_CREATE_H */
