/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Signals that tell nbdkit to stop: TERM, INT, HUP and QUIT.  nbdkit's own
 * handlers stay where they are, behind ours, which take note and wake the
 * thread that sees to the end.
 *
 * With --run two processes share nbdkit's quit pipe: the server, and its parent,
 * which runs the command.  A signal that only the parent gets would end every
 * nbdkit_nanosleep of the server, which has seen none, and abort it.  So the
 * parent's handlers are ours as well, from before the fork: they wake the
 * server's thread, and do not write to that pipe.
 */

#ifndef FOLIO_SIGNALS_H
#define FOLIO_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

/* In get_ready, before nbdkit forks.  Returns 0 or a negative errno. */
extern int signals_prepare (void);

/* In after_fork: put our handlers before nbdkit's, with its flags and masks. */
extern void signals_start (void);

/* Is this not the process that prepared, but a child of it? */
extern bool signals_forked (void);

/* Is this the process that prepared, and has forked?  What serves then is a child
 * of it.
 */
extern bool signals_is_parent (void);

/* Give them back, before the plugin is unloaded.  Also if not started. */
extern void signals_stop (void);

/* Has the server, or its parent with --run, been told to stop?  (Of the parent's
 * signals this tells soon after, of the server's at once, before nbdkit knows.)
 * Cheap, from any thread and signal handler.
 */
extern _Atomic bool signals_flag; /* private */

static inline bool
signals_seen (void)
{
  return atomic_load_explicit (&signals_flag, memory_order_relaxed);
}

/* May nbdkit_nanosleep (0, 0) be called, to ask whether the client of this
 * request is gone?  Not when the server is being stopped: the answer is of no
 * use, and nbdkit logs an error each time.  (A signal that comes between this
 * and that call does no other harm.)  Cheap, from any thread.
 */
extern bool signals_may_ask (void);

/* Sleep until a signal comes, signals_wake is called or that many milliseconds
 * are over (-1: never).  One thread only.  May return early for no reason.
 */
extern void signals_wait (int timeout);

/* End the sleep of signals_wait, or the next one if there is none.  From any
 * thread and signal handler.
 */
extern void signals_wake (void);

#endif /* FOLIO_SIGNALS_H */
