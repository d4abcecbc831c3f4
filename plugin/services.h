/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the server has for those who look after it, beside the disk for clients:
 * metrics, and a socket by which it is controlled.
 */

#ifndef FOLIO_SERVICES_H
#define FOLIO_SERVICES_H

#include "plugin/config.h"

struct disk;
struct services;

/* Take the addresses of what is configured, before any fork, where a start can be
 * refused for all to see.  Returns 0; or a negative errno with in err,
 * CONFIG_ERROR_MAX bytes, one line that says why.  config
 * outlives it, and is changed by commands.
 */
extern int services_open (struct config *config, struct services **services,
                          char *err);

/* After any fork, of a disk that was started.  Returns 0 or a negative errno. */
extern int services_start (struct services *services, struct disk *disk);

/* End all of it, before the disk is closed.  Also of what was not started; or NULL. */
extern void services_close (struct services *services);

#endif /* FOLIO_SERVICES_H */
