/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where messages go.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

/* <syslog.h> has macros of these names, for priorities. */
#undef LOG_INFO
#undef LOG_DEBUG
#define SYSLOG_ERR (LOG_DAEMON | LOG_ERR)
#define SYSLOG_INFO (LOG_DAEMON | 6)

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/log.h"

static enum cmdline_log destination = CMDLINE_LOG_STDERR;
static _Atomic bool bypass;

void
log_start (enum cmdline_log log, bool background)
{
  destination = log;
  if (log == CMDLINE_LOG_DEFAULT)
    destination = background ? CMDLINE_LOG_SYSLOG : CMDLINE_LOG_STDERR;
}

void
log_bypass (void)
{
  bypass = true;
}

/* One line in one piece, as nbdkit begins its own. */
static void
to_stderr (enum log_level level, const char *message)
{
  const char *kind =
    level == LOG_ERROR ? "nbdkit: error: folio: " : "nbdkit: folio: ";
  const struct iovec parts[] = {
    { (void *) kind, strlen (kind) },
    { (void *) message, strlen (message) },
    { (void *) "\n", 1 },
  };
  bool lock = !bypass;
  ssize_t r;

  if (lock)
    flockfile (stderr); /* not in the middle of a line of nbdkit's */
  r = writev (STDERR_FILENO, parts, 3);
  (void) r;
  if (lock)
    funlockfile (stderr);
}

/* As syslog(3) does it, without its lock, and without waiting. */
static void
to_syslog_socket (int priority, const char *message)
{
  const struct sockaddr_un address = { .sun_family = AF_UNIX,
                                       .sun_path = "/dev/log" };
  int fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  char head[64];
  struct iovec parts[2];
  struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2 };
  ssize_t r;
  int n;

  if (fd == -1)
    return;
  n = snprintf (head, sizeof head, "<%d>nbdkit[%d]: folio: ", priority,
                (int) getpid ());
  parts[0] = (struct iovec) { head, n };
  parts[1] = (struct iovec) { (void *) message, strlen (message) };
  if (connect (fd, (const struct sockaddr *) &address, sizeof address) == 0) {
    r = sendmsg (fd, &msg, MSG_NOSIGNAL);
    (void) r;
  }
  close (fd);
}

static void
to_syslog (enum log_level level, const char *message)
{
  int priority = level == LOG_ERROR ? SYSLOG_ERR : SYSLOG_INFO;

  if (bypass)
    to_syslog_socket (priority, message);
  else
    syslog (priority, "folio: %s", message);
}

void
log_message (struct env *env, enum log_level level, const char *message)
{
  int error = errno;

  (void) env;
  if (level == LOG_DEBUG) {
    if (!bypass)
      nbdkit_debug ("folio: %s", message);
  }
  else if (level == LOG_ERROR && !bypass)
    nbdkit_error ("folio: %s", message);
  else if (destination == CMDLINE_LOG_STDERR)
    to_stderr (level, message);
  else if (destination == CMDLINE_LOG_SYSLOG)
    to_syslog (level, message);
  errno = error;
}
