/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pacing of writers, after mm/page-writeback.c: what the control law is fed
 * with, and pausing.
 */

#include <errno.h>

#include "cache/pace/balance.h"
#include "fs/num.h"
#include "cache/base/origin.h"
#include "cache/base/stats.h"
#include "cache/pace/throttle.h"
#include "cache/post/outbox.h"

/* The first measurement of bandwidth takes so much work (ns), and where there is
 * time for it no less than the store took until it had written anything.
 */
#define FIRST_BUSY (20 * NSEC_PER_MSEC)

void
balance_init (struct throttle *throttle, uint64_t flush_target)
{
  struct balance *balance = &throttle->balance;

  law_init (&balance->law, throttle->limit, throttle->background, flush_target);
  balance->sample.saturated = true;
  law_limits (&balance->law, &balance->limits);
}

/* --- pausing --- */

/* Pause until then, or until below freerun, where nobody owes anything. */
static int
pause_until (struct throttle *throttle, struct pacing *pacing, uint64_t until)
{
  struct balance *balance = &throttle->balance;
  struct env *env = throttle->env;
  uint64_t begun = env->now (env), now;
  uint32_t seen;
  int r = 0;

  atomic_fetch_add (&balance->pausing, 1);
  while ((now = env->now (env)) < until) {
    seen = atomic_load (&balance->word);
    if (atomic_load (&throttle->outbox->shutdown)) {
      r = -ESHUTDOWN;
      break;
    }
    if (origin_gone (pacing->origin)) {
      r = -ECONNABORTED;
      break;
    }
    if (!balance_active (throttle)) {
      atomic_store (&pacing->pace->clock, now);
      break;
    }
    env->wait (env, &balance->word, seen, until);
    origin_waited (pacing->origin);
  }
  atomic_fetch_sub (&balance->pausing, 1);
  stats_note (throttle->stats, HIST_PAUSE, env->now (env) - begun);
  return r;
}

/* Pay for what the connection has made dirty. */
static int
pay (struct throttle *throttle, struct pacing *pacing, uint32_t pages)
{
  const struct law_limits *limits = &throttle->balance.limits;
  uint64_t now = throttle->env->now (throttle->env), pause, most;

  most = law_pause_most (LAW_PAUSE_MAX, pacing->count >> PAGE_SHIFT);
  pause = law_pause (limits, atomic_load (&pacing->pace->clock), now, pages);
  pause = min_u64 (pause, most - pacing->paused);
  if (pause == 0)
    return 0;
  pacing->paused += pause;
  return pause_until (throttle, pacing, now + pause);
}

int
balance_dirty_pages_ratelimited (struct throttle *throttle,
                                 struct pacing *pacing, uint32_t pages)
{
  int r = 0;

  if (balance_active (throttle) && pacing->pace)
    r = pay (throttle, pacing, pages);
  return r < 0 ? r : throttle_wait (throttle, pacing->origin, pages);
}

static void
charge (struct throttle *throttle, struct pace *pace, uint32_t pages)
{
  uint32_t unsaved = throttle_unsaved (throttle);
  uint64_t now = throttle->env->now (throttle->env), next;
  const struct law_limits *limits = &throttle->balance.limits;
  uint64_t clock = atomic_load (&pace->clock);

  do
    next = law_charge (limits, unsaved, clock, now, pages);
  while (!atomic_compare_exchange_weak (&pace->clock, &clock, next));
  atomic_store (&pace->poll, law_poll (limits, unsaved));
}

void
balance_dirtied (struct throttle *throttle, struct pacing *pacing,
                 uint32_t pages)
{
  struct pace *pace = pacing->pace;

  if (pace) {
    if (atomic_fetch_add (&pace->unpaid, pages) + pages <
        atomic_load (&pace->poll))
      return;
    pages = atomic_exchange (&pace->unpaid, 0);
    if (pages == 0)
      return;
    charge (throttle, pace, pages);
  }
  atomic_fetch_add (&throttle->balance.dirtied, pages);
}

/* --- loop thread --- */

void
balance_written (struct throttle *throttle, uint32_t pages)
{
  throttle->balance.sample.written += pages;
}

/* Say so when the flush target begins or ceases to limit. */
static void
report (struct throttle *throttle, bool was_bound)
{
  const struct throttle_law *law = &throttle->balance.law;
  double page = PAGE_SIZE / 1e6;

  if (law->bound == was_bound)
    return;
  if (law->bound)
    env_log (throttle->env, LOG_DEBUG,
             "the store writes %.1f MB/s: to be flushed in %g s, not more than "
             "about %.1f MB may wait to be written back",
             law->bandwidth * page, law->flush_target,
             min_u64 ((uint64_t) (law->bandwidth * law->flush_target),
                      throttle->limit) *
               page);
  else
    env_log (throttle->env, LOG_DEBUG,
             "the store writes %.1f MB/s: flush-target no longer limits what "
             "may wait to be written back",
             law->bandwidth * page);
}

/* What the law says is in force.  While its limit comes down to one that was
 * configured anew, so does the hard one: writers are slowed down, not stopped.
 */
static void
enforce (struct throttle *throttle)
{
  const struct throttle_law *law = &throttle->balance.law;

  law_limits (law, &throttle->balance.limits);
  atomic_store (
    &throttle->limit,
    (uint32_t) (law->limit > law->max_limit ? law->limit : law->max_limit));
  throttle_wake (throttle);
}

void
balance_configure (struct throttle *throttle, uint64_t limit,
                   uint64_t background, uint64_t flush_target)
{
  throttle_init (throttle, limit, background);
  law_configure (&throttle->balance.law, atomic_load (&throttle->limit),
                 throttle->background, flush_target,
                 throttle_unsaved (throttle));
  enforce (throttle);
}

static void
update (struct throttle *throttle)
{
  struct balance *balance = &throttle->balance;
  struct law_sample *sample = &balance->sample;
  bool was_bound = balance->law.bound;

  sample->dirtied = atomic_exchange (&balance->dirtied, 0);
  sample->unsaved = throttle_unsaved (throttle);
  sample->conns = atomic_load (&throttle->nr_conns);
  law_update (&balance->law, sample);
  *sample = (struct law_sample) { .saturated = true };
  enforce (throttle);
  report (throttle, was_bound);
}

/* Is there enough for the first measurement?  It begins when the first writes are
 * over: before, a store that is far away has only let us wait.
 */
static bool
first_measured (struct balance *balance)
{
  struct law_sample *sample = &balance->sample;

  if (balance->law.bandwidth != 0 || sample->written == 0)
    return false;
  if (balance->first_busy == 0) {
    balance->first_busy = max_u64 (sample->busy, FIRST_BUSY);
    *sample = (struct law_sample) { .saturated = true };
    return false;
  }
  return sample->busy >= balance->first_busy;
}

void
balance_step (struct throttle *throttle, uint64_t now, bool at_work)
{
  struct balance *balance = &throttle->balance;
  struct law_sample *sample = &balance->sample;
  uint64_t elapsed = now - balance->last_step;

  if (balance->last_step == 0)
    elapsed = 0;
  balance->last_step = now;
  sample->elapsed += elapsed;
  /* Nothing has been sent or reaped since the last step. */
  if (at_work)
    sample->busy += elapsed;
  if (!balance_active (throttle) && !throttle_over_background (throttle))
    sample->saturated = false;

  if (first_measured (balance) || sample->elapsed >= LAW_INTERVAL)
    update (throttle);
}

uint64_t
balance_deadline (const struct throttle *throttle, bool at_work)
{
  const struct balance *balance = &throttle->balance;

  if (!at_work && !balance_active (throttle))
    return ENV_FOREVER;
  return balance->last_step + LAW_INTERVAL -
         min_u64 (balance->sample.elapsed, LAW_INTERVAL);
}

bool
balance_wants_flush (const struct throttle *throttle)
{
  return throttle_unstable (throttle) >
         atomic_load_explicit (&throttle->balance.limits.unstable,
                               memory_order_relaxed);
}
