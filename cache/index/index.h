/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The index: which folio holds which page of a disk.  A radix tree of 64 slots
 * a node, after Linux's lib/xarray.c in what it does: readers without a lock
 * under RCU, multi-index entries for large folios, tags in every node.
 *
 * Two things differ, both to keep it small.  Slots are 32 bits: a page number
 * of the arena, or the number of a node in a pool of fixed size.  And paths
 * are compressed (Morrison's PATRICIA): a slot leads to the first node, or to
 * the folio, where its range divides, so that an insertion makes one node at
 * the most and no node has less than two entries.  What a path leads to must
 * therefore be checked against the page looked for.
 *
 * A folio of order k in a node of level l (a slot is 64^l pages) fills
 * 2^(k-6l) neighbouring slots if that is more than one; its tags are kept in
 * the first of them.
 */

#ifndef FOLIO_INDEX_H
#define FOLIO_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/arena.h"

enum index_tag { TAG_DIRTY, TAG_TOWRITE, TAG_WRITEBACK, TAG_UNSTABLE, NR_TAGS };

struct index;

/* Make an index of folios of arena, which outlives it, with room for at most
 * max_nodes nodes (index_node_size bytes each, touched only when used).
 * mapping, not 0, is the id that folio->mapping has while a folio is in.
 * Returns 0 or -ENOMEM.
 */
extern int index_create (struct arena *arena, uint16_t mapping,
                         uint32_t max_nodes, struct index **index);

/* Free the index, which no one uses any more; folios in it are left alone.  May
 * wait for an RCU grace period; not inside a read-side section.
 */
extern void index_destroy (struct index *index);

extern size_t index_node_size (void);

/* Nodes that can be had at once.  Those taken out count only after a grace
 * period, which comes by itself (some 10 ms).
 */
extern uint32_t index_free_nodes (struct index *index);

/* Are there so few left that some should be made free before they are needed?
 * A hint.
 */
extern bool index_nodes_low (struct index *index);

/* Choose clean folios that are alone, or nearly, in their nodes, so that their
 * leaving gives back nodes at the least cost in pages; each hit has one spared
 * once.  Puts `max' of them at the most, a little fewer than INDEX_SPARSE_MAX,
 * in folios, with a reference each, and returns how many.  Takes the index lock
 * for short times.
 */
#define INDEX_SPARSE_MAX 64
extern unsigned index_get_sparse (struct index *index,
                                  struct folio *folios[INDEX_SPARSE_MAX]);

/* Wait until the nodes taken out before the call can be had, which takes some
 * microseconds: for when index_insert returned -ENOSPC.  No index lock held,
 * not inside a read-side section.
 */
extern void index_reclaim_nodes (struct index *index);

/* The index lock protects structure and tags.  Order: after the folio lock,
 * before the queue lock.  The references of a folio that is in the index are
 * brought to 0 only with this lock held, and then it is taken out (or gets
 * them back) before the lock is let go.
 */
extern void index_lock (struct index *index);
extern void index_unlock (struct index *index);

/* The folio that holds page, with a reference, or NULL.  No lock; takes part
 * in RCU by itself.  What is returned held that page at some moment during the
 * call; it can be removed from the index (folio->mapping becomes 0) any time
 * unless the caller prevents that.  NULL: at some moment during the call no
 * folio held it.
 *
 * This and the next two take the index lock if they keep losing races against
 * changes, so they are not called with a lock held that comes after it.
 */
extern struct folio *index_get (struct index *index, uint64_t page);

/* Like index_get, the first folio that holds a page in [page, last], NULL if
 * none.  No lock.
 */
extern struct folio *index_get_next (struct index *index, uint64_t page,
                                     uint64_t last);

/* The first folio with tag that holds a page in [page, last], with a
 * reference; NULL if none.  No lock: a folio may be missed or found if its tag
 * changes during the call, never if the tag stays as it is.
 */
extern struct folio *index_get_tagged (struct index *index, uint64_t page,
                                       uint64_t last, enum index_tag tag);

/* --- below: index lock held --- */

/* Put in the folio, whose index and order are set and whose index is aligned to
 * its order; sets folio->mapping.  Takes no reference.
 * -EEXIST if it overlaps one that is there, -ENOSPC if the nodes are used up.
 * A new entry has no tags.
 */
extern int index_insert (struct index *index, struct folio *folio);

/* Take out the folio, which is in, with its tags; folio->mapping becomes 0. */
extern void index_remove (struct index *index, struct folio *folio);

/* Put `to' in the place of `from', which is in, of the same order and without
 * tags or references.  `to' has its index and is not in; sets its mapping, and
 * that of `from' to 0.  `from' must not be used again, or change what it says of
 * its place and order, until all read-side sections that run now have ended.
 */
extern void index_replace (struct index *index, struct folio *from,
                           struct folio *to);

extern void index_set_tag (struct index *index, struct folio *folio,
                           enum index_tag tag);
extern void index_clear_tag (struct index *index, struct folio *folio,
                             enum index_tag tag);
extern bool index_has_tag (struct index *index, struct folio *folio,
                           enum index_tag tag);

/* Give tag `to' to every folio with tag `from' that begins in [*page, last],
 * visiting at most `budget' nodes; *page is where to go on.  Returns true when
 * the range is done.
 */
extern bool index_copy_tag (struct index *index, uint64_t *page, uint64_t last,
                            enum index_tag from, enum index_tag to,
                            unsigned budget);

#endif /* FOLIO_INDEX_H */
