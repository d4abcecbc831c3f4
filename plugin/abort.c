/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * When nbdkit aborts.
 *
 *   SIGABRT                          the first            while one is dealt with
 *   abort, memory suspect            dies at once         dies at once
 *   abort                            waits, then dies     waits for ever
 *   kill, from another process       is noted, goes on    goes on
 *
 * glibc's abort kills the process when a handler returns, so none does but for
 * a kill: there is no abort beneath that one, and the thread that it hit may
 * be in our code and hold what is needed to save all.  Who saves kills then.
 */

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "plugin/abort.h"
#include "plugin/signals.h"

_Atomic int abort_state;
__thread int abort_depth;

/* What glibc keeps for those who look at a core: the last words of an assertion
 * that failed, or of its own that memory is damaged.
 */
struct last_words {
  unsigned size;
  char text[];
};

static struct {
  _Atomic pid_t process;  /* that catches SIGABRT; 0: none */
  _Atomic uint32_t saved; /* what waits for abort_saved waits for this */
  _Atomic bool killed;    /* from outside */
  unsigned seconds;
  struct sigaction old;
  struct last_words *const *last_words; /* NULL: not to be had */
} self;

/* --- dying; all of this runs in a signal handler --- */

static void
raise_as (const struct sigaction *action)
{
  sigset_t set;

  sigaction (SIGABRT, action, NULL);
  sigemptyset (&set);
  sigaddset (&set, SIGABRT);
  sigprocmask (SIG_UNBLOCK, &set, NULL);
  raise (SIGABRT);
}

static void __attribute__ ((noreturn)) die (void)
{
  struct sigaction action = { .sa_handler = SIG_DFL };

  if (self.old.sa_flags & SA_SIGINFO || self.old.sa_handler != SIG_IGN)
    raise_as (&self.old);
  raise_as (&action);
  _exit (128 + SIGABRT);
}

static void
wait_until_saved (void)
{
  struct timespec now, left;
  time_t end;

  clock_gettime (CLOCK_MONOTONIC, &now);
  end = now.tv_sec + self.seconds;
  while (!self.saved && now.tv_sec < end) {
    left = (struct timespec) { .tv_sec = end - now.tv_sec };
    syscall (SYS_futex, &self.saved, FUTEX_WAIT_PRIVATE, 0, &left, NULL, 0);
    clock_gettime (CLOCK_MONOTONIC, &now);
  }
}

static bool
is_kill (const siginfo_t *info)
{
  return info->si_code == SI_USER || info->si_code == SI_QUEUE ||
         (info->si_code == SI_TKILL && info->si_pid != getpid ());
}

/* An assertion's words begin with the name of the program. */
static bool
is_memory_damaged (void)
{
  const struct last_words *words = self.last_words ? *self.last_words : NULL;

  return words && strncmp (words->text, program_invocation_short_name,
                           strlen (program_invocation_short_name)) != 0;
}

/* Our threads, and those that they have made, block all signals but the one that
 * abort unblocks.
 */
static bool
is_suspect (const ucontext_t *context)
{
  return abort_depth > 0 || sigismember (&context->uc_sigmask, SIGTERM) ||
         is_memory_damaged ();
}

static void
handle (int sig, siginfo_t *info, void *context)
{
  int error = errno;
  bool kill = is_kill (info), first;

  (void) sig;
  if (self.process != getpid () || self.saved ||
      (!kill && is_suspect (context)))
    die ();
  if (kill)
    self.killed = true;
  first = atomic_exchange (&abort_state, ABORT_BEGUN) != ABORT_BEGUN;
  if (first)
    signals_wake ();
  if (kill) {
    errno = error;
    return;
  }
  while (!first)
    pause ();
  wait_until_saved ();
  die ();
}

/* --- for all others --- */

static bool
is_ours (const struct sigaction *action)
{
  return action->sa_flags & SA_SIGINFO && action->sa_sigaction == handle;
}

void
abort_start (unsigned seconds)
{
  struct sigaction action = { .sa_flags = SA_SIGINFO | SA_RESTART };

  self.seconds = seconds;
  self.last_words = dlvsym (RTLD_DEFAULT, "__abort_msg", "GLIBC_PRIVATE");
  self.saved = 0;
  self.process = getpid ();
  sigaction (SIGABRT, NULL, &self.old);
  action.sa_sigaction = handle;
  sigfillset (&action.sa_mask);
  sigaction (SIGABRT, &action, NULL);
}

void
abort_stop (void)
{
  struct sigaction action;

  sigaction (SIGABRT, NULL, &action);
  if (is_ours (&action))
    sigaction (SIGABRT, &self.old, NULL);
}

void
abort_saved (void)
{
  self.saved = 1;
  syscall (SYS_futex, &self.saved, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  if (self.killed)
    die ();
}

void
abort_refuse (void)
{
  int none = ABORT_NONE;

  atomic_compare_exchange_strong (&abort_state, &none, ABORT_REFUSE);
}
