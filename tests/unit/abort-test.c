/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Aborts, each in a process of its own: whether what waits to be saved is saved
 * first, and how the process ends.
 */

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin/abort.h"
#include "plugin/signals.h"
#include "tests/unit/test.h"

/* What the processes have in common. */
static struct {
  _Atomic bool saved;
  _Atomic int parked; /* threads that are about to abort */
} * shared;

/* --- the process that aborts --- */

static _Atomic bool save_forever;

/* Stands for the thread that sees to the end. */
static void *
save (void *opaque)
{
  (void) opaque;
  while (!abort_begun ())
    signals_wait (-1);
  assert (!abort_may_acknowledge ());
  while (save_forever)
    pause ();
  shared->saved = true;
  abort_saved ();
  return NULL;
}

static void
begin (unsigned seconds)
{
  static const struct rlimit no_core = { 0, 0 };
  pthread_t thread;
  sigset_t all, old;

  setrlimit (RLIMIT_CORE, &no_core);
  if (signals_prepare () < 0)
    _exit (1);
  signals_start ();
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  if (pthread_create (&thread, NULL, save, NULL) != 0)
    _exit (1);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  abort_start (seconds);
}

static void
of_nbdkit (void)
{
  abort ();
}

static void
assertion (void)
{
  close (STDERR_FILENO);
  __assert_fail ("this", "file.c", 1, "function"); /* as assert */
}

static void
inside (void)
{
  ABORT_INSIDE;
  abort ();
}

/* In our own code, and out again. */
static void
visit (void)
{
  ABORT_INSIDE;
  assert (abort_depth == 1);
}

static void
inside_and_out (void)
{
  visit ();
  abort ();
}

static void *
abort_there (void *opaque)
{
  (void) opaque;
  shared->parked++;
  abort ();
}

/* A thread that blocks all signals, as ours do. */
static void
own_thread (void)
{
  pthread_t thread;
  sigset_t all;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, NULL);
  pthread_create (&thread, NULL, abort_there, NULL);
  pthread_join (thread, NULL);
}

/* As free, when it finds that memory is damaged. */
static void
damaged (void)
{
  static struct {
    unsigned size;
    char text[32];
  } words = { 32, "double free or corruption (out)" };
  void **message = dlvsym (RTLD_DEFAULT, "__abort_msg", "GLIBC_PRIVATE");

  if (message == NULL)
    raise (SIGKILL); /* this C library does not say */
  *message = &words;
  abort ();
}

/* Several at once: all are saved for, and wait. */
static void
crowd (void)
{
  pthread_t thread;
  int i;

  for (i = 0; i < 8; i++)
    pthread_create (&thread, NULL, abort_there, NULL);
  pthread_join (thread, NULL);
}

/* Nobody saves: it waits no longer than it has to. */
static void
nobody_saves (void)
{
  save_forever = true;
  abort ();
}

/* Already over: it waits for nobody. */
static void
after_all (void)
{
  save_forever = true;
  abort_saved ();
  abort ();
}

static void
given_back (void)
{
  abort_stop ();
  abort ();
}

/* Killed while it is in our code, by its parent; the thread goes on. */
static void
killed (void)
{
  ABORT_INSIDE;

  errno = EDOM;
  shared->parked = 1;
  while (!abort_begun ())
    assert (errno == EDOM);
  for (;;)
    pause ();
}

/* What the server has forked has nothing to save. */
static void
helper (void)
{
  int status;
  pid_t child = fork ();

  if (child == 0)
    abort ();
  if (waitpid (child, &status, 0) == child && WIFSIGNALED (status) &&
      WTERMSIG (status) == SIGABRT && !abort_begun ())
    raise (SIGABRT);
}

/* --- the tests --- */

static void
end (pid_t child, bool saved)
{
  int status;

  assert_int_equal (waitpid (child, &status, 0), child);
  assert_true (WIFSIGNALED (status));
  assert_int_equal (WTERMSIG (status), SIGABRT);
  assert_int_equal (shared->saved, saved);
}

static pid_t
start (void (*fn) (void), unsigned seconds)
{
  pid_t child;

  memset (shared, 0, sizeof *shared);
  child = fork ();
  assert_int_not_equal (child, -1);
  if (child == 0) {
    begin (seconds);
    fn ();
    _exit (0);
  }
  return child;
}

TEST (saves)
{
  end (start (of_nbdkit, 3600), true);
  end (start (assertion, 3600), true);
  end (start (inside_and_out, 3600), true);
  end (start (crowd, 3600), true);
  end (start (helper, 3600), true);
}

TEST (ends_at_once)
{
  end (start (inside, 3600), false);
  end (start (own_thread, 3600), false);
  end (start (damaged, 3600), false);
  end (start (after_all, 3600), false);
  end (start (given_back, 3600), false);
}

TEST (time_is_over)
{
  end (start (nobody_saves, 1), false);
}

TEST (killed)
{
  pid_t child = start (killed, 3600);

  while (shared->parked == 0)
    usleep (1000);
  kill (child, SIGABRT);
  end (child, true);
}

/* Without an abort: what is in memory only is not acknowledged. */
TEST (refuse)
{
  assert_true (abort_may_acknowledge ());
  abort_refuse ();
  assert_false (abort_may_acknowledge ());
  assert_false (abort_begun ());
}

static int
set_up (void **state)
{
  (void) state;
  shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return shared == MAP_FAILED ? -1 : 0;
}

RUN_GROUP (set_up, NULL)
