/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One client of the control socket.
 *
 * As long as answers wait to be sent nothing is read: who asks without listening
 * waits for itself.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/env.h"
#include "fs/num.h"
#include "plugin/control/client.h"

struct client *
client_create (int fd, uint64_t now)
{
  struct client *client = calloc (1, sizeof *client);

  if (client)
    client->in = malloc (CLIENT_LINE_MAX);
  if (client == NULL || client->in == NULL) {
    free (client);
    return NULL;
  }
  client->fd = fd;
  client->last_line = now;
  return client;
}

void
client_destroy (struct client *client)
{
  close (client->fd);
  free (client->in);
  free (client->out);
  free (client);
}

json_t *
client_error (const char *class, const char *desc)
{
  return json_pack ("{s:{s:s,s:s}}", "error", "class", class, "desc", desc);
}

/* --- sending --- */

void
client_writable (struct client *client)
{
  ssize_t n;

  if (client->out_size == 0 || client->broken)
    return;
  n = send (client->fd, client->out, client->out_size,
            MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n == -1) {
    client->broken = errno != EAGAIN && errno != EINTR;
    return;
  }
  client->out_size -= (size_t) n;
  memmove (client->out, client->out + n, client->out_size);
}

static bool
append (struct client *client, const char *text)
{
  size_t size = strlen (text);
  char *out;

  if (client->out_size + size + 2 > CLIENT_OUT_MAX)
    return false;
  out = realloc (client->out, client->out_size + size + 2);
  if (out == NULL)
    return false;
  memcpy (out + client->out_size, text, size);
  memcpy (out + client->out_size + size, "\r\n", 2);
  client->out = out;
  client->out_size += size + 2;
  return true;
}

void
client_send (struct client *client, json_t *object)
{
  char *text = object ? json_dumps (object, JSON_COMPACT) : NULL;

  json_decref (object);
  if (text == NULL || !append (client, text))
    client->broken = true;
  free (text);
  client_writable (client);
}

/* --- receiving --- */

/* Hand over the lines that are complete; what is left begins the buffer. */
static void
take_lines (struct client *client, uint64_t now, client_line_fn *fn,
            void *opaque)
{
  char *line = client->in, *end;
  size_t left = client->in_size;

  while (!client->broken && client->out_size == 0 &&
         (end = memchr (line, '\n', left)) != NULL) {
    size_t size = (size_t) (end - line);

    client->last_line = now;
    fn (opaque, client, line, size);
    line += size + 1;
    left -= size + 1;
  }
  if (left != client->in_size)
    client->since = 0;
  memmove (client->in, line, left);
  client->in_size = left;
}

static bool
line_waits (const struct client *client)
{
  return memchr (client->in, '\n', client->in_size) != NULL;
}

static void
receive (struct client *client)
{
  ssize_t n = recv (client->fd, client->in + client->in_size,
                    CLIENT_LINE_MAX - client->in_size, MSG_DONTWAIT);

  if (n > 0)
    client->in_size += (size_t) n;
  else if (n == 0)
    client->ended = true;
  else
    client->broken = errno != EAGAIN && errno != EINTR;
}

void
client_readable (struct client *client, uint64_t now, client_line_fn *fn,
                 void *opaque)
{
  if (!line_waits (client) && !client->ended)
    receive (client);
  take_lines (client, now, fn, opaque);
  if (client->in_size > 0 && client->since == 0)
    client->since = now;
  if (client->in_size == CLIENT_LINE_MAX && !line_waits (client)) {
    client_send (client, client_error ("GenericError", "the line is too long"));
    client->ended = true;
    client->in_size = 0;
  }
}

/* --- its life --- */

short
client_events (const struct client *client)
{
  if (client->out_size > 0)
    return POLLOUT;
  return client->ended ? 0 : POLLIN;
}

bool
client_is_over (const struct client *client, uint64_t now)
{
  return client->broken || now >= client_deadline (client) ||
         (client->ended && client->waits == 0 && client->out_size == 0 &&
          !line_waits (client));
}

uint64_t
client_deadline (const struct client *client)
{
  uint64_t idle = client->last_line + CLIENT_IDLE_TIME;

  return client->since ? min_u64 (idle, client->since + CLIENT_LINE_TIME)
                       : idle;
}
