/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics and the control socket: from configuration to threads.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/control/control.h"
#include "plugin/disk.h"
#include "plugin/listen.h"
#include "plugin/metrics/http.h"
#include "plugin/services.h"

/* Whoever has the same user, or group, may look at the numbers. */
#define METRICS_MODE 0660
#define CONTROL_MODE 0600

struct services {
  struct config *config;
  struct listener metrics, socket;
  struct http *http;
  struct control *control;
  struct disk *disk;
};

/* Listen at a path; nbdkit goes to / when it forks. */
static int
open_path (struct listener *listener, const char *path, mode_t mode, char *err,
           size_t size)
{
  char *absolute = nbdkit_absolute_path (path);
  int r;

  if (absolute == NULL) {
    snprintf (err, size, "%s: cannot make it absolute: %m", path);
    return -EINVAL;
  }
  r = listen_unix (absolute, mode, listener, err, size);
  free (absolute);
  return r;
}

static int
open_metrics (struct services *services, const char *address, char *err,
              size_t size)
{
  const char *path = listen_path (address);

  if (path == NULL)
    return listen_port (address, &services->metrics, err, size);
  return open_path (&services->metrics, path, METRICS_MODE, err, size);
}

int
services_open (struct config *config, struct services **ret, char *err)
{
  struct services *services = calloc (1, sizeof *services);
  char why[CONFIG_ERROR_MAX - 16] = "";
  const char *what = "metrics";
  int r = 0;

  if (services == NULL) {
    snprintf (err, CONFIG_ERROR_MAX, "out of memory");
    return -ENOMEM;
  }
  services->config = config;
  services->metrics.fd = services->socket.fd = -1;
  if (config->metrics)
    r = open_metrics (services, config->metrics, why, sizeof why);
  if (r == 0 && config->control) {
    what = "control";
    r = open_path (&services->socket, config->control, CONTROL_MODE, why,
                   sizeof why);
  }
  if (r < 0) {
    snprintf (err, CONFIG_ERROR_MAX, "%s: %s", what, why);
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

#ifdef HAVE_JANSSON

static int
start_control (struct services *services)
{
  int fd = services->socket.fd;

  if (fd == -1)
    return 0;
  services->socket.fd = -1; /* it is control's now */
  return control_start (fd, disk_env (services->disk), services->config,
                        services->disk, &services->control);
}

static void
stop_control (struct services *services)
{
  if (services->control)
    control_stop (services->control);
}

#else

static int
start_control (struct services *services)
{
  (void) services;
  return 0;
}

static void
stop_control (struct services *services)
{
  (void) services;
}

#endif

int
services_start (struct services *services, struct disk *disk)
{
  int r;

  services->disk = disk;
  r = start_metrics (services);
  return r < 0 ? r : start_control (services);
}

void
services_close (struct services *services)
{
  if (services == NULL)
    return;
  stop_control (services);
  stop_metrics (services);
  listen_end (&services->socket);
  listen_end (&services->metrics);
  free (services);
}
