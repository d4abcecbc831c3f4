/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The watcher of nbdkit's shutdown, with a server, a store and a clock that do
 * as they are told: this file stands in for nbdkit and for the mapping.
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
#include "plugin/shutdown.h"
#include "plugin/signals.h"
#include "plugin/stats-log.h"

/* The world of one test. */
static struct {
  pthread_mutex_t lock; /* protects all here, and is what cond waits with */
  pthread_cond_t cond;  /* something has changed */
  uint64_t now;         /* the clock: runs when someone waits for it */
  bool sleeping;        /* the watcher is in signals_wait for good */
  bool woken;           /* signals_wake was called */
  bool stopping;        /* nbdkit was told to stop */
  int releases;         /* calls of abort_saved so far */
  bool bypass;          /* log_bypass was called */
  bool aborts;          /* the next mapping_sync is overtaken by an abort */
  int early_returns;    /* of signals_wait to come, for no reason */
  int timeouts;         /* then time-outs, after the time that was asked for */
  int failures;         /* of mapping_sync to come; -1: for ever */
  int syncs;            /* calls of mapping_sync so far */
  int shutdowns;        /* calls of mapping_shutdown so far */
  bool works;           /* each mapping_sync that fails gets a page done */
  uint64_t left;        /* mapping_work_left */
  uint64_t hangs;       /* ns that the next mapping_sync takes */
  int ranges;           /* what is unsaved: that many, of two adjacent parts */
  bool progress;        /* mapping_sync reports once */
  char log[1 << 20];
  int errors; /* of the lines in it */
} world = { .lock = PTHREAD_MUTEX_INITIALIZER,
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

/* --- the tests --- */

static struct env env = { .now = fake_now, .wait = fake_wait, .log = fake_log };

static int
reset (void **state)
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
  world.works = false;
  world.left = 1000;
  world.hangs = 0;
  world.log[0] = '\0';
  world.errors = 0;
  return 0;
}

#define TIMEOUT (30 * NSEC_PER_SEC)

static void
wait_for_sleep (void)
{
  pthread_mutex_lock (&world.lock);
  while (!world.sleeping)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

static struct watcher *
start_patient (uint64_t timeout)
{
  struct watcher *watcher;

  assert_int_equal (watcher_start (&env, NULL, timeout, &watcher), 0);
  wait_for_sleep ();
  return watcher;
}

static struct watcher *
start (void)
{
  return start_patient (TIMEOUT);
}

/* How often the log says this. */
static int
logged (const char *words)
{
  const char *p;
  int n = 0;

  for (p = world.log; (p = strstr (p, words)) != NULL; p++)
    n++;
  return n;
}

static void
wait_for_log (const char *words)
{
  pthread_mutex_lock (&world.lock);
  while (logged (words) == 0)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

static void
wait_for_syncs (int n)
{
  pthread_mutex_lock (&world.lock);
  while (world.syncs < n)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

/* What a signal does. */
static void
tell_to_stop (void)
{
  signals_flag = true;
  signals_wake ();
}

/* Nobody told nbdkit to stop, it just ends, as after nbdkit -s. */
static void
test_finish (void **state)
{
  (void) state;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 1);
  assert_int_equal (world.releases, 1); /* who aborts from then on may die */
  assert_string_equal (world.log, "");
}

/* A signal with idle clients: written back before watcher_finish is called; and
 * then, with all clients gone, what was answered meanwhile.
 */
static void
test_idle_clients (void **state)
{
  struct watcher *watcher = start ();

  (void) state;
  tell_to_stop ();
  wait_for_syncs (1);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (world.syncs, 2);
  assert_true (world.stopping);
}

/* That it returns early does not mean shutdown: the stand-in for mapping_sync
 * checks that.
 */
static void
test_sleep (void **state)
{
  struct watcher *watcher;

  (void) state;
  world.early_returns = 5;
  watcher = start ();
  assert_int_equal (world.shutdowns, 0);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_string_equal (world.log, ""); /* nobody asked for counters */
}

/* Each time they are due, and once more when all is written back. */
static void
test_stats (void **state)
{
  struct watcher *watcher;

  (void) state;
  world.early_returns = 2;
  world.timeouts = 3;
  folio_debug_stats = 1;
  watcher = start ();
  assert_true (world.now >= 3 * STATS_SECONDS * NSEC_PER_SEC);
  assert_true (world.now < (3 * STATS_SECONDS + 1) * NSEC_PER_SEC);
  assert_int_equal (logged ("stats: now"), 3);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (logged ("stats: now"), 4);
  assert_int_equal (world.errors, 0);
  folio_debug_stats = 0;
}

static void
test_progress (void **state)
{
  (void) state;
  world.progress = true;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (
    logged ("writing back: 1.0 of 3.0 MiB, 1.0 MiB/s, 2 s left\n"),
    world.syncs);
  assert_int_equal (world.errors, 0);
}

static void
test_passing_failure (void **state)
{
  (void) state;
  world.failures = 3;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 3 + 1);
  assert_true (world.now > 3 * NSEC_PER_SEC); /* it paused between tries */
  assert_int_equal (logged ("Input/output error"), 1);
  assert_int_equal (logged ("after all"), 1);
  assert_int_equal (logged ("bytes"), 0);
}

static void
test_lasting_failure (void **state)
{
  (void) state;
  world.failures = -1;
  world.ranges = 2;
  assert_int_equal (watcher_finish (start ()), -EIO);
  assert_true (world.now >= TIMEOUT);
  assert_true (world.now <= TIMEOUT + 2 * NSEC_PER_SEC);
  assert_true (world.syncs >= 30);
  assert_int_equal (logged ("not written back"), 2);
  assert_int_equal (logged ("not written back: 1536 bytes at 0\n"), 1);
  assert_int_equal (logged ("not written back: 1536 bytes at 65536\n"), 1);
  assert_int_equal (logged ("3072 bytes in 2 ranges are lost"), 1);
}

/* As with direct writes, of which there is no copy. */
static void
test_failing_flush (void **state)
{
  (void) state;
  world.failures = -1;
  assert_int_equal (watcher_finish (start ()), -EIO);
  assert_int_equal (logged ("0 bytes"), 0);
  assert_int_equal (logged ("the store was not flushed and may lose"), 1);
}

/* While clients are there it does not give up, but says what is not saved. */
static void
test_failure_with_clients (void **state)
{
  struct watcher *watcher;

  (void) state;
  world.failures = 200;
  world.ranges = 1;
  watcher = start ();
  tell_to_stop ();
  wait_for_log ("after all");
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (world.syncs, 200 + 2);
  assert_int_equal (logged ("not written back: 1536 bytes at 0\n"), 1);
  assert_int_equal (logged ("1536 bytes in 1 ranges are not saved"), 1);
  assert_int_equal (logged ("lost"), 0);
}

/* As long as it gets on the time does not count. */
static void
test_slow_store (void **state)
{
  (void) state;
  world.failures = 500;
  world.works = true;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 500 + 1);
  assert_int_equal (logged ("lost"), 0);
}

/* Without a timeout it is tried for ever. */
static void
test_no_timeout (void **state)
{
  (void) state;
  world.failures = 5000;
  world.ranges = 1;
  assert_int_equal (watcher_finish (start_patient (0)), 0);
  assert_int_equal (world.syncs, 5000 + 1);
  assert_int_equal (logged ("not written back"), 0);
}

/* A store that neither fails nor answers: it is said what is not saved, once. */
static void
test_hanging_store (void **state)
{
  (void) state;
  world.hangs = 100 * NSEC_PER_SEC;
  world.ranges = 1;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (logged ("1536 bytes in 1 ranges are not saved; waiting for "
                            "the store"),
                    1);
  assert_int_equal (logged ("not written back"), 1);
  assert_int_equal (logged ("after all"), 1);
}

static void
test_many_ranges (void **state)
{
  (void) state;
  world.failures = -1;
  world.ranges = 10042;
  assert_int_equal (watcher_finish (start ()), -EIO);
  assert_int_equal (logged ("not written back"), 10000);
  assert_int_equal (logged ("and 42 ranges more, the last at 658046976\n"), 1);
  assert_int_equal (logged ("15424512 bytes in 10042 ranges are lost"), 1);
}

/* --- aborts --- */

static void
do_abort (void)
{
  abort_state = ABORT_BEGUN;
  signals_wake ();
}

static void
wait_for_release (void)
{
  pthread_mutex_lock (&world.lock);
  while (world.releases == 0)
    pthread_cond_wait (&world.cond, &world.lock);
  pthread_mutex_unlock (&world.lock);
}

static void
test_abort (void **state)
{
  struct watcher *watcher = start ();

  (void) state;
  world.failures = 3;
  do_abort ();
  wait_for_release ();
  assert_int_equal (world.syncs, 4);
  assert_int_equal (world.shutdowns, 1);
  assert_false (world.stopping); /* nbdkit is not asked for more */
  assert_true (world.bypass);
  assert_int_equal (logged ("nbdkit has aborted"), 1);
  assert_int_equal (logged ("everything is written back\n"), 1);
  assert_int_equal (watcher_finish (watcher), 0);
}

/* After a signal: what was on then may have missed what was acknowledged last. */
static void
test_abort_while_saving (void **state)
{
  struct watcher *watcher = start ();

  (void) state;
  world.aborts = true;
  tell_to_stop ();
  wait_for_release ();
  assert_int_equal (world.syncs, 2);
  assert_int_equal (watcher_finish (watcher), 0);
}

/* At the very end, with other threads still there. */
static void
test_abort_while_ending (void **state)
{
  struct watcher *watcher = start ();

  (void) state;
  world.aborts = true;
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (world.syncs, 2);
  assert_true (world.releases > 0);
}

/* A minute and no more, though without a timeout it would be tried for ever. */
static void
test_abort_and_failing_store (void **state)
{
  struct watcher *watcher = start_patient (0);

  (void) state;
  world.failures = -1;
  world.ranges = 1;
  do_abort ();
  wait_for_release ();
  assert_true (world.now >= 50 * NSEC_PER_SEC);
  assert_true (world.now <= ABORT_SECONDS * NSEC_PER_SEC);
  assert_int_equal (logged ("not written back: 1536 bytes at 0\n"), 1);
  assert_int_equal (logged ("1536 bytes in 1 ranges are lost"), 1);
  world.failures = 0;
  assert_int_equal (watcher_finish (watcher), 0);
}

/* One that does not answer, when the abort comes in the midst of it. */
static void
test_abort_and_hanging_store (void **state)
{
  struct watcher *watcher = start_patient (0);

  (void) state;
  world.hangs = 200 * NSEC_PER_SEC;
  world.ranges = 1;
  world.aborts = true;
  tell_to_stop ();
  wait_for_release ();
  assert_int_equal (world.syncs, 1);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (logged ("1536 bytes in 1 ranges are lost"), 1);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup (test_finish, reset),
    cmocka_unit_test_setup (test_idle_clients, reset),
    cmocka_unit_test_setup (test_sleep, reset),
    cmocka_unit_test_setup (test_stats, reset),
    cmocka_unit_test_setup (test_progress, reset),
    cmocka_unit_test_setup (test_passing_failure, reset),
    cmocka_unit_test_setup (test_lasting_failure, reset),
    cmocka_unit_test_setup (test_failing_flush, reset),
    cmocka_unit_test_setup (test_failure_with_clients, reset),
    cmocka_unit_test_setup (test_slow_store, reset),
    cmocka_unit_test_setup (test_no_timeout, reset),
    cmocka_unit_test_setup (test_hanging_store, reset),
    cmocka_unit_test_setup (test_many_ranges, reset),
    cmocka_unit_test_setup (test_abort, reset),
    cmocka_unit_test_setup (test_abort_while_saving, reset),
    cmocka_unit_test_setup (test_abort_while_ending, reset),
    cmocka_unit_test_setup (test_abort_and_failing_store, reset),
    cmocka_unit_test_setup (test_abort_and_hanging_store, reset),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
