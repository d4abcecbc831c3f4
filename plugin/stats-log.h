/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The cache's counters, in words, for nbdkit's -D folio.stats=1.
 */

#ifndef FOLIO_STATS_LOG_H
#define FOLIO_STATS_LOG_H

#include "cache/life/snapshot.h"
#include "fs/env.h"

/* How often they are logged while the server runs. */
#define STATS_SECONDS 10

/* Set by nbdkit, before anything else of the plugin runs. */
extern int folio_debug_stats;

/* Room for any line. */
#define STATS_LINE_MAX 2048

/* Call fn for each line that says what is in the snapshot. */
typedef void stats_line_fn (void *opaque, const char *line);
extern void stats_format (const struct stats_snapshot *snapshot,
                          stats_line_fn *fn, void *opaque);

/* If folio_debug_stats is set, log the mapping's counters. */
extern void stats_log (struct env *env, struct mapping *mapping);

#endif /* FOLIO_STATS_LOG_H */
