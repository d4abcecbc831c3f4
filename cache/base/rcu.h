/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * RCU, by liburcu's bp flavour, which needs no registration of threads.
 *
 * The read side is inlined from liburcu's static header, which says of these
 * very functions that they are short enough (fewer than ten lines, the bound in
 * section 5 of the LGPL) to be used so by code under any licence.
 *
 * ThreadSanitizer does not see inside liburcu, whose order comes from
 * membarrier (2) and plain stores, so it is told here: all that a read-side
 * section did comes before whatever follows a grace period that waited for it.
 * Nothing else is told, so that it still finds whatever readers and writers get
 * wrong between them.
 *
 * Under sanitizers the library's functions are called instead of the inlined
 * ones, whose plain stores to records that threads inherit from each other would
 * look like races, and whose records are less aligned than they say.
 */

#ifndef FOLIO_RCU_H
#define FOLIO_RCU_H

#include <urcu-bp.h>
#include <urcu/static/urcu-bp.h>

#include "cache/base/sanitizer.h"

#if defined(WITH_TSAN) || defined(WITH_ASAN)
#define RCU_READ_LOCK urcu_bp_read_lock
#define RCU_READ_UNLOCK urcu_bp_read_unlock
#else
#define RCU_READ_LOCK _urcu_bp_read_lock
#define RCU_READ_UNLOCK _urcu_bp_read_unlock
#endif

#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#else
/* Only an address is needed of what is synchronised with. */
#define __tsan_release(address) ((void) (address))
#define __tsan_acquire(address) ((void) (address))
#endif

/* Make liburcu's thread, which it would else make in the middle of something,
 * and end the process if it could not.  After any fork.
 *
 * Naming liburcu's thread-local word here, with the initial-exec model, has the
 * dynamic linker place it in each thread's static block in every build; else it
 * would be allocated by the threads themselves and freed by whichever thread
 * trims the C library's cache of stacks, in an order ThreadSanitizer can't see.
 */
static inline void
rcu_start (void)
{
  __asm__("" : : "r"(&URCU_TLS (urcu_bp_reader)));
  urcu_bp_get_default_call_rcu_data ();
}

/* Begin and end a read-side section; they nest. */
static inline void
rcu_enter (void)
{
  RCU_READ_LOCK ();
}

static inline void
rcu_exit (void)
{
  __tsan_release (&urcu_bp_gp);
  RCU_READ_UNLOCK ();
}

/* Wait until all sections that are running have ended.  Not inside one. */
static inline void
rcu_wait (void)
{
  urcu_bp_synchronize_rcu ();
  __tsan_acquire (&urcu_bp_gp);
}

/* Have fn (head) called, on a thread of liburcu's, after all sections that are
 * running have ended.  fn begins with rcu_called (head); head may be gone when
 * it returns.
 */
static inline void
rcu_call (struct rcu_head *head, void (*fn) (struct rcu_head *head))
{
  __tsan_release (head);
  urcu_bp_call_rcu (head, fn);
}

static inline void
rcu_called (struct rcu_head *head)
{
  __tsan_acquire (head);
  __tsan_acquire (&urcu_bp_gp);
}

#undef RCU_READ_LOCK
#undef RCU_READ_UNLOCK
#ifndef WITH_TSAN
#undef __tsan_release
#undef __tsan_acquire
#endif

#endif /* FOLIO_RCU_H */
