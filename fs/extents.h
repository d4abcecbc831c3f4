/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: what is known of ranges of the disk, in memory, bounded.
 * What is not in it is unknown: never asked, or forgotten to stay small.
 */

#ifndef FOLIO_EXTENTS_H
#define FOLIO_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/extents-question.h"
#include "fs/iomap.h"

struct extents;

/* Thread safe: one lock inside, held for no I/O; it is taken last of all.
 *
 * max: how many extents are remembered; above it some, away from the one just
 * touched, are forgotten.  Returns NULL without memory.
 */
extern struct extents *extents_create (size_t max);
extern void extents_destroy (struct extents *e);

/* What is known at offset: true with the type, and in *length how many bytes
 * from offset on are of that type; or false when it is unknown, with in
 * *length the bytes that are, at most `length' as passed in.
 */
extern bool extents_lookup (struct extents *e, uint64_t offset,
                            uint64_t *length, enum iomap_type *type);

/* What begins where another ends: offset, or the run before. */
struct extents_run {
  uint64_t end;
  enum iomap_type type;
  bool known; /* or the type means nothing */
};

/* What is known from offset on until end or beyond, as far as n runs hold it: no
 * lock is taken and given back between them.  Returns how many there are, 1 at
 * least, of which the last may end behind end; one that is unknown does not.
 */
extern size_t extents_lookup_runs (struct extents *e, uint64_t offset,
                                   uint64_t end, struct extents_run *runs,
                                   size_t n);

/* The range is of this type from now on, whatever it was.  Neighbours of one
 * type are merged.  Bumps the cookie if the type of any byte changed, other
 * than from HOLE or UNWRITTEN to DELALLOC, or from unknown to MAPPED.  Without
 * memory the range, or part of it, is forgotten instead.
 */
extern void extents_set (struct extents *e, uint64_t offset, uint64_t length,
                         enum iomap_type type);

/* HOLE and UNWRITTEN parts of the range become DELALLOC; others stay. */
extern void extents_reserve (struct extents *e, uint64_t offset,
                             uint64_t length);

extern void extents_forget (struct extents *e, uint64_t offset,
                            uint64_t length);

/* Learning what a store says takes time, and the world moves on meanwhile.
 * So: extents_ask (e, &q, ...); ask the store; extents_learn for each run of the
 * answer, in order of place; extents_answered (e, &q).  It fills in only what
 * is still unknown, and of that nothing that was forgotten since extents_ask:
 * it may have been written before.  Other places do not matter.  Never bumps
 * the cookie.
 *
 * The question is the caller's, on his stack, say; what is in it is not.
 */
extern void extents_ask (struct extents *e, struct extents_question *q,
                         uint64_t offset, uint64_t length);
extern void extents_learn (struct extents *e, struct extents_question *q,
                           uint64_t offset, uint64_t length,
                           enum iomap_type type);
extern void extents_answered (struct extents *e, struct extents_question *q);

/* Changes when an iomap given out earlier may have become wrong, or may do so
 * without another change: what is unknown counts as MAPPED here, so what was
 * anything else, and is forgotten, has changed.
 */
extern uint64_t extents_cookie (struct extents *e);

/* How many extents are remembered. */
extern size_t extents_count (struct extents *e);

#endif /* FOLIO_EXTENTS_H */
