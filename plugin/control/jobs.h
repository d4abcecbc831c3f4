/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands that take their time, each on a thread of its own: flush, prefetch and
 * drop-clean.
 *
 *   running  -- it says how far it is --> an event is sent
 *   running  -- cancelled, or its client is gone --> nobody waits for it
 *   running  -- it has ended --> its client is answered, and its place is free
 */

#ifndef FOLIO_CONTROL_JOBS_H
#define FOLIO_CONTROL_JOBS_H

#include "plugin/control/server.h"

/* Begin it.  Returns NULL, with an error in the call or call->later set. */
extern json_t *job_flush (struct call *call);
extern json_t *job_prefetch (struct call *call);
extern json_t *job_drop_clean (struct call *call);

/* Nobody waits any more for what the client began with this id. */
extern json_t *job_cancel (struct call *call);

/* The client is gone. */
extern void jobs_forget (struct control *control, const struct client *client);

/* See to those that have something to say. */
extern void jobs_look (struct control *control);

/* Wait until all have ended, which they do soon. */
extern void jobs_end (struct control *control);

#endif /* FOLIO_CONTROL_JOBS_H */
