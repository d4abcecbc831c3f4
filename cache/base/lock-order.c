/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Which locks a thread holds, for debug builds.
 */

#include "cache/base/lock-order.h"

#ifdef FOLIO_DEBUG

#include <assert.h>

static _Thread_local unsigned held; /* a bit a rank */

void
lock_order_check (enum lock_rank rank)
{
  assert (held >> rank == 0);
}

void
lock_order_took (enum lock_rank rank)
{
  lock_order_check (rank);
  held |= 1u << rank;
}

void
lock_order_gave (enum lock_rank rank)
{
  assert (held & (1u << rank));
  held &= ~(1u << rank);
}

#else

/* ISO C wants something in a file. */
typedef int lock_order_unused;

#endif
