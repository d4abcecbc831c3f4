/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: one connection is made, asked what the export is like, and
 * ended politely.
 */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/nbd/handle.h"
#include "fs/nbd/uri.h"

void
handle_explain (char *why, const char *def)
{
  const char *s = nbd_get_error ();
  const char *colon = s ? strstr (s, ": ") : NULL;

  if (colon && strncmp (s, "nbd_", 4) == 0)
    s = colon + 2;
  snprintf (why, WHY_MAX, "%s", s && *s ? s : def);
}

int
handle_errno (void)
{
  int e = nbd_get_errno ();

  return e > 0 ? -e : -EIO;
}

static int
poll_timeout (struct env *env, uint64_t deadline)
{
  uint64_t now = env->now (env);

  if (now >= deadline)
    return 0;
  return (int) ((deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

/* Wait for what the handle waits for and have libnbd go on.  Returns 1; 0 if it
 * is too late by env's clock, even for what has come, of which there may be no
 * end, or it was cancelled; -1 if libnbd failed.
 */
static int
step (struct env *env, struct nbd_handle *h, uint64_t deadline, int cancel_fd)
{
  unsigned direction = nbd_aio_get_direction (h);
  struct pollfd fds[2] = { { .fd = nbd_aio_get_fd (h) },
                           { .fd = cancel_fd, .events = POLLIN } };
  int timeout = poll_timeout (env, deadline), n;

  if (timeout == 0)
    return 0;
  if (direction & LIBNBD_AIO_DIRECTION_READ)
    fds[0].events |= POLLIN;
  if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    fds[0].events |= POLLOUT;
  n = poll (fds, 2, timeout);
  if (n < 0)
    return errno == EINTR ? 1 : -1;
  if (n == 0)
    return 1;
  if (fds[1].revents)
    return 0;
  if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) &&
      direction & LIBNBD_AIO_DIRECTION_READ)
    return nbd_aio_notify_read (h) < 0 ? -1 : 1;
  return nbd_aio_notify_write (h) < 0 ? -1 : 1;
}

/* A dead peer is noticed even if nothing is to be sent to it.  While something is,
 * how long the peer may take for it is for the store to say: TCP_USER_TIMEOUT would
 * also end connections to one that lives and is too busy to read, and, by tcp(7),
 * would be in force instead of this.
 */
static void
set_keepalive (int fd)
{
  const int on = 1, idle = 10, interval = 5, count = 3;
  int domain = 0;
  socklen_t len = sizeof domain;

  if (getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
      (domain != AF_INET && domain != AF_INET6))
    return;
  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

/* ----------------------------------------------------------- whom to trust */

/* Can dir/ca-cert.pem be read, by libnbd's own measure? */
static bool
has_authority (const char *dir, char *why)
{
  char *path;
  bool has;

  if (asprintf (&path, "%s/ca-cert.pem", dir) < 0) {
    snprintf (why, WHY_MAX, "out of memory");
    return false;
  }
  has = access (path, R_OK) == 0;
  if (!has)
    snprintf (why, WHY_MAX,
              "%s is needed to tell the server from an impostor: %s", path,
              strerror (errno));
  free (path);
  return has;
}

/* Where libnbd looks if no directory is named.  NULL, and why: nowhere. */
static char *
default_directory (char *why)
{
  const char *home = geteuid () != 0 ? getenv ("HOME") : NULL;
  const char *below[] = { "/.pki/libnbd", "/.config/pki/libnbd" };
  size_t i, n = home ? 2 : 1;
  char *dir;

  if (home == NULL) {
    home = "";
    below[0] = "/etc/pki/libnbd";
  }
  for (i = 0; i < n; i++) {
    if (asprintf (&dir, "%s%s", home, below[i]) < 0)
      break;
    if (has_authority (dir, why))
      return dir;
    free (dir);
  }
  return NULL;
}

/* Without an authority's certificate libnbd 1.14 takes those of the system, and
 * then verifies neither the server's nor that it is for this host.  So there
 * must be one, each time: a directory may vanish.  Returns 0 and the directory,
 * which libnbd was told, or NULL: none is needed.
 */
static int
demand_authority (struct nbd_handle *h, const char *uri, char **dir, char *why)
{
  bool psk;

  *dir = NULL;
  if (strncmp (uri, "nbds", 4) != 0)
    return 0;
  snprintf (why, WHY_MAX, "out of memory");
  if (nbd_store_tls_paths (uri, dir, &psk) < 0)
    return -ENOMEM;
  if (psk)
    return 0;
  if (*dir == NULL)
    *dir = default_directory (why);
  else if (!has_authority (*dir, why))
    return -ENOKEY;
  if (*dir == NULL)
    return -ENOKEY;
  /* Also a default: where it is may have been decided otherwise there. */
  if (nbd_set_tls_certificates (h, *dir) == 0)
    return 0;
  handle_explain (why, "out of memory");
  return -ENOMEM;
}

/* --------------------------------------------------------------- connecting */

static int
negotiate (struct env *env, const char *uri, struct nbd_handle *h,
           uint64_t deadline, int cancel_fd, char *why)
{
  uint64_t begun = env->now (env);
  int r = 1;

  /* Buffers need no clearing first: see on_chunk. */
  if (nbd_set_pread_initialize (h, false) < 0 ||
      nbd_set_uri_allow_local_file (h, true) < 0 ||
      nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
      nbd_aio_connect_uri (h, uri) < 0)
    r = -1;
  while (r > 0 && !nbd_aio_is_ready (h)) {
    if (nbd_aio_is_dead (h) || nbd_aio_is_closed (h))
      r = -1;
    else
      r = step (env, h, deadline, cancel_fd);
  }
  if (r > 0)
    return 0;
  if (r == 0) {
    snprintf (why, WHY_MAX, "no answer within %" PRIu64 " seconds",
              deadline > begun ? (deadline - begun) / NSEC_PER_SEC : 0);
    return -ETIMEDOUT;
  }
  handle_explain (why, "the server closed the connection");
  return handle_errno ();
}

int
handle_connect (struct env *env, const char *uri, uint64_t deadline,
                int cancel_fd, struct nbd_handle **handle, char *why)
{
  struct nbd_handle *h = nbd_create ();
  char *dir;
  int r;

  if (h == NULL) {
    handle_explain (why, "out of memory");
    return -ENOMEM;
  }
  r = demand_authority (h, uri, &dir, why);
  if (r == 0)
    r = negotiate (env, uri, h, deadline, cancel_fd, why);
  /* It may have vanished before libnbd looked. */
  if (r == 0 && dir && !has_authority (dir, why))
    r = -ENOKEY;
  free (dir);
  if (r < 0) {
    nbd_close (h);
    return r;
  }
  set_keepalive (nbd_aio_get_fd (h));
  *handle = h;
  return 0;
}

void
handle_goodbye (struct nbd_handle *handle)
{
  if (nbd_aio_is_ready (handle) || nbd_aio_is_processing (handle))
    nbd_aio_disconnect (handle, 0);
}

void
handle_close (struct env *env, struct nbd_handle *handle, uint64_t deadline)
{
  while (!nbd_aio_is_closed (handle) && !nbd_aio_is_dead (handle) &&
         step (env, handle, deadline, -1) > 0)
    ;
  nbd_close (handle);
}
