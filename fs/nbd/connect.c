/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: one connection is made, asked what the export is like, and
 * ended politely.
 */

#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/nbd/nbd-impl.h"

/* How long a goodbye may take. */
#define GOODBYE_TIMEOUT (NSEC_PER_SEC / 2)

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
negotiate (const struct nbd_store *nbd, struct nbd_handle *h, uint64_t deadline,
           int cancel_fd, char *why)
{
  uint64_t begun = nbd->store.env->now (nbd->store.env);
  int r = 1;

  if (nbd_set_uri_allow_local_file (h, true) < 0 ||
      nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
      nbd_aio_connect_uri (h, nbd->uri) < 0)
    r = -1;
  while (r > 0 && !nbd_aio_is_ready (h)) {
    if (nbd_aio_is_dead (h) || nbd_aio_is_closed (h))
      r = -1;
    else
      r = step (nbd->store.env, h, deadline, cancel_fd);
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
handle_connect (const struct nbd_store *nbd, uint64_t deadline, int cancel_fd,
                struct nbd_handle **handle, char *why)
{
  struct nbd_handle *h = nbd_create ();
  char *dir;
  int r;

  if (h == NULL) {
    handle_explain (why, "out of memory");
    return -ENOMEM;
  }
  r = demand_authority (h, nbd->uri, &dir, why);
  if (r == 0)
    r = negotiate (nbd, h, deadline, cancel_fd, why);
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

/* The size of blocks that the server named, or def. */
static uint32_t
block_size (struct nbd_handle *h, int which, uint32_t def)
{
  int64_t n = nbd_get_block_size (h, which);

  if (n <= 0)
    return def;
  return n < UINT32_MAX ? (uint32_t) n : UINT32_MAX;
}

int
export_learn (struct nbd_handle *h, struct export_facts *facts, char *why)
{
  int64_t size = nbd_get_size (h);

  if (size < 0) {
    handle_explain (why, "its size is not known");
    return handle_errno ();
  }
  *facts = (struct export_facts) {
    .min_block = block_size (h, LIBNBD_SIZE_MINIMUM, 1),
    .max_block = block_size (h, LIBNBD_SIZE_MAXIMUM, MAX_PAYLOAD),
    .readonly = nbd_is_read_only (h) > 0,
    .flush = nbd_can_flush (h) > 0,
    .fua = nbd_can_fua (h) > 0,
    .zero = nbd_can_zero (h) > 0,
    .fast_zero = nbd_can_fast_zero (h) > 0,
    .multi_conn = nbd_can_multi_conn (h) > 0,
    .rotational = nbd_is_rotational (h) > 0,
    .extents = nbd_can_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
  };
  if (facts->max_block > MAX_PAYLOAD)
    facts->max_block = MAX_PAYLOAD;
  facts->tail = (uint32_t) ((uint64_t) size % facts->min_block);
  facts->size = (uint64_t) size - facts->tail;
  return 0;
}

/* What it could it still can; more does no harm. */
static bool
still (const char *what, bool was, bool is, char *why)
{
  if (is || !was)
    return true;
  snprintf (why, WHY_MAX, "it was %s, and now is not", what);
  return false;
}

/* Whatever is asked of a disk of that size and those blocks, it takes. */
static bool
blocks_fit (const struct export_facts *was, const struct export_facts *is,
            char *why)
{
  uint32_t granted = was->min_block < 512 ? 512 : was->min_block;

  if (is->max_block < MAX_MIN_IO) {
    snprintf (why, WHY_MAX,
              "it took requests of up to %" PRIu32
              " bytes, and now takes up to %" PRIu32 "; at least %u are needed",
              was->max_block, is->max_block, MAX_MIN_IO);
    return false;
  }
  if (granted % is->min_block == 0 && was->size % is->min_block == 0)
    return true;
  snprintf (why, WHY_MAX,
            "it took requests of %" PRIu32
            " bytes or multiples, and now takes %" PRIu32 " or multiples only",
            was->min_block, is->min_block);
  return false;
}

/* All of what it was is there; what is behind it is not touched. */
static bool
large_enough (const struct export_facts *was, const struct export_facts *is,
              char *why)
{
  if (is->size >= was->size)
    return true;
  snprintf (why, WHY_MAX,
            "it had %" PRIu64 " bytes, and now has %" PRIu64 " bytes",
            was->size + was->tail, is->size + is->tail);
  return false;
}

/* It still does what writing to it takes?  FUA can be had by a flush, and in place
 * of one; zeroes that have to be written are as good as a promise broken to clients
 * that trim, and may fill what lies under the server.
 */
static bool
still_written_to (const struct export_facts *was, const struct export_facts *is,
                  char *why)
{
  if (is->readonly && !was->readonly) {
    snprintf (why, WHY_MAX, "it was not read-only, and now is read-only");
    return false;
  }
  return still ("able to flush", was->flush, is->flush, why) &&
         still ("able to do FUA", was->fua, is->fua || is->flush, why) &&
         still ("able to zero", was->zero, is->zero, why);
}

bool
export_fits (const struct nbd_store *nbd, const struct export_facts *is,
             char *why)
{
  const struct export_facts *was = &nbd->facts;

  return blocks_fit (was, is, why) && large_enough (was, is, why) &&
         (nbd->store.geo.readonly || still_written_to (was, is, why));
}

static uint32_t
smaller (uint32_t a, uint32_t b)
{
  return a < b ? a : b;
}

void
export_join (struct export_facts *facts, const struct export_facts *other)
{
  if (other->size < facts->size) {
    facts->size = other->size;
    facts->tail = other->tail;
  }
  if (facts->min_block < other->min_block)
    facts->min_block = other->min_block;
  facts->max_block = smaller (facts->max_block, other->max_block);
  facts->readonly |= other->readonly;
  facts->flush &= other->flush;
  facts->fua &= other->fua;
  facts->zero &= other->zero;
  facts->fast_zero &= other->fast_zero;
  facts->multi_conn &= other->multi_conn;
  facts->extents &= other->extents;
}

void
handle_goodbye (struct env *env, struct nbd_handle **handles, unsigned n)
{
  uint64_t deadline = env->now (env) + GOODBYE_TIMEOUT;
  unsigned i;

  for (i = 0; i < n; i++)
    if (nbd_aio_is_ready (handles[i]) || nbd_aio_is_processing (handles[i]))
      nbd_aio_disconnect (handles[i], 0);
  for (i = 0; i < n; i++) {
    while (!nbd_aio_is_closed (handles[i]) && !nbd_aio_is_dead (handles[i]) &&
           step (env, handles[i], deadline, -1) > 0)
      ;
    nbd_close (handles[i]);
  }
}
