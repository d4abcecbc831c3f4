/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Clients, and whether they are still there.
 */

#include "cache/base/origin.h"

bool
client_ask (struct client *client)
{
  if (atomic_load_explicit (&client->gone, memory_order_relaxed))
    return true;
  if (client->ask == NULL || atomic_load (client->shutdown) ||
      !client->ask (client->opaque))
    return false;
  atomic_store (&client->gone, true);
  return true;
}

bool
origin_ask (struct origin *origin)
{
  origin->waited = false;
  return client_ask (origin->client);
}

void
origin_look (struct origin *origin)
{
  struct env *env = origin->client->env;
  uint64_t now = env->now (env);

  if (origin->looked != 0 && now - origin->looked < ORIGIN_PATIENCE)
    now = origin->looked;
  else if (origin->looked != 0)
    origin->waited = true;
  origin->looked = now;
  origin->done = 0;
}
