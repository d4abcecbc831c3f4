/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that fails.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cache/writeback/failing.h"
#include "cache/post/outbox.h"
#include "fs/iomap.h"
#include "cache/writeback/sync-list.h"

/* More lines than this about bad ranges help nobody. */
#define MAX_LOGGED 10

/* --- the log --- */

static void
log_failure (struct writeback *wb, uint64_t start, uint64_t end, int error)
{
  struct failing *failing = &wb->failing;
  bool *logged = error == -ENOSPC ? &failing->full : &failing->other;

  if (!*logged)
    env_log (wb->env, LOG_ERROR,
             "write-back of bytes %" PRIu64 " to %" PRIu64
             " failed, the data is kept and will be tried again: %s",
             start, end, strerror (-error));
  *logged = true;
}

void
failing_log_bad (struct writeback *wb, const struct bad_range *bad)
{
  struct failing *failing = &wb->failing;

  if (++failing->nr_logged < MAX_LOGGED)
    env_log (wb->env, LOG_ERROR,
             "bytes %" PRIu64 " to %" PRIu64 " cannot be written back: %s",
             bad->start, bad->end, strerror (-bad->error));
  else if (failing->nr_logged == MAX_LOGGED)
    env_log (wb->env, LOG_ERROR,
             "there are more such places, which are not logged");
}

/* Is it over? */
static void
look_if_over (struct writeback *wb)
{
  if (wb->failing.bad.n > 0 || wb->failing.in_row > 0 || wb->failing.flush)
    return;
  atomic_store (&wb->outbox->last_error, 0);
  if (wb->failing.full || wb->failing.other)
    env_log (wb->env, LOG_ERROR, "write-back works again");
  wb->failing.full = wb->failing.other = false;
  wb->failing.nr_logged = 0;
}

/* --- what happens --- */

/* Leave the store in peace for a while. */
static void
back_off (struct writeback *wb)
{
  backoff_begin (&wb->failing.backoff, wb->env->now (wb->env));
}

static void
hurry (struct writeback *wb)
{
  wb->failing.backoff = (struct backoff) { 0 };
}

/* Does the error say nothing of the range, as in store.h? */
static bool
out_of_reach (int error)
{
  return error == -EHOSTDOWN || error == -ESHUTDOWN;
}

/* Have what failed written alone.  Returns whether all of it will be. */
static bool
record (struct writeback *wb, const struct range *ranges, unsigned n, int error)
{
  struct bad_ranges *bad = &wb->failing.bad;
  uint64_t now = wb->env->now (wb->env);
  bool all = true;
  unsigned i;

  if (n == 1)
    return bad_ranges_failed (bad, ranges->start, ranges->end, error,
                              wb->fs->block_size, now);
  for (i = 0; i < n; i++)
    all &= bad_ranges_suspect (bad, ranges[i].start, ranges[i].end, now);
  return all;
}

void
failing_write_failed (struct writeback *wb, const struct range *ranges,
                      unsigned n, int error)
{
  uint64_t start = ranges->start, end = ranges[n - 1].end;
  const struct bad_range *bad = bad_ranges_find (&wb->failing.bad, start);
  bool known = bad && bad->start <= start;
  bool recorded = false;

  atomic_store (&wb->outbox->last_error, error);
  log_failure (wb, start, end, error);
  if (out_of_reach (error))
    wb->failing.in_row = ALL_FAILING;
  else if (!known)
    wb->failing.in_row++;
  if ((known && !out_of_reach (error)) || wb->failing.in_row < ALL_FAILING)
    recorded = record (wb, ranges, n, error);
  sync_note_error (
    wb, ranges, n, error,
    recorded && end - start >= 2 * (uint64_t) wb->fs->block_size);
  if (!recorded)
    back_off (wb);
}

void
failing_write_succeeded (struct writeback *wb, const struct range *ranges,
                         unsigned n)
{
  unsigned i;

  wb->failing.in_row = 0;
  /* If it is flushes that fail, writes that succeed are no reason to hurry. */
  if (!wb->failing.flush)
    hurry (wb);
  for (i = 0; i < n && wb->failing.bad.n > 0; i++)
    bad_ranges_written (&wb->failing.bad, ranges[i].start, ranges[i].end);
  look_if_over (wb);
}

void
failing_not_dirty (struct writeback *wb, uint64_t start, uint64_t end)
{
  bad_ranges_forget (&wb->failing.bad, start, end);
  look_if_over (wb);
}

void
failing_flush_failed (struct writeback *wb, int error)
{
  atomic_store (&wb->outbox->last_error, error);
  if (!wb->failing.flush)
    env_log (wb->env, LOG_ERROR,
             "the store failed to flush, what was written since the last "
             "flush will be written again: %s",
             strerror (-error));
  wb->failing.flush = true;
  back_off (wb);
}

void
failing_flush_succeeded (struct writeback *wb)
{
  if (wb->failing.flush)
    env_log (wb->env, LOG_ERROR, "the store flushes again");
  wb->failing.flush = false;
  if (wb->failing.in_row < ALL_FAILING)
    hurry (wb);
  look_if_over (wb);
}

void
failing_hope (struct writeback *wb)
{
  hurry (wb);
  wb->failing.in_row = 0;
  atomic_store (&wb->outbox->last_error, 0);
  bad_ranges_hope (&wb->failing.bad);
}
