/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts of a thin image's metadata, see thin-cut.c: what a disk and its
 * snapshots may look like.
 */

#ifndef THIN_CUT_H
#define THIN_CUT_H

#include "fs/thin/meta.h"
#include "model-world.h"

#define CUT_DISK 2000 /* blocks, at most */
#define CUT_SNAPSHOTS 6

/* Where each block of a disk is; 0: it reads as zero. */
struct cut_map {
  uint64_t blocks;
  uint64_t at[CUT_DISK];
};

/* All that an image says. */
struct cut_state {
  struct cut_map head;
  unsigned nr_snapshots, serial; /* the latter: in the last one's name */
  struct {
    char name[8];
    struct cut_map map;
  } snapshots[CUT_SNAPSHOTS];
};

/* Is it what the image says?  1; 0, and where it is not has been noted; or a negative
 * errno.
 */
extern int cut_state_holds (struct world *w, struct thin_meta *m,
                            const struct cut_state *state);

/* Make random changes to the state, and the same by a transaction, which is not
 * committed then; returns 0 or a negative errno.
 */
extern int cut_change (struct world *w, struct thin_meta *m, struct thin_txn *t,
                       struct cut_state *state);

/* Choose a change of snapshots, and make it to both; what it would be is in the state
 * even if it fails.
 */
extern int cut_snapshot (struct world *w, struct thin_meta *m,
                         struct cut_state *state);

#endif /* THIN_CUT_H */
