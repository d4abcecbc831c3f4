/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where messages go, with a standard error, a system log and nbdkit's log that
 * this file reads.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/log.h"
#include "tests/unit/test.h"

/* The C library's, stood in for; <syslog.h> has macros in env.h's way. */
extern void syslog (int priority, const char *fmt, ...);

static char said[4][256]; /* by nbdkit_error, nbdkit_debug, syslog, stderr */
enum { BY_ERROR, BY_DEBUG, BY_SYSLOG, BY_STDERR };
static int priority;

#define KEEP(by, fmt)                                                          \
  do {                                                                         \
    va_list args;                                                              \
                                                                               \
    va_start (args, fmt);                                                      \
    vsnprintf (said[by], sizeof said[by], fmt, args);                          \
    va_end (args);                                                             \
    errno = ENOENT;                                                            \
  } while (0)

void
nbdkit_error (const char *fmt, ...)
{
  KEEP (BY_ERROR, fmt);
}

void
nbdkit_debug (const char *fmt, ...)
{
  KEEP (BY_DEBUG, fmt);
}

void
syslog (int pri, const char *fmt, ...)
{
  priority = pri;
  KEEP (BY_SYSLOG, fmt);
}

/* The system log's socket. */
int
connect (int fd, const struct sockaddr *address, socklen_t len)
{
  const struct sockaddr_un *un = (const struct sockaddr_un *) address;

  (void) fd;
  (void) len;
  assert_int_equal (un->sun_family, AF_UNIX);
  assert_string_equal (un->sun_path, "/dev/log");
  return 0;
}

ssize_t
sendmsg (int fd, const struct msghdr *msg, int flags)
{
  size_t i, n = 0;

  (void) fd;
  (void) flags;
  for (i = 0; i < msg->msg_iovlen; i++) {
    memcpy (said[BY_SYSLOG] + n, msg->msg_iov[i].iov_base,
            msg->msg_iov[i].iov_len);
    n += msg->msg_iov[i].iov_len;
  }
  return (ssize_t) n;
}

/* Log one message, and see that it came out there, in these words, and nowhere
 * else; in none: -1.
 */
static void
expect (enum log_level level, int by, const char *words)
{
  int old = dup (STDERR_FILENO), fds[2], i;
  ssize_t n;

  memset (said, 0, sizeof said);
  assert_int_equal (pipe2 (fds, O_NONBLOCK), 0);
  dup2 (fds[1], STDERR_FILENO);
  errno = EDOM;
  log_message (NULL, level, "a word");
  i = errno;
  n = read (fds[0], said[BY_STDERR], sizeof said[BY_STDERR] - 1);
  dup2 (old, STDERR_FILENO);
  close (old);
  close (fds[0]);
  close (fds[1]);

  assert_true (n > 0 || by != BY_STDERR);
  assert_int_equal (i, EDOM);
  for (i = 0; i < 4; i++)
    assert_string_equal (said[i], i == by ? words : "");
}

TEST (stderr)
{
  expect (LOG_INFO, BY_STDERR,
          "nbdkit: folio: a word\n"); /* before any start */
  log_start (CMDLINE_LOG_DEFAULT, false);
  expect (LOG_INFO, BY_STDERR, "nbdkit: folio: a word\n");
  expect (LOG_ERROR, BY_ERROR, "folio: a word");
  expect (LOG_DEBUG, BY_DEBUG, "folio: a word");
  log_start (CMDLINE_LOG_STDERR, true);
  expect (LOG_INFO, BY_STDERR, "nbdkit: folio: a word\n");
}

TEST (syslog)
{
  log_start (CMDLINE_LOG_DEFAULT, true);
  expect (LOG_INFO, BY_SYSLOG, "folio: a word");
  assert_int_equal (priority, 3 << 3 | 6); /* a daemon's, informational */
  expect (LOG_ERROR, BY_ERROR, "folio: a word");
  log_start (CMDLINE_LOG_SYSLOG, false);
  expect (LOG_INFO, BY_SYSLOG, "folio: a word");
}

TEST (nowhere)
{
  log_start (CMDLINE_LOG_NULL, false);
  expect (LOG_INFO, -1, "");
  expect (LOG_ERROR, BY_ERROR, "folio: a word"); /* nbdkit drops it */
}

/* The last test: there is no way back. */
TEST (bypass)
{
  char line[64];

  log_bypass ();
  log_start (CMDLINE_LOG_STDERR, false);
  expect (LOG_INFO, BY_STDERR, "nbdkit: folio: a word\n");
  expect (LOG_ERROR, BY_STDERR, "nbdkit: error: folio: a word\n");
  expect (LOG_DEBUG, -1, "");
  log_start (CMDLINE_LOG_NULL, false);
  expect (LOG_ERROR, -1, "");
  log_start (CMDLINE_LOG_SYSLOG, false);
  snprintf (line, sizeof line, "<%d>nbdkit[%d]: folio: a word", 3 << 3 | 3,
            (int) getpid ());
  expect (LOG_ERROR, BY_SYSLOG, line);
}

RUN_TESTS ()
