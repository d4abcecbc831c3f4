/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thin image that is open: its metadata as committed, and what its log says besides.
 */

#ifndef FOLIO_IMG_IMAGE_H
#define FOLIO_IMG_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/thin/meta.h"
#include "fs/thin/owner.h"
#include "fs/thin/range-map.h"
#include "fs/thin/reader.h"
#include "img/attached.h"

struct image {
  struct attached at;
  struct thin_meta *meta;

  /* Of one that is written to. */
  struct thin_owner owner;
  bool owned;

  struct thin_reader reader; /* of one that is only read */
  bool reading;

  struct range_nodes nodes;
  struct range_map log; /* what it says beyond the trees, until it is settled */

  uint64_t log_entries; /* that were found in the log */
  uint64_t log_gaps;    /* how often something else was */

  bool salvage;  /* what cannot be looked up is a hole, and counted: */
  uint64_t lost; /* so many ranges */
};

/* Open the image of a store.  To write, the store is claimed, lest a server writes
 * too, and what the log says is committed; else it is kept in memory.  Returns 0; or a
 * negative errno, and has said why.
 */
extern int image_open (struct image *image, const char *name, bool writing);

/* The same of a store that is attached already, with an image just made. */
extern int image_begin (struct image *image, bool writing);

/* Open it only to read what is left of it. */
extern int image_salvage (struct image *image, const char *name);

/* In two steps, for whom the trees have to be looked at before anything is committed.  The log
 * may be damaged: log_gaps.
 */
extern int image_begin_as_is (struct image *image, bool writing);
extern int image_settle (struct image *image);

/* Of one that was only read: did nobody write to it meanwhile?  Returns as image_open. */
extern int image_still (struct image *image);

extern void image_close (struct image *image);

/* What stands at logical, up to length blocks, of the disk; or of a snapshot of it, if
 * that is not NULL.  Returns as image_open.
 */
extern int image_look (struct image *image,
                       const struct thin_snapshot *snapshot, uint64_t logical,
                       uint64_t length, struct thin_extent *e);

/* Find a snapshot.  Returns as image_open. */
extern int image_snapshot (struct image *image, const char *name,
                           struct thin_snapshot *snapshot);

/* Say that the image cannot be what.  Returns error. */
extern int image_failed (const struct image *image, const char *what,
                         int error);

#endif /* FOLIO_IMG_IMAGE_H */
