/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The watcher of nbdkit's shutdown.
 */

#include <errno.h>
#include <stdint.h>

#include "plugin/abort.h"
#include "plugin/stats-log.h"
#include "shutdown-world.h"
#include "tests/unit/test.h"

/* Nobody told nbdkit to stop, it just ends, as after nbdkit -s. */
TEST (finish)
{
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 1);
  assert_int_equal (world.releases, 1); /* who aborts from then on may die */
  assert_string_equal (world.log, "");
}

/* A signal with idle clients: written back before watcher_finish is called; and
 * then, with all clients gone, what was answered meanwhile.
 */
TEST (idle_clients)
{
  struct watcher *watcher = start ();

  tell_to_stop ();
  wait_for_syncs (1);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (world.syncs, 2);
  assert_true (world.stopping);
}

/* That it returns early does not mean shutdown: the stand-in for mapping_sync
 * checks that.
 */
TEST (sleep)
{
  struct watcher *watcher;

  world.early_returns = 5;
  watcher = start ();
  assert_int_equal (world.shutdowns, 0);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_string_equal (world.log, ""); /* nobody asked for counters */
}

/* Each time they are due, and once more when all is written back. */
TEST (stats)
{
  struct watcher *watcher;

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

TEST (progress)
{
  world.progress = true;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (
    logged ("writing back: 1.0 of 3.0 MiB, 1.0 MiB/s, 2 s left\n"),
    world.syncs);
  assert_int_equal (world.errors, 0);
}

TEST (passing_failure)
{
  world.failures = 3;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 3 + 1);
  assert_true (world.now > 3 * NSEC_PER_SEC); /* it paused between tries */
  assert_int_equal (logged ("Input/output error"), 1);
  assert_int_equal (logged ("after all"), 1);
  assert_int_equal (logged ("bytes"), 0);
}

TEST (lasting_failure)
{
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
TEST (failing_flush)
{
  world.failures = -1;
  assert_int_equal (watcher_finish (start ()), -EIO);
  assert_int_equal (logged ("0 bytes"), 0);
  assert_int_equal (logged ("the store was not flushed and may lose"), 1);
}

/* While clients are there it does not give up, but says what is not saved. */
TEST (failure_with_clients)
{
  struct watcher *watcher;

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
TEST (slow_store)
{
  world.failures = 500;
  world.works = true;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (world.syncs, 500 + 1);
  assert_int_equal (logged ("lost"), 0);
}

/* Without a timeout it is tried for ever. */
TEST (no_timeout)
{
  world.failures = 5000;
  world.ranges = 1;
  assert_int_equal (watcher_finish (start_patient (0)), 0);
  assert_int_equal (world.syncs, 5000 + 1);
  assert_int_equal (logged ("not written back"), 0);
}

/* A store that neither fails nor answers: it is said what is not saved, once. */
TEST (hanging_store)
{
  world.hangs = 100 * NSEC_PER_SEC;
  world.ranges = 1;
  assert_int_equal (watcher_finish (start ()), 0);
  assert_int_equal (logged ("1536 bytes in 1 ranges are not saved; waiting for "
                            "the store"),
                    1);
  assert_int_equal (logged ("not written back"), 1);
  assert_int_equal (logged ("after all"), 1);
}

TEST (many_ranges)
{
  world.failures = -1;
  world.ranges = 10042;
  assert_int_equal (watcher_finish (start ()), -EIO);
  assert_int_equal (logged ("not written back"), 10000);
  assert_int_equal (logged ("and 42 ranges more, the last at 658046976\n"), 1);
  assert_int_equal (logged ("15424512 bytes in 10042 ranges are lost"), 1);
}

/* --- aborts --- */

TEST (abort)
{
  struct watcher *watcher = start ();

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
TEST (abort_while_saving)
{
  struct watcher *watcher = start ();

  world.aborts = true;
  tell_to_stop ();
  wait_for_release ();
  assert_int_equal (world.syncs, 2);
  assert_int_equal (watcher_finish (watcher), 0);
}

/* At the very end, with other threads still there. */
TEST (abort_while_ending)
{
  struct watcher *watcher = start ();

  world.aborts = true;
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (world.syncs, 2);
  assert_true (world.releases > 0);
}

/* A minute and no more, though without a timeout it would be tried for ever. */
TEST (abort_and_failing_store)
{
  struct watcher *watcher = start_patient (0);

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
TEST (abort_and_hanging_store)
{
  struct watcher *watcher = start_patient (0);

  world.hangs = 200 * NSEC_PER_SEC;
  world.ranges = 1;
  world.aborts = true;
  tell_to_stop ();
  wait_for_release ();
  assert_int_equal (world.syncs, 1);
  assert_int_equal (watcher_finish (watcher), 0);
  assert_int_equal (logged ("1536 bytes in 1 ranges are lost"), 1);
}

/* All is saved, but something was lost before, and nobody knows it. */
TEST (lost_untold)
{
  struct watcher *watcher;

  world.untold = true;
  watcher = start ();
  assert_int_equal (watcher_finish (watcher), -EIO);
  assert_int_equal (logged ("past the cache may be lost"), 1);
}

RUN_EACH (world_reset, NULL)
