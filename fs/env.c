/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The real environment: the kernel's clocks, futexes, standard error; and what is
 * the same in every environment: formatting of messages, completions.
 */

#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/env.h"

/* Longer messages are cut. */
#define MESSAGE_MAX 1024

static uint64_t
read_clock (clockid_t clock)
{
  struct timespec ts;

  clock_gettime (clock, &ts);
  return (uint64_t) ts.tv_sec * NSEC_PER_SEC + (uint64_t) ts.tv_nsec + 1;
}

static uint64_t
real_now (struct env *env)
{
  (void) env;
  return read_clock (CLOCK_MONOTONIC);
}

static uint64_t
real_boottime (struct env *env)
{
  (void) env;
  return read_clock (CLOCK_BOOTTIME);
}

/* FUTEX_WAIT_BITSET, unlike FUTEX_WAIT, takes an absolute deadline, so waking
 * early and sleeping again does not prolong it.
 */
static void
real_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
           uint64_t deadline)
{
  struct timespec ts;

  (void) env;
  ts.tv_sec = (time_t) (deadline / NSEC_PER_SEC);
  ts.tv_nsec = (long) (deadline % NSEC_PER_SEC);
  syscall (SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
           deadline == ENV_FOREVER ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void
real_wake (struct env *env, _Atomic uint32_t *word)
{
  (void) env;
  syscall (SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void
real_log (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  if (level != LOG_DEBUG)
    fprintf (stderr, "%s\n", message);
}

void
env_init (struct env *env)
{
  env->now = real_now;
  env->boottime = real_boottime;
  env->wait = real_wait;
  env->wake = real_wake;
  env->log = real_log;
}

/* A message is one line, whatever a path or a server put into it. */
static void
flatten (char *s)
{
  for (; *s; s++)
    if ((unsigned char) *s < ' ' || *s == 0x7f)
      *s = ' ';
}

void
env_log (struct env *env, enum log_level level, const char *fmt, ...)
{
  int saved_errno = errno;
  char message[MESSAGE_MAX];
  va_list args;

  va_start (args, fmt);
  if (vsnprintf (message, sizeof message, fmt, args) < 0)
    message[0] = '\0';
  va_end (args);
  flatten (message);
  env->log (env, level, message);
  errno = saved_errno;
}

void
env_sleep (struct env *env, uint64_t deadline)
{
  _Atomic uint32_t never = 0;

  while (env->now (env) < deadline)
    env->wait (env, &never, 0, deadline);
}

int
env_thread (pthread_t *thread, size_t stack, void *(*run) (void *),
            void *opaque)
{
  pthread_attr_t attr;
  sigset_t all, old;
  int r;

  pthread_attr_init (&attr);
  if (stack > 0)
    pthread_attr_setstacksize (&attr, stack);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  r = pthread_create (thread, &attr, run, opaque);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  pthread_attr_destroy (&attr);
  return -r;
}

/* The waiter may be gone with its memory as soon as the word has changed: wake
 * only takes the address, and a wake-up too many does no harm.
 */
void
completion_signal (struct env *env, struct completion *c)
{
  atomic_store_explicit (&c->word, 1, memory_order_release);
  env->wake (env, &c->word);
}

void
completion_wait (struct env *env, struct completion *c)
{
  while (atomic_load_explicit (&c->word, memory_order_acquire) == 0)
    env->wait (env, &c->word, 0, ENV_FOREVER);
}
