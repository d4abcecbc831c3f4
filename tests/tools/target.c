/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The server under test.  See target.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "target.h"
#include "util.h"

static struct nbd_handle *
connect_one (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();
  uint32_t strict;

  if (nbd == NULL)
    die ("%s", nbd_get_error ());
  /* Whether odd offsets are right is for the server to say. */
  strict = nbd_get_strict_mode (nbd) & ~(uint32_t) LIBNBD_STRICT_ALIGN;
  if (nbd_set_strict_mode (nbd, strict) == -1 ||
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_uri (nbd, uri) == -1)
    die ("%s: %s", uri, nbd_get_error ());
  return nbd;
}

static void
learn (struct target *target, const char *uri)
{
  struct nbd_handle *nbd = target->nbd[0];
  int64_t size = nbd_get_size (nbd);

  if (size <= 0)
    die ("%s: the disk has no size", uri);
  target->size = target->disk_size = (uint64_t) size;
  target->can_flush = nbd_can_flush (nbd) == 1;
  target->can_fua = nbd_can_fua (nbd) == 1;
  target->can_zero = nbd_can_zero (nbd) == 1;
  target->can_fast_zero = nbd_can_fast_zero (nbd) == 1;
  target->can_trim = nbd_can_trim (nbd) == 1;
  target->can_cache = nbd_can_cache (nbd) == 1;
  target->can_extents =
    nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  if (target->n > 1 && nbd_can_multi_conn (nbd) != 1)
    die ("%s: the server does not offer multi-conn", uri);
}

void
target_open (struct target *target, const char *uri, unsigned n)
{
  unsigned i;

  if (n < 1 || n > MAX_CONNECTIONS)
    die ("connections: 1 to %d", MAX_CONNECTIONS);
  memset (target, 0, sizeof *target);
  target->n = n;
  for (i = 0; i < n; i++)
    target->nbd[i] = connect_one (uri);
  learn (target, uri);
}

void
target_set_window (struct target *target, uint64_t base, uint64_t size)
{
  if (base >= target->disk_size || size > target->disk_size - base)
    die ("the disk of %" PRIu64 " bytes has no window at %" PRIu64,
         target->disk_size, base);
  target->base = base;
  target->size = size > 0 ? size : target->disk_size - base;
}

void
target_close (struct target *target)
{
  unsigned i;

  for (i = 0; i < target->n; i++) {
    if (nbd_aio_is_ready (target->nbd[i]) == 1)
      nbd_shutdown (target->nbd[i], 0);
    nbd_close (target->nbd[i]);
  }
  target->n = 0;
}

static bool
is_alive (struct nbd_handle *nbd)
{
  return nbd_aio_is_dead (nbd) != 1 && nbd_aio_is_closed (nbd) != 1;
}

static short
wanted (struct nbd_handle *nbd)
{
  unsigned dir = nbd_aio_get_direction (nbd);
  short events = 0;

  if (dir & LIBNBD_AIO_DIRECTION_READ)
    events |= POLLIN;
  if (dir & LIBNBD_AIO_DIRECTION_WRITE)
    events |= POLLOUT;
  return events;
}

static void
notify (struct nbd_handle *nbd, short revents)
{
  unsigned dir = nbd_aio_get_direction (nbd);

  if ((dir & LIBNBD_AIO_DIRECTION_READ) &&
      (revents & (POLLIN | POLLHUP | POLLERR)))
    nbd_aio_notify_read (nbd);
  else if ((dir & LIBNBD_AIO_DIRECTION_WRITE) &&
           (revents & (POLLOUT | POLLHUP | POLLERR)))
    nbd_aio_notify_write (nbd);
}

unsigned
target_poll (struct target *target, int timeout)
{
  struct pollfd fds[MAX_CONNECTIONS];
  unsigned i, alive = 0;

  for (i = 0; i < target->n; i++) {
    bool up = is_alive (target->nbd[i]);

    fds[i].fd = up ? nbd_aio_get_fd (target->nbd[i]) : -1;
    fds[i].events = up ? wanted (target->nbd[i]) : 0;
    fds[i].revents = 0;
    alive += up;
  }
  if (alive == 0)
    return 0;
  if (poll (fds, target->n, timeout) < 0 && errno != EINTR)
    die ("poll: %s", strerror (errno));
  for (i = 0; i < target->n; i++)
    if (fds[i].revents)
      notify (target->nbd[i], fds[i].revents);
  return alive;
}
