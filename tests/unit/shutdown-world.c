/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The world of the watcher of nbdkit's shutdown.
 */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/abort.h"
#include "plugin/log.h"
#include "plugin/signals.h"
#include "plugin/stats-log.h"
#include "shutdown-world.h"

struct shutdown_world world = { .lock = PTHREAD_MUTEX_INITIALIZER,
                                .cond = PTHREAD_COND_INITIALIZER };

/* --- the stand-ins --- */

static uint64_t
fake_now (struct env *env)
{
  uint64_t now;

  (void) env;
  pthread_mutex_lock (&world.lock);
  now = world.now;
  pthread_mutex_unlock (&world.lock);
  return now;
}

static void
fake_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
           uint64_t deadline)
{
  (void) env;
  (void) word;
  (void) value;
  pthread_mutex_lock (&world.lock);
  if (world.now < deadline)
    world.now = deadline;
  pthread_mutex_unlock (&world.lock);
}

static void
fake_log (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  if (level == LOG_DEBUG)
    return;
  pthread_mutex_lock (&world.lock);
  world.errors += level == LOG_ERROR;
  if (strlen (world.log) + strlen (message) + 2 <= sizeof world.log) {
    strcat (world.log, message);
    strcat (world.log, "\n");
  }
  pthread_cond_broadcast (&world.cond);
  pthread_mutex_unlock (&world.lock);
}

_Atomic bool signals_flag;

void
signals_wait (int timeout)
{
  pthread_mutex_lock (&world.lock);
  if (world.early_returns > 0)
    world.early_returns--;
  else if (world.timeouts > 0) {
    world.timeouts--;
    assert_true (timeout > 0);
    world.now += (uint64_t) timeout * NSEC_PER_MSEC;
  }
  else {
    world.sleeping = true;
    pthread_cond_broadcast (&world.cond);
    while (!world.woken)
      pthread_cond_wait (&world.cond, &world.lock);
    world.woken = false;
  }
  pthread_mutex_unlock (&world.lock);
}

void
signals_wake (void)
{
  pthread_mutex_lock (&world.lock);
  world.woken = true;
  pthread_cond_broadcast (&world.cond);
  pthread_mutex_unlock (&world.lock);
}

void
nbdkit_shutdown (void)
{
  pthread_mutex_lock (&world.lock);
  world.stopping = true;
  pthread_cond_broadcast (&world.cond);
  pthread_mutex_unlock (&world.lock);
}

_Atomic int abort_state;

void
abort_saved (void)
{
  pthread_mutex_lock (&world.lock);
  world.releases++;
  pthread_cond_broadcast (&world.cond);
  pthread_mutex_unlock (&world.lock);
}

void
abort_refuse (void)
{
  assert_int_equal (world.shutdowns, 0);
  if (abort_state == ABORT_NONE)
    abort_state = ABORT_REFUSE;
}

void
log_bypass (void)
{
  world.bypass = true;
}

void
mapping_shutdown (struct mapping *mapping)
{
  (void) mapping;
  pthread_mutex_lock (&world.lock);
  world.shutdowns++;
  pthread_mutex_unlock (&world.lock);
}

int
mapping_sync (struct mapping *mapping, sync_progress_fn *fn, void *opaque)
{
  static const struct sync_progress p = { 1 << 20, 3 << 20, NSEC_PER_SEC };
  bool progress, fails;
  uint64_t hangs;

  (void) mapping;
  pthread_mutex_lock (&world.lock);
  assert_int_equal (world.shutdowns, 1);
  assert_int_not_equal (abort_state, ABORT_NONE);
  if (world.aborts)
    abort_state = ABORT_BEGUN;
  world.aborts = false;
  world.syncs++;
  progress = world.progress;
  fails = world.failures != 0;
  if (world.failures > 0)
    world.failures--;
  if (world.works)
    world.left--;
  hangs = world.hangs;
  world.hangs = 0;
  pthread_cond_broadcast (&world.cond);
  pthread_mutex_unlock (&world.lock);
  if (progress)
    fn (opaque, &p);
  for (; hangs > 0; hangs -= NSEC_PER_SEC) {
    fake_wait (NULL, NULL, 0, fake_now (NULL) + NSEC_PER_SEC);
    fn (opaque, &p);
  }
  return fails ? -EIO : 0;
}

uint64_t
mapping_work_left (struct mapping *mapping)
{
  uint64_t left;

  (void) mapping;
  pthread_mutex_lock (&world.lock);
  left = world.left;
  pthread_mutex_unlock (&world.lock);
  return left;
}

void
mapping_unsaved (struct mapping *mapping, mapping_range_fn *fn, void *opaque)
{
  uint64_t i;

  (void) mapping;
  for (i = 0; i < (uint64_t) world.ranges; i++) {
    fn (opaque, i * 65536, 512);
    fn (opaque, i * 65536 + 512, 1024);
  }
}

bool
mapping_lost_untold (struct mapping *mapping)
{
  (void) mapping;
  return world.untold;
}

void
stats_read (struct mapping *mapping, struct stats_snapshot *snapshot)
{
  (void) mapping;
  memset (snapshot, 0, sizeof *snapshot);
}

const char *
stats_counter_name (enum counter counter)
{
  (void) counter;
  return "counter";
}

const char *
stats_histogram_name (enum histogram histogram)
{
  (void) histogram;
  return "histogram";
}

/* --- for the tests --- */

static struct env env = { .now = fake_now, .wait = fake_wait, .log = fake_log };

int
world_reset (void **state)
{
  (void) state;
  world.now = 1;
  signals_flag = false;
  abort_state = ABORT_NONE;
  world.bypass = world.aborts = false;
  world.releases = 0;
  world.sleeping = world.woken = world.stopping = world.progress = false;
  world.early_returns = world.timeouts = world.failures = 0;
  world.syncs = world.shutdowns = world.ranges = 0;
  world.works = world.untold = false;
  world.left = 1000;
  world.hangs = 0;
  world.log[0] = '\0';
  world.errors = 0;
  return 0;
}

static void
wait_for_sleep (void)
{
  pthread_mutex_lock (&world.lock);
  while (!world.sleeping)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

struct watcher *
start_patient (uint64_t timeout)
{
  struct watcher *watcher;

  assert_int_equal (watcher_start (&env, NULL, timeout, &watcher), 0);
  wait_for_sleep ();
  return watcher;
}

struct watcher *
start (void)
{
  return start_patient (TIMEOUT);
}

int
logged (const char *words)
{
  const char *p;
  int n = 0;

  for (p = world.log; (p = strstr (p, words)) != NULL; p++)
    n++;
  return n;
}

void
wait_for_log (const char *words)
{
  pthread_mutex_lock (&world.lock);
  while (logged (words) == 0)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

void
wait_for_syncs (int n)
{
  pthread_mutex_lock (&world.lock);
  while (world.syncs < n)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

void
tell_to_stop (void)
{
  signals_flag = true;
  signals_wake ();
}

void
do_abort (void)
{
  abort_state = ABORT_BEGUN;
  signals_wake ();
}

void
wait_for_release (void)
{
  pthread_mutex_lock (&world.lock);
  while (world.releases == 0)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}
