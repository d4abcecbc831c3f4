/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Answers, for people to read.
 */

#ifndef FOLIOCTL_SHOW_H
#define FOLIOCTL_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Room for any of these. */
#define SHOWN_MAX 32

/* As "1.5 GiB". */
extern const char *show_bytes (char *buf, double bytes);

/* As "1.5 s"; unknown: "?". */
extern const char *show_seconds (char *buf, double seconds, bool known);

extern void show_status (const json_t *status, const json_t *disks);
extern void show_stats (const json_t *stats);

/* An event of a long command, as a bar on a terminal, or a line. */
extern void show_progress (const json_t *event);
extern void show_progress_end (void);

#endif /* FOLIOCTL_SHOW_H */
