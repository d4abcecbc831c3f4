/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: what all of it takes.
 */

#include <stdio.h>

#include "fs/nbd/state.h"

void
nbd_store_wake (struct nbd_store *nbd)
{
  ev_async_send (nbd->loop, &nbd->wake);
}

void
session_lose (struct session *session, const char *why)
{
  session->lost = true;
  if (why && session->why[0] == '\0')
    snprintf (session->why, WHY_MAX, "%s", why);
}
