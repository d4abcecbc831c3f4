/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics: from configuration to thread.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/disk.h"
#include "plugin/listen.h"
#include "plugin/metrics/http.h"
#include "plugin/services.h"

/* Whoever has the same user, or group, may look at the numbers. */
#define METRICS_MODE 0660

struct services {
  struct listener metrics;
  struct http *http;
  struct disk *disk;
};

static int
open_metrics (struct services *services, const char *address, char *err,
              size_t size)
{
  const char *path = listen_path (address);
  char *absolute;
  int r;

  if (path == NULL)
    return listen_port (address, &services->metrics, err, size);
  absolute = nbdkit_absolute_path (path); /* nbdkit goes to / when it forks */
  if (absolute == NULL) {
    snprintf (err, size, "%s: cannot make it absolute: %m", path);
    return -EINVAL;
  }
  r = listen_unix (absolute, METRICS_MODE, &services->metrics, err, size);
  free (absolute);
  return r;
}

int
services_open (const struct config *config, struct services **ret, char *err)
{
  struct services *services = calloc (1, sizeof *services);
  char why[CONFIG_ERROR_MAX - 16] = "";
  int r = 0;

  if (services == NULL) {
    snprintf (err, CONFIG_ERROR_MAX, "out of memory");
    return -ENOMEM;
  }
  services->metrics.fd = -1;
  if (config->metrics)
    r = open_metrics (services, config->metrics, why, sizeof why);
  if (r < 0) {
    snprintf (err, CONFIG_ERROR_MAX, "metrics: %s", why);
    services_close (services);
    return r;
  }
  *ret = services;
  return 0;
}

#ifdef HAVE_MICROHTTPD

static void
write_metrics (void *opaque, FILE *fp, enum metrics_dialect dialect)
{
  struct services *services = opaque;
  struct metrics_disk one = { .name = DISK_NAME };

  stats_read (disk_mapping (services->disk), &one.snapshot);
  metrics_write (fp, dialect, &one, 1);
}

static int
start_metrics (struct services *services)
{
  int r;

  if (services->metrics.fd == -1)
    return 0;
  r =
    http_start (services->metrics.fd, write_metrics, services, &services->http);
  services->metrics.fd = -1; /* it is http's now */
  return r;
}

static void
stop_metrics (struct services *services)
{
  if (services->http)
    http_stop (services->http);
}

#else

static int
start_metrics (struct services *services)
{
  (void) services;
  return 0;
}

static void
stop_metrics (struct services *services)
{
  (void) services;
}

#endif

int
services_start (struct services *services, struct disk *disk)
{
  services->disk = disk;
  return start_metrics (services);
}

void
services_close (struct services *services)
{
  if (services == NULL)
    return;
  stop_metrics (services);
  listen_end (&services->metrics);
  free (services);
}
