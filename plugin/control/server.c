/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The control socket's thread.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/num.h"
#include "plugin/control/jobs.h"
#include "plugin/control/server.h"

/* Of JSON, objects within objects are parsed by recursion. */
#define STACK_SIZE ((size_t) 1 << 20)

static uint64_t
now_of (const struct control *control)
{
  return control->env->now (control->env);
}

/* --- who comes --- */

/* The server's own user, and root. */
static bool
is_allowed (int fd)
{
  struct ucred peer;
  socklen_t size = sizeof peer;

  return getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == 0 || peer.uid == geteuid ());
}

static void
turn_away (int fd, const char *why)
{
  json_t *error = client_error ("GenericError", why);
  char *text = error ? json_dumps (error, JSON_COMPACT) : NULL;

  if (text) {
    ssize_t n = send (fd, text, strlen (text), MSG_NOSIGNAL | MSG_DONTWAIT);

    n = n == -1 ? 0 : send (fd, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void) n;
  }
  free (text);
  json_decref (error);
  close (fd);
}

static void
take_client (struct control *control)
{
  int fd = accept4 (control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  struct client *client;

  if (fd == -1) {
    /* Without descriptors poll would tell of the same again, at once. */
    if (errno != EAGAIN)
      control->accept_at = now_of (control) + NSEC_PER_SEC;
    return;
  }
  if (!is_allowed (fd)) {
    turn_away (fd, "not the user of the server");
    return;
  }
  if (control->n == MAX_CLIENTS) {
    turn_away (fd, "there are too many clients");
    return;
  }
  client = client_create (fd, now_of (control));
  if (client == NULL) {
    close (fd);
    return;
  }
  control->clients[control->n++] = client;
  client_send (client,
               json_pack ("{s:{s:s}}", "folio", "version", PACKAGE_VERSION));
}

static void
drop_client (struct control *control, unsigned i)
{
  struct client *client = control->clients[i];

  jobs_forget (control, client);
  pause_forget (control, client);
  control->clients[i] = control->clients[--control->n];
  client_destroy (client);
}

/* --- the loop --- */

static void
take_line (void *opaque, struct client *client, const char *line, size_t size)
{
  command_line (opaque, client, line, size);
}

static void
serve (struct control *control, struct client *client, short events)
{
  if (events & (POLLERR | POLLNVAL))
    client->broken = true;
  if (events & POLLOUT)
    client_writable (client);
  /* Lines that have come while answers had to wait are taken now. */
  if (client->out_size == 0 && !client->broken)
    client_readable (client, now_of (control), take_line, control);
}

/* In ms, for poll. */
static int
timeout_of (struct control *control)
{
  uint64_t now = now_of (control), next = now + 60 * NSEC_PER_SEC;
  unsigned i;

  if (control->accept_at > now)
    next = control->accept_at;
  if (control->pause.client)
    next = min_u64 (next, min_u64 (control->pause.until, now + NSEC_PER_SEC));

  for (i = 0; i < control->n; i++)
    next = min_u64 (next, client_deadline (control->clients[i]));
  return next > now ? (int) ((next - now) / NSEC_PER_MSEC) + 1 : 0;
}

static void
turn (struct control *control)
{
  struct pollfd fds[2 + MAX_CLIENTS];
  unsigned i, n = control->n;
  uint64_t count;
  ssize_t r;

  fds[0] = (struct pollfd) { .fd = control->wake, .events = POLLIN };
  fds[1] = (struct pollfd) { .fd = control->fd };
  if (now_of (control) >= control->accept_at)
    fds[1].events = POLLIN;
  for (i = 0; i < n; i++)
    fds[2 + i] = (struct pollfd) {
      .fd = control->clients[i]->fd,
      .events = client_events (control->clients[i]),
    };
  if (poll (fds, 2 + n, timeout_of (control)) == -1)
    return;
  if (fds[0].revents) {
    r = read (control->wake, &count, sizeof count);
    (void) r;
  }
  for (i = 0; i < n; i++)
    if (fds[2 + i].revents)
      serve (control, control->clients[i], fds[2 + i].revents);
  jobs_look (control);
  pause_look (control);
  for (i = control->n; i-- > 0;)
    if (client_is_over (control->clients[i], now_of (control)))
      drop_client (control, i);
  if (fds[1].revents)
    take_client (control);
}

static void *
run (void *opaque)
{
  struct control *control = opaque;

  while (!atomic_load (&control->stop))
    turn (control);
  while (control->n > 0)
    drop_client (control, control->n - 1);
  jobs_end (control);
  return NULL;
}

/* --- its life --- */

static void
free_control (struct control *control)
{
  if (control->wake != -1)
    close (control->wake);
  close (control->fd);
  free (control);
}

int
control_start (int fd, struct env *env, struct config *config,
               struct disk *disk, struct control **ret)
{
  struct control *control = calloc (1, sizeof *control);
  int r;

  if (control == NULL) {
    close (fd);
    return -ENOMEM;
  }
  control->fd = fd;
  control->env = env;
  control->config = config;
  control->disk = disk;
  control->started = now_of (control);
  control->io_depth = config->io_depth;
  control->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  r = control->wake == -1 ? -errno : 0;
  if (r == 0)
    r = env_thread (&control->thread, STACK_SIZE, run, control);
  if (r < 0) {
    free_control (control);
    return r;
  }
  *ret = control;
  return 0;
}

void
control_stop (struct control *control)
{
  atomic_store (&control->stop, true);
  eventfd_write (control->wake, 1);
  pthread_join (control->thread, NULL);
  free_control (control);
}
