/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The environment: the clock, sleeping and the log.  All that the cache and
 * the stores need of the world outside passes through here, so that pacing,
 * expiry and backoff can run under a test's own clock and nothing below the
 * plugin knows where messages go.
 */

#ifndef FOLIO_ENV_H
#define FOLIO_ENV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define NSEC_PER_SEC UINT64_C (1000000000)
#define NSEC_PER_MSEC UINT64_C (1000000)

/* A deadline that never comes. */
#define ENV_FOREVER UINT64_MAX

enum log_level { LOG_ERROR, LOG_INFO, LOG_DEBUG };

struct env {
  /* Monotonic time in nanoseconds; never 0. */
  uint64_t (*now) (struct env *env);

  /* The same, but it goes on while the machine is suspended, so that it tells for how
   * long the world went on without us.  NULL: as now.
   */
  uint64_t (*boottime) (struct env *env);

  /* Sleep while *word is equal to value, at most until deadline (in
   * nanoseconds of `now', or ENV_FOREVER).  May return early for no reason:
   * callers check their condition in a loop.  Must not be called with a lock
   * held, nor on the loop thread.
   */
  void (*wait) (struct env *env, _Atomic uint32_t *word, uint32_t value,
                uint64_t deadline);

  /* Wake all who sleep on word, after it was changed. */
  void (*wake) (struct env *env, _Atomic uint32_t *word);

  /* Write one message, a line without its newline. */
  void (*log) (struct env *env, enum log_level level, const char *message);
};

/* The real environment: CLOCK_MONOTONIC and CLOCK_BOOTTIME, futexes, messages to stderr
 * (debug messages dropped).  The caller may replace members, such as log, before use.
 */
extern void env_init (struct env *env);

static inline uint64_t
env_boottime (struct env *env)
{
  return env->boottime ? env->boottime (env) : env->now (env);
}

extern void env_log (struct env *env, enum log_level level, const char *fmt,
                     ...) __attribute__ ((format (printf, 3, 4)));

/* Sleep until deadline, in nanoseconds of env's clock. */
extern void env_sleep (struct env *env, uint64_t deadline);

/* Start a thread that no signal comes to: they are for the threads of the program
 * that we are part of.  Its stack has so many bytes, or as many as usual if 0.
 * Returns 0 or a negative errno.
 */
extern int env_thread (pthread_t *thread, size_t stack, void *(*run) (void *),
                       void *opaque);

/* A one-shot event that one or many threads wait for: 0 until signalled. */
struct completion {
  _Atomic uint32_t word;
};

extern void completion_signal (struct env *env, struct completion *c);
extern void completion_wait (struct env *env, struct completion *c);

#endif /* FOLIO_ENV_H */
