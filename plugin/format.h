/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The formats there are: how a disk lies on its store.
 */

#ifndef FOLIO_FORMAT_H
#define FOLIO_FORMAT_H

#include "fs/iomap.h"

/* What users call them, NULL after the last. */
extern const char *const format_names[];

/* Has the one of that number snapshots? */
extern bool format_has_snapshots (unsigned format);

/* Open the one of that number on a store, or this snapshot there, if it is not NULL.
 * Returns 0 or a negative errno, with the reason in why if there is more to say.
 */
extern int format_open (unsigned format, struct store *store,
                        const char *snapshot, struct fs **fs,
                        const struct store_message *why);

#endif /* FOLIO_FORMAT_H */
