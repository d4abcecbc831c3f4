/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nodes in memory: a bounded number, found by address and generation.  What is in it
 * has been verified, or was made here.
 */

#ifndef FOLIO_THIN_NODE_CACHE_H
#define FOLIO_THIN_NODE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/thin/format.h"

struct thin_cache;

/* For at most so many nodes, whose memory is taken as they come.  NULL: no memory. */
extern struct thin_cache *thin_cache_create (unsigned nodes);
extern void thin_cache_free (struct thin_cache *cache);

/* For how many it is. */
extern unsigned thin_cache_nodes (const struct thin_cache *cache);

/* Call fn with the node, if it is there, under a leaf lock.  Any thread. */
typedef void thin_node_fn (const struct thin_node *node, void *opaque);
extern bool thin_cache_look (struct thin_cache *cache, uint64_t address,
                             uint64_t generation, thin_node_fn *fn,
                             void *opaque);

/* Copy it. */
extern bool thin_cache_copy (struct thin_cache *cache, uint64_t address,
                             uint64_t generation, struct thin_node *node);
extern bool thin_cache_has (struct thin_cache *cache, uint64_t address,
                            uint64_t generation);

/* It will soon be of no use to anybody: it is the first to make room. */
extern void thin_cache_retire (struct thin_cache *cache, uint64_t address,
                               uint64_t generation);

/* Keep a copy; what was at its address is dropped.  Others make room that have not
 * been looked at for longest, more or less; it survives so many rounds of that by
 * itself.  Without memory nothing happens.
 */
extern void thin_cache_put (struct thin_cache *cache,
                            const struct thin_node *node, unsigned rounds);

/* What is at this address is another node from now on. */
extern void thin_cache_drop (struct thin_cache *cache, uint64_t address);

#endif /* FOLIO_THIN_NODE_CACHE_H */
