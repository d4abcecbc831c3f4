/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bad ranges: where write-back has failed.  Each is to be written alone, so
 * that it holds nothing else back:
 *
 *   suspect   it has failed as part of something larger; due at once
 *   bad       it has failed by itself and cannot be cut; due after a backoff
 *
 * A range that fails is cut in halves, both suspect: a bisection, by which one
 * bad block among n costs about 2 log n writes and its neighbours next to no
 * time.  What is written is forgotten.  Bad ranges side by side become one, and
 * are tried as one when their time has come; so do those that are nearest to
 * each other when there are too many to remember, and then what is between them
 * waits with them.
 *
 * Knows no clock and no cache.  No locks: for one thread, the loop's.
 */

#ifndef FOLIO_BAD_RANGES_H
#define FOLIO_BAD_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/backoff.h"

#define MAX_BAD_RANGES 256

/* Failures without a success among the retries, after which they pause. */
#define BAD_RANGES_PATIENCE 128

struct bad_range {
  uint64_t start, end; /* bytes, whole blocks */
  uint64_t retry_at;   /* ns */
  uint64_t backoff;    /* ns, the last one it waited for; 0: never yet */
  bool bad;            /* or suspect */
  int error;           /* with which it failed last, if it is bad */
};

#define NR_RANKS 3

struct bad_ranges {
  struct bad_range at[MAX_BAD_RANGES]; /* [0, n), by place, disjoint */
  unsigned n;
  uint64_t cursor[NR_RANKS]; /* bytes: where the last retry began, by rank */
  unsigned failed;           /* retries without a success in between */
  uint64_t pause;            /* ns, the last one; 0: none yet */
  uint64_t paused_until;     /* ns */
};

/* The first range that ends behind pos, or NULL. */
extern const struct bad_range *bad_ranges_find (const struct bad_ranges *list,
                                                uint64_t pos);

/* Writing [start, end) has failed with error; it does not cross an end of a
 * range.  block: bytes, the least that can be written alone.  now: ns.  Returns
 * false if there are too many suspects to remember it.
 */
extern bool bad_ranges_failed (struct bad_ranges *list, uint64_t start,
                               uint64_t end, int error, uint32_t block,
                               uint64_t now);

/* Writing [start, end) has failed as one of several that were sent together: it
 * is to be tried alone.  As above.
 */
extern bool bad_ranges_suspect (struct bad_ranges *list, uint64_t start,
                                uint64_t end, uint64_t now);

/* [start, end) was written. */
extern void bad_ranges_written (struct bad_ranges *list, uint64_t start,
                                uint64_t end);

/* The range that should be tried next, NULL if none is due. */
extern const struct bad_range *bad_ranges_due (const struct bad_ranges *list,
                                               uint64_t now);

/* When the next that is not due yet will be, ns; UINT64_MAX if none. */
extern uint64_t bad_ranges_deadline (const struct bad_ranges *list,
                                     uint64_t now);

/* The range [start, end) is about to be tried: it is not due again for a while,
 * which doubles each time for one that is bad.
 */
extern void bad_ranges_tried (struct bad_ranges *list, uint64_t start,
                              uint64_t end, uint64_t now);

/* Forget the range [start, end), if it still is one: nothing in it is dirty. */
extern void bad_ranges_forget (struct bad_ranges *list, uint64_t start,
                               uint64_t end);

/* All are due now: there is reason to hope. */
extern void bad_ranges_hope (struct bad_ranges *list);

#endif /* FOLIO_BAD_RANGES_H */
