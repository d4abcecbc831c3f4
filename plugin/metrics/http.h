/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics over HTTP: GET /metrics, on a thread of its own.
 */

#ifndef FOLIO_METRICS_HTTP_H
#define FOLIO_METRICS_HTTP_H

#include <stdio.h>

#include "plugin/metrics/text.h"

struct http;

/* Write the metrics.  Called on the thread of http. */
typedef void http_write_fn (void *opaque, FILE *fp,
                            enum metrics_dialect dialect);

/* After any fork: answer those who connect to fd, which listens, and is http's from
 * now on.  Returns 0 or a negative errno.
 */
extern int http_start (int fd, http_write_fn *fn, void *opaque,
                       struct http **http);

/* End it, and close fd. */
extern void http_stop (struct http *http);

#endif /* FOLIO_METRICS_HTTP_H */
