/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Repairing an image in which check has found something.
 */

#ifndef FOLIO_THIN_REPAIR_H
#define FOLIO_THIN_REPAIR_H

#include "fs/thin/meta.h"
#include "fs/thin/range-map.h"

/* Make free space, references, the use of chunks, and counters anew from what the disk
 * and its snapshots are made of, in one commit.  log: what the log says beyond the
 * trees, whose space is not taken.  There is no other transaction.  Memory grows with
 * the number of extents.  Blocks.  check is told of what is in the way, and of
 * progress.  0; -EUCLEAN: it can't be told what is right, and nothing has changed;
 * -ECANCELED; or another negative errno.
 */
extern int thin_repair (struct thin_meta *m, struct range_map *log,
                        struct thin_check *check);

#endif /* FOLIO_THIN_REPAIR_H */
