/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics over HTTP, by libmicrohttpd.
 */

#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/metrics/http.h"

/* What those who connect may take of us. */
#define MAX_CONNECTIONS 16u
#define MAX_SECONDS 10u /* without a word */
#define MAX_MEMORY ((size_t) 16384)
#define STACK_SIZE ((size_t) 256 << 10)

struct http {
  struct MHD_Daemon *daemon;
  http_write_fn *fn;
  void *opaque;
};

/* A response of text that MHD frees; NULL without memory. */
static struct MHD_Response *
make_response (char *text, size_t size, const char *type)
{
  struct MHD_Response *response =
    MHD_create_response_from_buffer (size, text, MHD_RESPMEM_MUST_FREE);

  if (response == NULL)
    free (text);
  else
    MHD_add_response_header (response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  return response;
}

static struct MHD_Response *
make_metrics (struct http *http, enum metrics_dialect dialect)
{
  const char *type = dialect == METRICS_OPENMETRICS
                       ? "application/openmetrics-text; version=1.0.0; "
                         "charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
  char *text = NULL;
  size_t size = 0;
  FILE *fp = open_memstream (&text, &size);
  bool failed;

  if (fp == NULL)
    return NULL;
  http->fn (http->opaque, fp, dialect);
  failed = ferror (fp);
  if (fclose (fp) != 0 || failed) {
    free (text);
    return NULL;
  }
  return make_response (text, size, type);
}

static struct MHD_Response *
make_refusal (const char *words)
{
  char *text = strdup (words);

  return text ? make_response (text, strlen (text), "text/plain") : NULL;
}

static enum MHD_Result
respond (struct MHD_Connection *connection, unsigned status,
         struct MHD_Response *response)
{
  enum MHD_Result r = MHD_NO; /* it is closed */

  if (response) {
    r = MHD_queue_response (connection, status, response);
    MHD_destroy_response (response);
  }
  return r;
}

static enum metrics_dialect
dialect_for (struct MHD_Connection *connection)
{
  const char *accept = MHD_lookup_connection_value (connection, MHD_HEADER_KIND,
                                                    MHD_HTTP_HEADER_ACCEPT);

  return accept && strstr (accept, "application/openmetrics-text")
           ? METRICS_OPENMETRICS
           : METRICS_PROMETHEUS;
}

/* Called first when the head of a request has come, and again for what follows it. */
static enum MHD_Result
answer (void *opaque, struct MHD_Connection *connection, const char *url,
        const char *method, const char *version, const char *data,
        size_t *data_size, void **seen)
{
  struct http *http = opaque;

  (void) version;
  (void) data;
  if (strcmp (method, MHD_HTTP_METHOD_GET) != 0 &&
      strcmp (method, MHD_HTTP_METHOD_HEAD) != 0)
    return respond (connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                    make_refusal ("only GET and HEAD\n"));
  if (*seen == NULL) {
    *seen = http;
    return MHD_YES;
  }
  if (*data_size > 0)
    return MHD_NO;
  if (strcmp (url, "/metrics") != 0)
    return respond (connection, MHD_HTTP_NOT_FOUND,
                    make_refusal ("see /metrics\n"));
  return respond (connection, MHD_HTTP_OK,
                  make_metrics (http, dialect_for (connection)));
}

/* No signal comes to its thread: they are for nbdkit's. */
static struct MHD_Daemon *
start_daemon (int fd, struct http *http)
{
  struct MHD_Daemon *daemon;
  sigset_t all, before;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  daemon = MHD_start_daemon (
    MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, NULL, NULL, answer, http,
    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
    MHD_OPTION_CONNECTION_TIMEOUT, MAX_SECONDS,
    MHD_OPTION_CONNECTION_MEMORY_LIMIT, MAX_MEMORY,
    MHD_OPTION_THREAD_STACK_SIZE, STACK_SIZE, MHD_OPTION_END);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return daemon;
}

int
http_start (int fd, http_write_fn *fn, void *opaque, struct http **ret)
{
  struct http *http = calloc (1, sizeof *http);

  if (http == NULL)
    return -ENOMEM;
  http->fn = fn;
  http->opaque = opaque;
  http->daemon = start_daemon (fd, http);
  if (http->daemon == NULL) {
    free (http);
    return -EAGAIN;
  }
  *ret = http;
  return 0;
}

void
http_stop (struct http *http)
{
  MHD_stop_daemon (http->daemon);
  free (http);
}
