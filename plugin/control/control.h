/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The control socket: JSON, a line each way, as in QEMU's QMP.
 *
 *   server -> {"folio": {"version": "0.1.0"}}
 *   client -> {"execute": NAME, "arguments": {...}, "id": anything}
 *   server -> {"return": ..., "id": the same}
 *          or {"error": {"class": CLASS, "desc": a line}, "id": the same}
 *   server -> {"event": NAME, "data": {...}, ...}      at any time
 *
 * One thread sees to all clients, and waits for none of them.
 */

#ifndef FOLIO_CONTROL_H
#define FOLIO_CONTROL_H

#include "fs/env.h"
#include "plugin/config.h"

struct control;
struct disk;

/* After any fork: serve those who connect to fd, which listens, and is control's from
 * now on.  config and disk, which was started, outlive it; config is its own to
 * change.  Returns 0 or a negative errno.
 */
extern int control_start (int fd, struct env *env, struct config *config,
                          struct disk *disk, struct control **control);

/* End it, and close fd. */
extern void control_stop (struct control *control);

#endif /* FOLIO_CONTROL_H */
