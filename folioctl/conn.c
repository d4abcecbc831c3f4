/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The client's side of the control socket.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "folioctl/conn.h"

void
die (int status, const char *fmt, ...)
{
  va_list args;

  fflush (stdout);
  fputs ("folioctl: ", stderr);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  exit (status);
}

void
conn_open (struct conn *conn, const char *path)
{
  struct sockaddr_un at = { .sun_family = AF_UNIX };
  json_t *greeting;

  if (strlen (path) >= sizeof at.sun_path)
    die (EXIT_TROUBLE, "%s: too long for a socket's path", path);
  strcpy (at.sun_path, path);
  *conn =
    (struct conn) { .fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
  if (conn->fd == -1 ||
      connect (conn->fd, (const struct sockaddr *) &at, sizeof at) == -1)
    die (EXIT_TROUBLE, "%s: %s", path, strerror (errno));
  conn->in = fdopen (conn->fd, "r");
  if (conn->in == NULL)
    die (EXIT_TROUBLE, "%s: %s", path, strerror (errno));
  greeting = conn_line (conn);
  if (json_object_get (greeting, "error"))
    die (EXIT_TROUBLE, "%s: %s", path,
         string_of (json_object_get (greeting, "error"), "desc"));
  if (!json_object_get (greeting, "folio"))
    die (EXIT_TROUBLE, "%s: that is not nbdkit-folio's control socket", path);
  json_decref (greeting);
}

void
conn_close (struct conn *conn)
{
  fclose (conn->in);
}

static void
send_all (const struct conn *conn, const char *text, size_t size)
{
  while (size > 0) {
    ssize_t n = send (conn->fd, text, size, MSG_NOSIGNAL);

    if (n == -1 && errno != EINTR)
      die (EXIT_TROUBLE, "the server is gone: %s", strerror (errno));
    if (n > 0) {
      text += n;
      size -= (size_t) n;
    }
  }
}

void
conn_begin (struct conn *conn, const char *command, json_t *arguments)
{
  json_t *request =
    json_pack ("{s:s,s:I}", "execute", command, "id", ++conn->id);
  char *text;

  if (arguments)
    json_object_set_new (request, "arguments", arguments);
  text = json_dumps (request, JSON_COMPACT);
  json_decref (request);
  if (text == NULL)
    die (EXIT_TROUBLE, "%s: that is not UTF-8", command);
  send_all (conn, text, strlen (text));
  send_all (conn, "\n", 1);
  free (text);
}

json_t *
conn_line (struct conn *conn)
{
  char *line = NULL;
  size_t size = 0;
  json_t *object = NULL;

  if (getline (&line, &size, conn->in) > 0) {
    object = json_loads (line, 0, NULL);
    if (!json_is_object (object))
      die (EXIT_TROUBLE, "the server says what is not understood");
  }
  free (line);
  return object;
}

json_t *
conn_answer (struct conn *conn, conn_event_fn *fn)
{
  json_t *line, *error, *result;

  while ((line = conn_line (conn)) != NULL && json_object_get (line, "event")) {
    if (fn)
      fn (line);
    json_decref (line);
  }
  if (line == NULL)
    die (EXIT_TROUBLE, "the server has hung up");
  error = json_object_get (line, "error");
  if (error)
    die (EXIT_REFUSED, "%s", string_of (error, "desc"));
  result = json_incref (json_object_get (line, "return"));
  json_decref (line);
  return result;
}

json_t *
conn_run (struct conn *conn, const char *command, json_t *arguments)
{
  conn_begin (conn, command, arguments);
  return conn_answer (conn, NULL);
}

double
number_of (const json_t *object, const char *key)
{
  return json_number_value (json_object_get (object, key));
}

const char *
string_of (const json_t *object, const char *key)
{
  const char *s = json_string_value (json_object_get (object, key));

  return s ? s : "";
}

bool
is_known (const json_t *object, const char *key)
{
  return json_is_number (json_object_get (object, key));
}
