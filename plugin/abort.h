/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * When nbdkit aborts, or is killed by SIGABRT, all that was acknowledged is
 * written back first.  The thread that dies waits in its signal handler for the
 * thread that sees to the end, a minute at most; then the process ends as it would
 * have.
 *
 * An abort in our own code, in a thread of ours, or by the C library because it found
 * memory damaged, ends the process at once: what is in memory may be wrong then,
 * and locks may be held.
 */

#ifndef FOLIO_ABORT_H
#define FOLIO_ABORT_H

#include <stdatomic.h>
#include <stdbool.h>

/* How long it is waited. */
#define ABORT_SECONDS 60

/* In after_fork, once there is a thread that calls abort_saved: catch SIGABRT.
 * seconds: ABORT_SECONDS, but in tests.
 */
extern void abort_start (unsigned seconds);

/* Give the signal back.  Also if not started. */
extern void abort_stop (void);

/* Everything is saved, or it has been given up: what has aborted may die, and
 * what aborts from now on does not wait.  Does not return if SIGABRT came from
 * outside.
 */
extern void abort_saved (void);

/* From now on nothing that is in memory only may be acknowledged: all is about to
 * be written back, after an abort or without one.
 */
extern void abort_refuse (void);

extern _Atomic int abort_state; /* private */
enum { ABORT_NONE, ABORT_REFUSE, ABORT_BEGUN };

/* Does an aborting thread wait for abort_saved?  Cheap, from any thread. */
static inline bool
abort_begun (void)
{
  return atomic_load_explicit (&abort_state, memory_order_relaxed) ==
         ABORT_BEGUN;
}

/* May a write be acknowledged, which is in memory only?  To be asked when it is
 * there, under no lock: if so, whoever saves all after that has ended finds it.
 * (He takes the locks under which it became dirty after he has seen to that.  Had
 * he taken them before, this would see it as well.)  Cheap, from any thread.
 */
static inline bool
abort_may_acknowledge (void)
{
  return atomic_load_explicit (&abort_state, memory_order_relaxed) ==
         ABORT_NONE;
}

/* How deep in our own code a thread of nbdkit's is. */
extern __thread int abort_depth /* private */
  __attribute__ ((tls_model ("initial-exec")));

static inline int
abort_enter (void)
{
  return ++abort_depth;
}

static inline void
abort_leave (const int *depth)
{
  abort_depth = *depth - 1;
}

/* First in each callback: until its end the thread is in our own code. */
#define ABORT_INSIDE                                                           \
  const int abort_inside __attribute__ ((cleanup (abort_leave), unused)) =     \
    abort_enter ()

#endif /* FOLIO_ABORT_H */
