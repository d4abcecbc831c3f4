/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Group commit: how long a store flush that could begin should wait for syncs
 * that are about to be asked for, to share it with them.
 *
 * Clients that write and flush in turn come back with their next flush soon
 * after the last one has released them.  If those that waited for it begin one
 * of their own at once, the clients fall into two halves, each of which waits
 * for the other's flush.  So the next flush waits for a fraction of what the last
 * one took, and ends waiting when as many have come back as, by the last time,
 * may be expected.  After Linux's jbd2 (fs/jbd2/transaction.c, jbd2_journal_stop),
 * which waits for as long as a commit takes, but for nobody in particular.
 *
 * Pure arithmetic, of times in ns.  The loop thread's.
 */

#ifndef FOLIO_GROUP_COMMIT_H
#define FOLIO_GROUP_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

/* Of the time a flush took, the part that the next may wait; and not for less
 * than the one, nor more than the other of these.
 */
#define GROUP_COMMIT_PART 4
#define GROUP_COMMIT_MIN (NSEC_PER_MSEC / 2)
#define GROUP_COMMIT_MAX (15 * NSEC_PER_MSEC)

struct group_commit {
  uint64_t ended;    /* the last store flush */
  uint64_t until;    /* who has not come back by then is not waited for */
  unsigned released; /* syncs that it ended */
  unsigned back;     /* of those that are ready, who came before until */
  unsigned expected; /* how many of them are waited for */
};

/* A store flush that began then has ended now, and with it this many syncs. */
extern void group_commit_flushed (struct group_commit *gc, uint64_t began,
                                  uint64_t now, unsigned released);

/* A sync that was asked for at this time is ready for the next store flush. */
extern void group_commit_join (struct group_commit *gc, uint64_t asked);

/* May several syncs be about to be asked for, to share a store flush? */
extern bool group_commit_expects (const struct group_commit *gc, uint64_t now);

/* Should the next store flush still wait for syncs that may come?  From gc->until
 * on it should not.
 */
extern bool group_commit_hold (const struct group_commit *gc, uint64_t now);

/* Is a sync that was asked for at this time, and is not ready yet, one that the
 * next store flush should wait for, until group_commit_last at most?
 */
extern bool group_commit_in_time (const struct group_commit *gc,
                                  uint64_t asked);
extern uint64_t group_commit_last (const struct group_commit *gc);

#endif /* FOLIO_GROUP_COMMIT_H */
