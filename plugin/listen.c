/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Sockets that listen.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "plugin/listen.h"
#include "plugin/parse.h"

#define UNIX_PREFIX "unix:"
#define BACKLOG 16

/* [HOST:]PORT in its parts. */
struct parts {
  char host[256];
  const char *port;
};

const char *
listen_path (const char *address)
{
  size_t n = strlen (UNIX_PREFIX);

  return strncmp (address, UNIX_PREFIX, n) == 0 ? address + n : NULL;
}

/* Returns whether there are such parts.  An address of IPv6 is in brackets. */
static bool
split (const char *address, struct parts *parts)
{
  const char *colon = strrchr (address, ':'), *host = address;
  size_t n;

  parts->port = colon ? colon + 1 : address;
  if (colon == NULL) {
    strcpy (parts->host, "127.0.0.1");
    return true;
  }
  n = (size_t) (colon - address);
  if (host[0] == '[') {
    if (n < 3 || host[n - 1] != ']')
      return false;
    host++;
    n -= 2;
  }
  else if (memchr (host, ':', n))
    return false;
  if (n == 0 || n >= sizeof parts->host)
    return false;
  memcpy (parts->host, host, n);
  parts->host[n] = '\0';
  return true;
}

const char *
listen_wrong (const char *address)
{
  const char *path = listen_path (address);
  struct parts parts;
  uint64_t port;

  if (path)
    return path[0] ? NULL : "no path given";
  if (!split (address, &parts))
    return "not an address and a port";
  if (parse_number (parts.port, &port) != PARSE_OK)
    return "the port is not a whole number";
  return port >= 1 && port <= 65535 ? NULL : "no such port";
}

/* --- ports --- */

/* A socket that listens there.  Returns it or a negative errno. */
static int
listen_at (const struct sockaddr *at, socklen_t length)
{
  int fd =
    socket (at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int one = 1;
  int r;

  if (fd == -1)
    return -errno;
  setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind (fd, at, length) == 0 && listen (fd, BACKLOG) == 0)
    return fd;
  r = -errno;
  close (fd);
  return r;
}

int
listen_port (const char *address, struct listener *listener, char *err,
             size_t size)
{
  const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
  struct addrinfo *found;
  struct parts parts;
  int r;

  *listener = (struct listener) { .fd = -1 };
  if (!split (address, &parts))
    return -EINVAL;
  r = getaddrinfo (parts.host, parts.port, &hints, &found);
  if (r != 0) {
    snprintf (err, size, "%s: %s", address, gai_strerror (r));
    return -EINVAL;
  }
  r = listen_at (found->ai_addr, found->ai_addrlen);
  freeaddrinfo (found);
  errno = -r;
  if (r < 0) {
    snprintf (err, size, "%s: cannot listen: %m", address);
    return r;
  }
  listener->fd = r;
  return 0;
}

/* --- the file system --- */

/* Is there a socket to which nobody listens? */
static bool
is_left_over (const struct sockaddr_un *at)
{
  struct stat st;
  int fd;
  bool refused;

  if (lstat (at->sun_path, &st) == -1 || !S_ISSOCK (st.st_mode))
    return false;
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    return false;
  refused = connect (fd, (const struct sockaddr *) at, sizeof *at) == -1 &&
            errno == ECONNREFUSED;
  close (fd);
  return refused;
}

/* Two that start at once must not take each other's socket for one that is left
 * over, before it listens: one after the other.
 */
static int
lock_folder (const char *path)
{
  char *copy = strdup (path);
  int fd = -1;

  if (copy)
    fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (copy);
  if (fd != -1)
    flock (fd, LOCK_EX);
  return fd;
}

/* Returns the socket or a negative errno. */
static int
listen_file (const struct sockaddr_un *at, mode_t mode)
{
  int lock = lock_folder (at->sun_path), fd;
  mode_t umask_before;

  if (is_left_over (at))
    unlink (at->sun_path);
  umask_before = umask (0777 & ~mode);
  fd = listen_at ((const struct sockaddr *) at, sizeof *at);
  umask (umask_before);
  if (lock != -1)
    close (lock);
  return fd;
}

int
listen_unix (const char *path, mode_t mode, struct listener *listener,
             char *err, size_t size)
{
  struct sockaddr_un at = { .sun_family = AF_UNIX };
  struct stat st;
  int r;

  *listener = (struct listener) { .fd = -1 };
  if (strlen (path) >= sizeof at.sun_path) {
    snprintf (err, size, "%s: longer than the %zu letters of a socket's path",
              path, sizeof at.sun_path - 1);
    return -ENAMETOOLONG;
  }
  strcpy (at.sun_path, path);
  listener->path = strdup (path);
  r = listener->path ? listen_file (&at, mode) : -ENOMEM;
  if (r >= 0 && lstat (path, &st) == 0) {
    listener->fd = r;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    return 0;
  }
  errno = -r;
  snprintf (err, size, "%s: %s: %m", path,
            r == -EADDRINUSE ? "something is there already" : "cannot listen");
  free (listener->path);
  listener->path = NULL;
  return r;
}

void
listen_end (struct listener *listener)
{
  struct stat st;

  if (listener->path && lstat (listener->path, &st) == 0 &&
      st.st_dev == listener->dev && st.st_ino == listener->ino)
    unlink (listener->path);
  free (listener->path);
  if (listener->fd != -1)
    close (listener->fd);
  *listener = (struct listener) { .fd = -1 };
}
