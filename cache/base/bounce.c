/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Bounce buffers.
 */

#include "cache/base/bounce.h"
#include "fs/num.h"

/* The largest, as an order of pages. */
#define BOUNCE_ORDER 8

struct folio *
bounce_get (struct arena *bounce, uint64_t bytes)
{
  struct env *env = bounce->env;
  struct folio *buffer = NULL;
  uint32_t seen;
  int order;

  order = (int) arena_order (min_u64 (bytes, PAGE_SIZE << BOUNCE_ORDER));
  for (; order >= 0 && !buffer; order--)
    buffer = arena_alloc (bounce, (unsigned) order);
  while (buffer == NULL) {
    atomic_fetch_add (&bounce->sleepers, 1);
    seen = atomic_load (&bounce->freed);
    buffer = arena_alloc (bounce, 0);
    if (buffer == NULL)
      env->wait (env, &bounce->freed, seen, ENV_FOREVER);
    atomic_fetch_sub (&bounce->sleepers, 1);
  }
  return buffer;
}
