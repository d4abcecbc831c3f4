/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of checking an image: check.c walks, check-compare.c compares.
 */

#ifndef FOLIO_THIN_CHECK_IMPL_H
#define FOLIO_THIN_CHECK_IMPL_H

#include "fs/thin/chunks.h"
#include "fs/thin/txn-impl.h"

/* An extent of one of the disk's trees: where its blocks are. */
struct thin_holding {
  uint64_t physical, logical, length;
};

struct thin_holdings {
  struct thin_holding *list;
  size_t n, room;
};

struct checking {
  struct thin_meta *m;
  struct thin_check *check;
  uint32_t *counts; /* references found, 256 for each chunk */
  struct thin_node *nodes;
  struct thin_events data; /* references found to data */
  struct thin_events refs; /* what the refs have: so many more than one */
  struct thin_events free; /* what is free */
  uint64_t free_blocks;
  bool head;                  /* it is the disk's own tree that is walked */
  uint64_t mapped, unwritten; /* of that */
  uint64_t extents_entries, free_entries, refs_entries;
  bool damaged; /* not all could be walked: what is missing says nothing */
  struct thin_holdings *holdings; /* all extents are noted there; optional */
  uint64_t snapshots;             /* that were found */
};

/* Walk what the disk and its snapshots are made of; no more is needed to tell what is in
 * use.  Before it, and after all: 0 or a negative errno.
 */
extern int thin_check_begin (struct checking *c);
extern int thin_check_disks (struct checking *c);
extern void thin_check_end (struct checking *c);

extern void thin_check_problem (struct checking *c, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3)));

/* There are so many more of these blocks.  -ENOMEM. */
extern int thin_check_event (struct thin_events *events, uint64_t start,
                             uint64_t length, int64_t by);

/* All has been walked: compare. */
extern int thin_check_compare (struct checking *c);

#endif /* FOLIO_THIN_CHECK_IMPL_H */
