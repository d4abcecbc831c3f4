/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back: what is done when.
 */

#include <errno.h>

#include "cache/base/stats.h"
#include "cache/writeback/ioend-pool.h"
#include "cache/writeback/ioend.h"
#include "fs/bell.h"
#include "fs/num.h"
#include "cache/folio/folio.h"
#include "cache/index/index.h"
#include "cache/pace/balance.h"
#include "cache/pace/throttle.h"
#include "cache/post/inbox.h"
#include "cache/post/outbox.h"
#include "fs/iomap.h"
#include "cache/writeback/pass.h"
#include "cache/writeback/sync.h"
#include "cache/writeback/writeback.h"

/* Between flushes for those who wait for room, while the store writes (ns). */
#define WAITERS_FLUSH_PERIOD (50 * NSEC_PER_MSEC)

int
writeback_init (struct writeback *wb)
{
  sync_init (wb);
  wb->passes.next = ENV_FOREVER;
  return ioends_init (wb);
}

void
writeback_destroy (struct writeback *wb)
{
  ioends_destroy (wb);
}

/* --- background work --- */

/* What folio_clock counts in (ns). */
#define TICK (10 * NSEC_PER_MSEC)

/* Of all that is dirty, something is so for that many ticks. */
static void
note_oldest (struct writeback *wb, uint32_t age)
{
  atomic_store (&wb->outbox->oldest_dirty, wb->env->now (wb->env) - age * TICK);
}

/* Has it been dirty for long enough?  (Ticks, which wrap.)  A pass that does not come
 * to its end, because the store hangs, tells of what is older than was known too.
 */
static bool
expired (struct writeback *wb, const struct folio *folio)
{
  uint32_t age = (uint32_t) (folio_clock (wb->env) - folio->dirtied);

  if (age > wb->passes.most) {
    wb->passes.most = age;
    if (atomic_load (&wb->outbox->oldest_dirty) == 0)
      note_oldest (wb, age);
  }
  return age >= wb->config.dirty_expire / TICK;
}

/* Look for what is old.  Returns true if there is more to do at once. */
static bool
expire_step (struct writeback *wb)
{
  struct wb_pass *pass = &wb->passes.expire;
  bool more = pass_run (wb, pass, expired);

  if (!pass->active && wb->passes.most)
    note_oldest (wb, wb->passes.most);
  else if (!pass->active)
    atomic_store (&wb->outbox->oldest_dirty, 0);
  return more;
}

/* Send what is dirty, going round the disk, until there is little enough; or
 * until a whole round has sent nothing, since all that is left is in use, or bad:
 * then we are kicked.  (A round may be long: others have gone on behind it.)
 */
static bool
background_step (struct writeback *wb)
{
  struct wb_pass *pass = &wb->passes.background;
  bool more;

  if (!throttle_over_background (wb->throttle)) {
    atomic_store (&wb->throttle->cleaning, false);
    /* Whoever went over it just now may have seen that we are at it. */
    if (!throttle_over_background (wb->throttle))
      return false;
  }
  atomic_store (&wb->throttle->cleaning, true);
  if (!pass->active)
    *pass = (struct wb_pass) { .active = true, .kind = PASS_BACKGROUND };
  more = pass_run (wb, pass, NULL);
  return more || (!pass->active && pass->sent);
}

/* Is there anything to come back for?  If not, the next writer wakes us: it
 * counts first and then looks at the flag, we do the opposite.  Not before the next
 * pass is due, or a client that flushes after each write would have to each time.
 */
static bool
arm_timer (struct writeback *wb, uint64_t now)
{
  bool due = wb->passes.next == ENV_FOREVER || now >= wb->passes.next;
  bool armed = !due || throttle_unsaved (wb->throttle) != 0;

  if (atomic_load (&wb->throttle->armed) == armed)
    return armed;
  atomic_store (&wb->throttle->armed, armed);
  if (!armed && throttle_unsaved (wb->throttle) != 0) {
    atomic_store (&wb->throttle->armed, true);
    armed = true;
  }
  return armed;
}

/* A pass over what is old, every interval; and a flush for what is not. */
static bool
periodic_step (struct writeback *wb, uint64_t now)
{
  if (!arm_timer (wb, now)) {
    wb->passes.next = ENV_FOREVER;
    wb->passes.expire.active = false;
    return false;
  }
  if (wb->passes.next == ENV_FOREVER)
    wb->passes.next = now + wb->config.interval;
  if (now >= wb->passes.next) {
    wb->passes.next = now + wb->config.interval;
    wb->passes.expire =
      (struct wb_pass) { .active = true, .kind = PASS_BACKGROUND };
    wb->passes.most = 0;
    if (throttle_unstable (wb->throttle) && !sync_awaits_flush (wb))
      sync_start_flush (wb);
  }
  return wb->passes.expire.active && expire_step (wb);
}

/* Is something still being written where the pass has been? */
static bool
in_writeback (struct writeback *wb, const struct wb_pass *pass)
{
  struct folio *folio =
    index_get_tagged (wb->folios->index, pass->start >> PAGE_SHIFT,
                      (pass->end - 1) >> PAGE_SHIFT, TAG_WRITEBACK);

  if (folio)
    folio_put (wb->folios->arena, folio);
  return folio != NULL;
}

/* Is something still to be trimmed that may make room, before what there was none for
 * is tried again, which is due?  The fs tells when it is over.
 */
static bool
trims_first (struct writeback *wb)
{
  struct fs *fs = wb->fs;

  if (!wb->failing.full)
    return false;
  if (!wb->trimming) {
    wb->trim_ticket = fs_settle (fs, 0, UINT64_MAX);
    fs_ring (fs);
  }
  wb->trimming = fs_settled (fs, 0, UINT64_MAX, wb->trim_ticket) == -EAGAIN;
  return wb->trimming;
}

/* Try what is due of the bad ranges, one after the other. */
static bool
retry_step (struct writeback *wb, uint64_t now)
{
  struct wb_pass *pass = &wb->passes.retry;
  const struct bad_range *due;
  bool more;

  if (!pass->active) {
    due = bad_ranges_due (&wb->failing.bad, now);
    if (due == NULL || trims_first (wb))
      return false;
    *pass = (struct wb_pass) {
      .active = true,
      .kind = PASS_RETRY,
      .start = due->start,
      .pos = due->start,
      .end = due->end,
    };
    if (due->bad && due->backoff == BACKOFF_MIN)
      failing_log_bad (wb, due);
    bad_ranges_tried (&wb->failing.bad, due->start, due->end, now);
  }
  more = pass_run (wb, pass, NULL);
  if (pass->active)
    return more;
  if (!pass->found && !pass->skipped && !in_writeback (wb, pass))
    failing_not_dirty (wb, pass->start, pass->end);
  return true;
}

/* Does somebody wait for what is unstable to be flushed?  They ask again until
 * there is room, and each flush keeps the store from writing.
 */
static bool
flush_for_waiters (const struct writeback *wb, uint64_t now)
{
  return throttle_unstable (wb->throttle) > 0 &&
         atomic_load (&wb->throttle->waiters) > 0 &&
         (atomic_load (&wb->folios->nr_writeback) == 0 ||
          now >= wb->sync.group_commit.ended + WAITERS_FLUSH_PERIOD);
}

/* Unstable data counts against the dirty limit and cannot be evicted. */
static void
flush_unstable (struct writeback *wb, uint64_t now)
{
  if (sync_awaits_flush (wb))
    return; /* that flush does it */
  if (atomic_load (&wb->fs->wants_flush) ||
      balance_wants_flush (wb->throttle) || flush_for_waiters (wb, now))
    sync_start_flush (wb);
}

/* Someone is short of clean memory: sync all, as if asked to; but they ask again
 * and again, so a store that fails is left in peace first.
 */
static void
queue_own_sync (struct writeback *wb, uint64_t now)
{
  bool unsaved = throttle_unsaved (wb->throttle) > 0;

  if (wb->sync.own_pending || (unsaved && now < wb->failing.backoff.until) ||
      !atomic_exchange (&wb->inbox->want_clean, false))
    return;
  if (!unsaved && !atomic_load (&wb->inbox->unflushed))
    return;
  wb->sync.own_pending = true;
  wb->sync.own.error = 0;
  fs_settle (wb->fs, 0, UINT64_MAX);
  inbox_queue (wb->inbox, &wb->sync.own);
}

/* The store says that it is better now, or worse: what it failed to do before
 * is no reason to wait.
 */
static void
see_change (struct writeback *wb)
{
  if (atomic_exchange (&wb->inbox->store_changed, false)) {
    failing_hope (wb);
    fs_retry (wb->fs);
  }
  sync_see_losses (wb);
}

/* Is there so much for the fs to do that it should begin, or somebody who waits for
 * room?
 */
static bool
fs_should_hurry (const struct writeback *wb)
{
  return wb->fs->ops->hurry && (atomic_load (&wb->throttle->waiters) > 0 ||
                                throttle_fs_over_background (wb->throttle));
}

static void
count_zeroes (struct writeback *wb)
{
  struct fs_zeroes *zeroes = &wb->fs->zeroes;

  if (zeroes->requests == 0)
    return;
  stats_add (wb->stats, STAT_STORE_ZEROES, zeroes->requests);
  stats_add (wb->stats, STAT_STORE_ZERO_BYTES, zeroes->bytes);
  stats_add (wb->stats, STAT_STORE_ZERO_ERRORS, zeroes->errors);
  *zeroes = (struct fs_zeroes) { 0 };
}

/* The fs's own work, and what others know of it. */
static bool
step_fs (struct writeback *wb, uint64_t now)
{
  bool more;
  int r;

  if (fs_should_hurry (wb))
    wb->fs->ops->hurry (wb->fs);
  more = fs_step (wb->fs, now);
  balance_written (wb->throttle, wb->fs->written);
  wb->fs->written = 0;
  count_zeroes (wb);
  if (atomic_exchange (&wb->fs->unflushed, false))
    inbox_note_unflushed (wb->inbox);
  /* (What had failed may also have made way for data since.) */
  if (!more && !atomic_load (&wb->outbox->fs_error))
    return false;
  r = fs_settled (wb->fs, 0, UINT64_MAX, 0);
  if (r != -EAGAIN)
    atomic_store (&wb->outbox->fs_error, r);
  if (more)
    throttle_wake (wb->throttle);
  return more;
}

/* Is the store? */
static bool
at_work (const struct writeback *wb)
{
  bool zeroes = !atomic_load (&wb->fs->can_fast_zero) && !fs_idle (wb->fs);

  return zeroes || wb->ioends.in_flight > 0 ||
         wb->sync.flush_state == FLUSH_SENT ||
         wb->sync.flush_state == FLUSH_VOID;
}

/* --- steps --- */

static void
take_settings (struct writeback *wb)
{
  struct inbox *inbox = wb->inbox;
  struct inbox_settings s;

  if (!atomic_load (&inbox->configured))
    return;
  pthread_mutex_lock (&inbox->lock);
  atomic_store (&inbox->configured, false);
  s = inbox->settings;
  pthread_mutex_unlock (&inbox->lock);
  balance_configure (wb->throttle, s.limit, s.background, s.flush_target);
  wb->config = (struct writeback_config) {
    .dirty_expire = s.dirty_expire,
    .interval = s.interval,
    .io_depth = s.io_depth < wb->ioends.nr ? s.io_depth : wb->ioends.nr,
  };
  if (wb->fs->ops->expire)
    wb->fs->ops->expire (wb->fs, s.dirty_expire);
  if (wb->passes.next != ENV_FOREVER)
    wb->passes.next =
      min_u64 (wb->passes.next, wb->env->now (wb->env) + s.interval);
}

/* Is nothing to be sent now?  The last save ends a pause. */
static bool
is_paused (const struct writeback *wb)
{
  return atomic_load (&wb->inbox->paused) &&
         !atomic_load (&wb->outbox->shutdown);
}

/* Say so once if somebody waits for the end of the pause. */
static void
tell_paused (struct writeback *wb)
{
  struct inbox *inbox = wb->inbox;
  bool waiting = wb->sync.list != NULL;

  if (wb->told_paused)
    return;
  pthread_mutex_lock (&inbox->lock);
  waiting |= inbox->queue.head != NULL;
  pthread_mutex_unlock (&inbox->lock);
  if (!waiting)
    return;
  wb->told_paused = true;
  env_log (wb->env, LOG_INFO,
           "write-back is paused, and a flush waits for its end");
}

/* What comes to its end, and begins nothing. */
static bool
reap (struct writeback *wb)
{
  bool more = ioend_reap (wb);

  if (sync_flush_step (wb))
    more = true;
  return more;
}

static bool
step_paused (struct writeback *wb)
{
  bool more = reap (wb);

  sync_complete (wb);
  tell_paused (wb);
  return more;
}

bool
writeback_step (struct writeback *wb)
{
  uint64_t now = wb->env->now (wb->env);
  bool more;

  take_settings (wb);
  balance_step (wb->throttle, now, at_work (wb));
  see_change (wb);
  if (is_paused (wb))
    return step_paused (wb);
  wb->told_paused = false;
  more = step_fs (wb, now);
  if (reap (wb))
    more = true;
  queue_own_sync (wb, now);
  if (sync_drain_step (wb, now))
    more = true;
  /* Once the next flush could begin, since they would take the processor. */
  sync_complete (wb);
  if (sync_step (wb, now))
    more = true;
  flush_unstable (wb, now);
  if (now >= wb->failing.backoff.until && !sync_settling (&wb->sync)) {
    if (periodic_step (wb, now))
      more = true;
    if (retry_step (wb, now))
      more = true;
    if (background_step (wb))
      more = true;
  }
  return more;
}

uint64_t
writeback_deadline (struct writeback *wb)
{
  bool nothing = !throttle_unsaved (wb->throttle) && wb->failing.bad.n == 0;
  uint64_t next, now;

  if (is_paused (wb))
    return ENV_FOREVER; /* its end rings the bell */
  next = fs_deadline (wb->fs);
  if (sync_awaits_flush (wb))
    next = min_u64 (next, wb->sync.flush_at);
  if (sync_settling (&wb->sync) || (nothing && wb->passes.next == ENV_FOREVER))
    return next;
  /* What has become due since the last step is still to be done. */
  now = wb->throttle->balance.last_step;
  if (wb->failing.backoff.until > now)
    return min_u64 (next, wb->failing.backoff.until);
  next = min_u64 (next, wb->passes.next);
  if (nothing)
    return next;
  next = min_u64 (next, bad_ranges_deadline (&wb->failing.bad, now));
  return min_u64 (next, balance_deadline (wb->throttle, at_work (wb)));
}

bool
writeback_idle (struct writeback *wb)
{
  bool idle;

  pthread_mutex_lock (&wb->inbox->lock);
  idle = wb->inbox->queue.head == NULL && wb->inbox->done == NULL;
  pthread_mutex_unlock (&wb->inbox->lock);
  return idle && wb->ioends.in_flight == 0 && !sync_any (&wb->sync) &&
         wb->sync.flush_state == FLUSH_IDLE && fs_idle (wb->fs);
}
