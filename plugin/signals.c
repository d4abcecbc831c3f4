/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Signals that tell nbdkit to stop.
 *
 *   process                         a signal is noted and      nbdkit's handler
 *   before any fork, or a child     kept until started         is called
 *   with --run, the parent          wakes the server's thread  is not
 *   the server, once started        wakes its thread           is called
 *   what the server forks           not                        is called
 *
 * nbdkit has set its handlers when it forks, and nothing of ours is called
 * between that and the fork but what pthread_atfork was told to call.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "plugin/signals.h"

#define NR_CAUGHT 4
static const int caught[NR_CAUGHT] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

/* What the eventfd adds up: signals in the lower half, wake-ups in the upper,
 * so that the server knows those of its parent.
 */
#define A_SIGNAL UINT64_C (1)
#define A_WAKE (UINT64_C (1) << 32)
#define ALL_SIGNALS (A_WAKE - 1)

_Atomic bool signals_flag;

/* Handlers read these: written while they are not set, or signals blocked. */
static struct {
  int fd;
  bool prepared;        /* forks matter: this may be one of nbdkit's */
  bool blocked;         /* by before_fork; mask is what it was */
  bool forked;          /* from the process that prepared ... */
  bool covered;         /* ... in which all signals were caught by then */
  _Atomic pid_t teller; /* the process that wakes the thread; 0: none */
  bool parent;          /* that process is the parent of the server */
  sigset_t mask;
  struct sigaction old[NR_CAUGHT];
} signals = { .fd = -1 };

static void
add (uint64_t n)
{
  /* It cannot fail but for a count that is near its end: then it is readable
   * already.
   */
  ssize_t r = write (signals.fd, &n, sizeof n);

  (void) r;
}

static void
call_old (const struct sigaction *old, int sig, siginfo_t *info, void *context)
{
  if (old->sa_flags & SA_SIGINFO)
    old->sa_sigaction (sig, info, context);
  else
    old->sa_handler (sig);
}

static void
handle (int sig, siginfo_t *info, void *context)
{
  bool teller = signals.teller == getpid ();
  int error = errno;
  unsigned i;

  signals_flag = true;
  if (teller)
    add (A_SIGNAL);
  for (i = 0; i < NR_CAUGHT; i++) {
    if (caught[i] == sig && !(teller && signals.parent))
      call_old (&signals.old[i], sig, info, context);
  }
  errno = error;
}

static bool
is_ours (const struct sigaction *action)
{
  return action->sa_flags & SA_SIGINFO && action->sa_sigaction == handle;
}

/* Put our handlers before those that are there.  Returns whether all are ours;
 * a signal that nbdkit does not catch is left as it is.
 */
static bool
catch_all (void)
{
  struct sigaction action;
  unsigned i, n = 0;

  for (i = 0; i < NR_CAUGHT; i++) {
    sigaction (caught[i], NULL, &action);
    if (!is_ours (&action)) {
      if (!(action.sa_flags & SA_SIGINFO) &&
          (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN))
        continue;
      signals.old[i] = action;
      action.sa_flags |= SA_SIGINFO;
      action.sa_sigaction = handle;
      sigaction (caught[i], &action, NULL);
    }
    n++;
  }
  return n == NR_CAUGHT;
}

/* --- fork --- */

/* Signals wait until each process knows which it is. */
static void
before_fork (void)
{
  sigset_t set;
  unsigned i;

  signals.blocked = signals.prepared;
  if (!signals.blocked)
    return;
  sigemptyset (&set);
  for (i = 0; i < NR_CAUGHT; i++)
    sigaddset (&set, caught[i]);
  pthread_sigmask (SIG_BLOCK, &set, &signals.mask);
  signals.covered = catch_all ();
}

static void
after_fork (bool parent)
{
  if (!signals.blocked)
    return;
  signals.blocked = false;
  signals.forked = !parent;
  signals.parent = parent;
  signals.teller = parent ? getpid () : 0;
  pthread_sigmask (SIG_SETMASK, &signals.mask, NULL);
}

static void
after_fork_in_parent (void)
{
  after_fork (true);
}

static void
after_fork_in_child (void)
{
  after_fork (false);
}

/* --- start and end --- */

int
signals_prepare (void)
{
  static bool registered; /* for good: the plugin is never unmapped */

  signals.fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (signals.fd == -1)
    return -errno;
  if (!registered &&
      pthread_atfork (before_fork, after_fork_in_parent, after_fork_in_child))
    return -ENOMEM;
  registered = true;
  signals.prepared = true;
  return 0;
}

void
signals_start (void)
{
  signals.prepared = false;
  signals.parent = false;
  signals.teller = getpid ();
  catch_all ();
  if (signals_seen ()) /* before there was a thread to wake */
    signals_wake ();
}

void
signals_stop (void)
{
  struct sigaction action;
  unsigned i;

  signals.prepared = false;
  for (i = 0; i < NR_CAUGHT; i++) {
    sigaction (caught[i], NULL, &action);
    if (is_ours (&action))
      sigaction (caught[i], &signals.old[i], NULL);
  }
}

bool
signals_forked (void)
{
  return signals.forked;
}

bool
signals_is_parent (void)
{
  return signals.parent;
}

bool
signals_may_ask (void)
{
  return !signals_seen () && (!signals.forked || signals.covered);
}

/* --- waking up --- */

void
signals_wait (int timeout)
{
  struct pollfd fd = { .fd = signals.fd, .events = POLLIN };
  uint64_t n;

  if (poll (&fd, 1, timeout) == 1 &&
      read (signals.fd, &n, sizeof n) == sizeof n && n & ALL_SIGNALS)
    signals_flag = true;
}

void
signals_wake (void)
{
  add (A_WAKE);
}
