/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks of all that is always true of structures, by assertions.
 */

#ifndef INVARIANTS_H
#define INVARIANTS_H

struct arena;
struct index;

/* Its whole tree and its nodes; index lock held. */
extern void index_check (struct index *index);

/* Its free lists against its maps and counts. */
extern void arena_check (struct arena *arena);

#endif /* INVARIANTS_H */
