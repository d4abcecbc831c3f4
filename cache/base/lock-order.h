/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Debug builds check that locks are taken in the order given in folio.h.  A
 * folio lock may be given back by another thread than took it, so of those only
 * the taking is checked, as of something outside RANK_INDEX.
 */

#ifndef FOLIO_LOCK_ORDER_H
#define FOLIO_LOCK_ORDER_H

/* From the outside in. */
enum lock_rank { RANK_INDEX, RANK_QUEUE, RANK_ARENA };

#ifdef FOLIO_DEBUG

/* The calling thread is about to take, and to wait for, a lock of this rank:
 * it must hold none of this rank or further in.
 */
extern void lock_order_check (enum lock_rank rank);

/* It has taken it; it gives it back. */
extern void lock_order_took (enum lock_rank rank);
extern void lock_order_gave (enum lock_rank rank);

#else

#define lock_order_check(rank) ((void) 0)
#define lock_order_took(rank) ((void) 0)
#define lock_order_gave(rank) ((void) 0)

#endif

#endif /* FOLIO_LOCK_ORDER_H */
