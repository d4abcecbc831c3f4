/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Our signal handlers before nbdkit's, for which those of this file stand, in
 * one process and, as with --run, in two.
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin/signals.h"
#include "tests/unit/test.h"

static const int caught[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
#define NR_CAUGHT (sizeof caught / sizeof caught[0])

/* What nbdkit's handler saw. */
static struct {
  int calls;
  int signal;
  bool seen;           /* signals_seen when it was called */
  bool winch_blocked;  /* its mask was in force */
  const void *context; /* of one with SA_SIGINFO */
} nbdkit;

static void
nbdkit_handler (int sig)
{
  sigset_t mask;

  nbdkit.calls++;
  nbdkit.signal = sig;
  nbdkit.seen = signals_seen ();
  pthread_sigmask (SIG_BLOCK, NULL, &mask);
  nbdkit.winch_blocked = sigismember (&mask, SIGWINCH);
  errno = ENOENT;
}

static void
nbdkit_handler_info (int sig, siginfo_t *info, void *context)
{
  nbdkit_handler (sig);
  nbdkit.signal = info->si_signo;
  nbdkit.context = context;
}

/* As nbdkit does between get_ready and its fork. */
static int
set_up (void **state)
{
  struct sigaction action;
  unsigned i;

  (void) state;
  memset (&nbdkit, 0, sizeof nbdkit);
  signals_flag = false;
  assert_int_equal (signals_prepare (), 0);
  for (i = 0; i < NR_CAUGHT; i++) {
    memset (&action, 0, sizeof action);
    action.sa_flags = SA_RESTART | SA_NODEFER;
    sigaddset (&action.sa_mask, SIGWINCH);
    action.sa_handler = nbdkit_handler;
    sigaction (caught[i], &action, NULL);
  }
  return 0;
}

static int
tear_down (void **state)
{
  unsigned i;

  (void) state;
  signals_stop ();
  for (i = 0; i < NR_CAUGHT; i++)
    signal (caught[i], SIG_DFL);
  return 0;
}

TEST (each_signal)
{
  unsigned i;

  signals_start ();
  assert_false (signals_seen ());
  assert_true (signals_may_ask ());
  for (i = 0; i < NR_CAUGHT; i++) {
    signals_flag = false;
    errno = EDOM;
    raise (caught[i]);
    assert_int_equal (errno, EDOM);
    assert_int_equal (nbdkit.calls, i + 1);
    assert_int_equal (nbdkit.signal, caught[i]);
    assert_true (nbdkit.seen);
    assert_true (nbdkit.winch_blocked);
    assert_true (signals_seen ());
    assert_false (signals_may_ask ());
    signals_wait (-1);
  }
}

TEST (flags_and_mask_stay)
{
  struct sigaction action;
  unsigned i;

  signals_start ();
  for (i = 0; i < NR_CAUGHT; i++) {
    sigaction (caught[i], NULL, &action);
    assert_int_equal (action.sa_flags & (SA_RESTART | SA_NODEFER),
                      SA_RESTART | SA_NODEFER);
    assert_true (sigismember (&action.sa_mask, SIGWINCH));
    assert_false (sigismember (&action.sa_mask, SIGUSR1));
  }
}

/* A handler that takes three arguments gets them. */
TEST (three_arguments)
{
  struct sigaction action;

  memset (&action, 0, sizeof action);
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = nbdkit_handler_info;
  sigaction (SIGTERM, &action, NULL);
  signals_start ();
  raise (SIGTERM);
  assert_int_equal (nbdkit.signal, SIGTERM);
  assert_non_null (nbdkit.context);
}

TEST (given_back)
{
  struct sigaction action;
  unsigned i;

  signals_start ();
  signals_stop ();
  for (i = 0; i < NR_CAUGHT; i++) {
    sigaction (caught[i], NULL, &action);
    assert_ptr_equal (action.sa_handler, nbdkit_handler);
    assert_false (action.sa_flags & SA_SIGINFO);
  }
  raise (SIGTERM);
  assert_int_equal (nbdkit.calls, 1);
  assert_false (signals_seen ());
}

/* A handler that someone has set since is not ours to take away, nor one that
 * ignores.
 */
TEST (of_others)
{
  struct sigaction action;

  signal (SIGHUP, SIG_IGN);
  signals_start ();
  signal (SIGINT, SIG_IGN);
  raise (SIGHUP);
  raise (SIGINT);
  assert_false (signals_seen ());
  signals_stop ();
  sigaction (SIGHUP, NULL, &action);
  assert_ptr_equal (action.sa_handler, SIG_IGN);
  sigaction (SIGINT, NULL, &action);
  assert_ptr_equal (action.sa_handler, SIG_IGN);
}

TEST (wake)
{
  signals_start ();
  signals_wake ();
  signals_wake ();
  signals_wait (-1);
  assert_false (signals_seen ());
  signals_wait (1); /* only the time ends this */
  assert_false (signals_seen ());
}

/* --- two processes --- */

/* What the child found wrong, as its status. */
#define CHILD_EXPECTS(condition)                                               \
  do {                                                                         \
    if (!(condition))                                                          \
      _exit (__LINE__ % 250 + 1);                                              \
  } while (0)

static void
expect_child (pid_t child)
{
  int status;

  assert_int_equal (waitpid (child, &status, 0), child);
  assert_int_equal (status, 0);
}

/* The parent of --run gets one: the server's thread wakes, nbdkit's handler,
 * which writes to the pipe that both share, is not called.
 */
TEST (parent_told)
{
  unsigned i;
  pid_t child;

  child = fork ();
  assert_int_not_equal (child, -1);
  if (child == 0) {
    signals_start ();
    CHILD_EXPECTS (signals_may_ask ());
    while (!signals_seen ())
      signals_wait (-1);
    CHILD_EXPECTS (nbdkit.calls == 0);
    CHILD_EXPECTS (!signals_may_ask ());
    _exit (0);
  }
  for (i = 0; i < NR_CAUGHT; i++)
    raise (caught[i]);
  assert_int_equal (nbdkit.calls, 0);
  expect_child (child);
}

/* The server gets it, before it has started, and after. */
TEST (server_told)
{
  bool early;
  pid_t child;

  for (early = false;; early = true) {
    child = fork ();
    assert_int_not_equal (child, -1);
    if (child == 0) {
      if (early)
        raise (SIGTERM);
      signals_start ();
      if (!early)
        raise (SIGTERM);
      signals_wait (-1);
      CHILD_EXPECTS (signals_seen ());
      CHILD_EXPECTS (nbdkit.calls == 1);
      _exit (0);
    }
    expect_child (child);
    signals_wait (1);
    assert_false (signals_seen ());
    if (early)
      break;
  }
}

/* A process that the server has made is not the server. */
TEST (helper_told)
{
  pid_t child;

  signals_start ();
  child = fork ();
  assert_int_not_equal (child, -1);
  if (child == 0) {
    raise (SIGTERM);
    CHILD_EXPECTS (nbdkit.calls == 1);
    _exit (0);
  }
  expect_child (child);
  signals_wait (1);
  assert_false (signals_seen ());
  raise (SIGTERM);
  assert_int_equal (nbdkit.calls, 1);
  assert_true (signals_seen ());
}

/* If a signal of the parent's would reach that pipe, it may not be asked. */
TEST (not_covered)
{
  pid_t child;

  signal (SIGQUIT, SIG_IGN);
  child = fork ();
  assert_int_not_equal (child, -1);
  if (child == 0) {
    signals_start ();
    CHILD_EXPECTS (!signals_may_ask ());
    _exit (0);
  }
  expect_child (child);
}

RUN_EACH (set_up, tear_down)
