/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the log of an image that nobody serves.
 */

#ifndef FOLIO_THIN_OFFLINE_H
#define FOLIO_THIN_OFFLINE_H

#include "fs/thin/meta.h"
#include "fs/thin/range-map.h"

/* Put what the log says into the trees, which were opened to be written and have no
 * allocator, and leave it empty.  *entries: how many it had.  Blocks.  Returns 0 or a
 * negative errno, with nothing changed.
 */
extern int thin_log_settle (struct thin_meta *m, struct store *store,
                            uint64_t *entries);

/* Put it into a map of the disk instead.  Likewise. */
extern int thin_log_collect (struct thin_meta *m, struct store *store,
                             struct range_map *map, uint64_t *entries);

/* The same of a damaged log: all records that are there count, whatever lies between them,
 * and the last that did.  *gaps: how often something did.  Only for who rescues what is
 * left.
 */
extern int thin_log_salvage (struct thin_meta *m, struct store *store,
                             struct range_map *map, uint64_t *entries,
                             uint64_t *gaps);

/* What stands at logical according to that map, and else to a committed tree: root, NULL for
 * the disk's; as thin_meta_lookup.  Blocks.
 */
extern int thin_log_lookup (struct thin_meta *m, struct range_map *map,
                            const struct thin_root *root, uint64_t logical,
                            uint64_t length, struct thin_extent *e);

/* A lookup has failed with -EIO: up to where is that node's range that cannot be read?
 * Blocks.
 */
extern uint64_t thin_lost_until (struct thin_meta *m,
                                 const struct thin_root *root,
                                 uint64_t logical);

/* Is each place that the map gives out free in the committed tree, or there already?
 * problem is called, as by thin_check, if not.  Returns how many there were, or a
 * negative errno.  Blocks.
 */
extern int thin_log_check (struct thin_meta *m, struct range_map *map,
                           const struct thin_check *check);

#endif /* FOLIO_THIN_OFFLINE_H */
