/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The counters of disks as text that Prometheus reads.
 */

#ifndef FOLIO_METRICS_TEXT_H
#define FOLIO_METRICS_TEXT_H

#include <stdio.h>

#include "cache/life/snapshot.h"

/* The same in two dialects: OpenMetrics 1.0, and what was before it. */
enum metrics_dialect { METRICS_PROMETHEUS, METRICS_OPENMETRICS };

/* One disk. */
struct metrics_disk {
  const char *name;
  struct stats_snapshot snapshot;
};

/* Write all that is known of n disks, at least one, which share one cache. */
extern void metrics_write (FILE *fp, enum metrics_dialect dialect,
                           const struct metrics_disk *disks, unsigned n);

#endif /* FOLIO_METRICS_TEXT_H */
