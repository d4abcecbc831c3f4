/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The outbox.
 */

#include <errno.h>

#include "fs/num.h"
#include "cache/post/outbox.h"

/* Has one that waits since then waited for long enough, with a store of which
 * something fails?  Not while others get room, unless it never comes to it.
 */
static bool
out_of_patience (const struct outbox *outbox, uint64_t since)
{
  uint64_t now = outbox->env->now (outbox->env);
  uint64_t cleaned = atomic_load (&outbox->cleaned_at);

  return now > max_u64 (since, cleaned) + PATIENCE ||
         now > since + PATIENCE_BOUND;
}

int
outbox_give_up (const struct outbox *outbox, uint64_t since)
{
  int error = outbox_error (outbox);

  if (atomic_load (&outbox->shutdown))
    return -ESHUTDOWN;
  return error && out_of_patience (outbox, since) ? error : 0;
}
