/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pacing of writers, after mm/page-writeback.c: what the control law is fed
 * with, and pausing.
 */

#include <errno.h>
#include <inttypes.h>

#include "cache/pace/balance.h"
#include "cache/mapping.h"

/* The first measurement of bandwidth takes so much work (ns), and where there is
 * time for it no less than the store took until it had written anything.
 */
#define FIRST_BUSY (20 * NSEC_PER_MSEC)

/* --- the limits --- */

/* Relaxed, here and where they are read: see struct balance_limits. */
static void
publish (struct balance *balance)
{
  struct balance_limits *to = &balance->limits;
  struct law_limits from;

  law_limits (&balance->law, &from);
  atomic_store_explicit (&to->background, from.background,
                         memory_order_relaxed);
  atomic_store_explicit (&to->freerun, from.freerun, memory_order_relaxed);
  atomic_store_explicit (&to->limit, from.limit, memory_order_relaxed);
  atomic_store_explicit (&to->unstable, from.unstable, memory_order_relaxed);
  atomic_store_explicit (&to->base, from.base, memory_order_relaxed);
  atomic_store_explicit (&to->bandwidth, from.bandwidth, memory_order_relaxed);
  atomic_store_explicit (&to->pause_max, from.pause_max, memory_order_relaxed);
}

void
balance_limits (const struct mapping *mapping, struct law_limits *to)
{
  const struct balance_limits *from = &mapping->balance.limits;

  *to = (struct law_limits) {
    .background =
      atomic_load_explicit (&from->background, memory_order_relaxed),
    .freerun = atomic_load_explicit (&from->freerun, memory_order_relaxed),
    .limit = atomic_load_explicit (&from->limit, memory_order_relaxed),
    .unstable = atomic_load_explicit (&from->unstable, memory_order_relaxed),
    .base = atomic_load_explicit (&from->base, memory_order_relaxed),
    .bandwidth = atomic_load_explicit (&from->bandwidth, memory_order_relaxed),
    .pause_max = atomic_load_explicit (&from->pause_max, memory_order_relaxed),
  };
}

void
balance_init (struct balance *balance, uint32_t limit, uint32_t background,
              uint64_t flush_target)
{
  law_init (&balance->law, limit, background, flush_target);
  balance->sample.saturated = true;
  publish (balance);
}

/* --- pausing --- */

/* Pause until then, or until below freerun, where nobody owes anything. */
static int
pause_until (struct mapping *mapping, struct pacing *pacing, uint64_t until)
{
  struct balance *balance = &mapping->balance;
  struct env *env = mapping->env;
  uint64_t begun = env->now (env), now;
  uint32_t seen;
  int r = 0;

  atomic_fetch_add (&balance->pausing, 1);
  while ((now = env->now (env)) < until) {
    seen = atomic_load (&balance->word);
    if (atomic_load (&mapping->shutdown)) {
      r = -ESHUTDOWN;
      break;
    }
    if (origin_gone (pacing->origin)) {
      r = -ECONNABORTED;
      break;
    }
    if (!balance_active (mapping)) {
      atomic_store (&pacing->pace->clock, now);
      break;
    }
    env->wait (env, &balance->word, seen, until);
    origin_waited (pacing->origin);
  }
  atomic_fetch_sub (&balance->pausing, 1);
  stats_note (mapping->stats, HIST_PAUSE, env->now (env) - begun);
  return r;
}

/* Pay for what the connection has made dirty. */
static int
pay (struct mapping *mapping, struct pacing *pacing, uint32_t pages,
     unsigned flags)
{
  struct law_limits limits;
  uint64_t now = mapping->env->now (mapping->env), pause, most;

  balance_limits (mapping, &limits);
  most = law_pause_most (LAW_PAUSE_MAX, pacing->count >> PAGE_SHIFT);
  pause = law_pause (&limits, atomic_load (&pacing->pace->clock), now, pages);
  pause = min_u64 (pause, most - pacing->paused);
  if (pause == 0)
    return 0;
  if (flags & BDP_NOWAIT)
    return -EAGAIN;
  pacing->paused += pause;
  return pause_until (mapping, pacing, now + pause);
}

int
balance_dirty_pages_ratelimited (struct mapping *mapping, struct pacing *pacing,
                                 uint32_t pages, unsigned flags)
{
  int r = 0;

  if (balance_active (mapping) && pacing->pace)
    r = pay (mapping, pacing, pages, flags);
  if (r < 0)
    return r;
  return throttle_wait (mapping, pacing->origin, pages,
                        (flags & BDP_NOWAIT) != 0);
}

static void
charge (struct mapping *mapping, struct pace *pace, uint32_t pages)
{
  uint32_t unsaved = atomic_load (&mapping->folios.nr_unsaved);
  uint64_t now = mapping->env->now (mapping->env), clock, next;
  struct law_limits limits;

  balance_limits (mapping, &limits);
  clock = atomic_load (&pace->clock);
  do
    next = law_charge (&limits, unsaved, clock, now, pages);
  while (!atomic_compare_exchange_weak (&pace->clock, &clock, next));
  atomic_store (&pace->poll, law_poll (&limits, unsaved));
}

void
balance_dirtied (struct mapping *mapping, struct pacing *pacing, uint32_t pages)
{
  struct pace *pace = pacing->pace;

  if (pace) {
    if (atomic_fetch_add (&pace->unpaid, pages) + pages <
        atomic_load (&pace->poll))
      return;
    pages = atomic_exchange (&pace->unpaid, 0);
    if (pages == 0)
      return;
    charge (mapping, pace, pages);
  }
  atomic_fetch_add (&mapping->balance.dirtied, pages);
}

void
balance_wake (struct mapping *mapping)
{
  struct balance *balance = &mapping->balance;

  if (atomic_load (&balance->pausing) == 0)
    return;
  if (balance_active (mapping) && !atomic_load (&mapping->shutdown))
    return;
  atomic_fetch_add (&balance->word, 1);
  mapping->env->wake (mapping->env, &balance->word);
}

/* --- loop thread --- */

static bool
at_work (const struct mapping *mapping)
{
  return mapping->wb.in_flight > 0 || mapping->wb.flush_state == FLUSH_SENT;
}

void
balance_written (struct mapping *mapping, uint32_t pages)
{
  mapping->balance.sample.written += pages;
}

/* Say so when the flush target begins or ceases to limit. */
static void
report (struct mapping *mapping, bool was_bound)
{
  const struct throttle_law *law = &mapping->balance.law;
  double page = PAGE_SIZE / 1e6;

  if (law->bound == was_bound)
    return;
  if (law->bound)
    env_log (mapping->env, LOG_DEBUG,
             "the store writes %.1f MB/s: to be flushed in %g s, not more than "
             "about %.1f MB may wait to be written back",
             law->bandwidth * page, law->flush_target,
             min_u64 ((uint64_t) (law->bandwidth * law->flush_target),
                      mapping->throttle.limit) *
               page);
  else
    env_log (mapping->env, LOG_DEBUG,
             "the store writes %.1f MB/s: flush-target no longer limits what "
             "may wait to be written back",
             law->bandwidth * page);
}

static void
update (struct mapping *mapping)
{
  struct balance *balance = &mapping->balance;
  struct law_sample *sample = &balance->sample;
  bool was_bound = balance->law.bound;

  sample->dirtied = atomic_exchange (&balance->dirtied, 0);
  sample->unsaved = atomic_load (&mapping->folios.nr_unsaved);
  sample->conns = atomic_load (&mapping->nr_conns);
  law_update (&balance->law, sample);
  *sample = (struct law_sample) { .saturated = true };
  publish (balance);
  report (mapping, was_bound);
  throttle_wake (mapping);
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
balance_step (struct mapping *mapping, uint64_t now)
{
  struct balance *balance = &mapping->balance;
  struct law_sample *sample = &balance->sample;
  uint64_t elapsed = now - balance->last_step;

  if (balance->last_step == 0)
    elapsed = 0;
  balance->last_step = now;
  sample->elapsed += elapsed;
  /* Nothing has been sent or reaped since the last step. */
  if (at_work (mapping))
    sample->busy += elapsed;
  if (!balance_active (mapping) && !writeback_over_background (mapping))
    sample->saturated = false;

  if (first_measured (balance) || sample->elapsed >= LAW_INTERVAL)
    update (mapping);
}

uint64_t
balance_deadline (const struct mapping *mapping)
{
  const struct balance *balance = &mapping->balance;

  if (!at_work (mapping) && !balance_active (mapping))
    return ENV_FOREVER;
  return balance->last_step + LAW_INTERVAL -
         min_u64 (balance->sample.elapsed, LAW_INTERVAL);
}

bool
balance_wants_flush (const struct mapping *mapping)
{
  return atomic_load (&mapping->folios.nr_unstable) >
         atomic_load_explicit (&mapping->balance.limits.unstable,
                               memory_order_relaxed);
}

uint32_t
balance_background (const struct mapping *mapping)
{
  return atomic_load_explicit (&mapping->balance.limits.background,
                               memory_order_relaxed);
}
