/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The dirty limit.  A writer is promised room for what it is about to make
 * dirty, before it does; so the limit holds however many write at once.
 */

#include <errno.h>

#include "fs/num.h"
#include "cache/base/origin.h"
#include "cache/base/stats.h"
#include "cache/pace/throttle.h"
#include "cache/post/outbox.h"

/* Pages; less than this would leave no room for a request. */
#define LIMIT_MIN 8

/* A request asks for room in chunks, of which so many fit the limit, and unless
 * they are small what is left below it.
 */
#define CHUNKS_IN_LIMIT 8
#define CHUNKS_IN_ROOM 4

#define POLL (100 * NSEC_PER_MSEC)

void
throttle_init (struct throttle *throttle, uint64_t limit, uint64_t background)
{
  uint64_t max = UINT32_MAX / 2;

  limit = min_u64 (limit >> PAGE_SHIFT, max);
  background = min_u64 (background >> PAGE_SHIFT, max);
  limit = max_u64 (limit, LIMIT_MIN);
  atomic_store (&throttle->limit, (uint32_t) limit);
  throttle->background = (uint32_t) min_u64 (background, limit / 2);
}

/* What the flush target makes of the limit.  Relaxed: any value will do. */
static uint32_t
soft_limit (const struct throttle *throttle)
{
  return atomic_load_explicit (&throttle->balance.limits.limit,
                               memory_order_relaxed);
}

uint32_t
throttle_max_chunk (const struct throttle *throttle)
{
  uint32_t unsaved = throttle_unsaved (throttle);
  uint32_t limit = soft_limit (throttle), pages = 1u << MAX_ORDER;
  uint32_t room = limit > unsaved ? limit - unsaved : 0;

  /* Where there is little room, little is asked for: what is large would wait
   * for long, while all that is small goes before it.
   */
  while (pages > 1 && (pages > limit / CHUNKS_IN_LIMIT ||
                       (pages > LAW_PAGES && pages > room / CHUNKS_IN_ROOM)))
    pages /= 2;
  return pages;
}

/* What may be unsaved, with the pages asked for: the limit, or what the flush
 * target makes of it.  But that may have become too small for them since they
 * were asked for; and what cannot be written, or flushed, is not to keep others
 * from writing.
 */
static uint32_t
limit_for (const struct throttle *throttle, uint32_t pages)
{
  uint64_t limit = soft_limit (throttle);
  /* Relaxed, as in soft_limit. */
  uint32_t most = atomic_load_explicit (&throttle->limit, memory_order_relaxed);

  if (outbox_error (throttle->outbox))
    return most;

  return (uint32_t) min_u64 (
    most, max_u64 (limit, (uint64_t) pages * CHUNKS_IN_LIMIT));
}

static bool
try_reserve (struct throttle *throttle, uint32_t pages)
{
  uint32_t limit = limit_for (throttle, pages);
  uint32_t reserved = atomic_load (&throttle->reserved);

  for (;;) {
    /* Before anything is promised: others would fail for what is taken back. */
    if (throttle_unsaved (throttle) + reserved + pages > limit)
      return false;
    if (!atomic_compare_exchange_weak (&throttle->reserved, &reserved,
                                       reserved + pages))
      continue;
    /* What was promised before is dirty before it is no longer promised: looked
     * at in this order, nothing is missed.
     */
    if (throttle_unsaved (throttle) + reserved + pages <= limit)
      return true;
    throttle_done (throttle, pages);
    reserved = atomic_load (&throttle->reserved);
  }
}

void
throttle_sleep (struct throttle *throttle, uint32_t seen)
{
  struct env *env = throttle->env;

  bell_ring (throttle->folios->bell);
  env->wait (env, &throttle->word, seen, env->now (env) + POLL);
}

static int
wait_slowly (struct throttle *throttle, struct origin *origin, uint32_t pages)
{
  uint64_t since = throttle->env->now (throttle->env);
  uint32_t seen;
  int r = 0;

  atomic_fetch_add (&throttle->waiters, 1);
  for (;;) {
    seen = atomic_load (&throttle->word);
    if (try_reserve (throttle, pages))
      break;
    r = origin_gone (origin) ? -ECONNABORTED
                             : outbox_give_up (throttle->outbox, since);
    if (r < 0)
      break;
    throttle_sleep (throttle, seen);
    origin_waited (origin);
  }
  atomic_fetch_sub (&throttle->waiters, 1);
  stats_note (throttle->stats, HIST_PAUSE,
              throttle->env->now (throttle->env) - since);
  return r;
}

int
throttle_wait (struct throttle *throttle, struct origin *origin, uint32_t pages)
{
  if (atomic_load_explicit (&throttle->outbox->shutdown, memory_order_relaxed))
    return -ESHUTDOWN;
  return try_reserve (throttle, pages) ? 0
                                       : wait_slowly (throttle, origin, pages);
}

void
throttle_done (struct throttle *throttle, uint32_t pages)
{
  atomic_fetch_sub (&throttle->reserved, pages);
  throttle_wake (throttle);
}

/* Writers that pause for the store. */
static void
wake_pausing (struct throttle *throttle)
{
  struct balance *balance = &throttle->balance;

  if (atomic_load (&balance->pausing) == 0)
    return;
  if (balance_active (throttle) && !atomic_load (&throttle->outbox->shutdown))
    return;
  atomic_fetch_add (&balance->word, 1);
  throttle->env->wake (throttle->env, &balance->word);
}

void
throttle_wake (struct throttle *throttle)
{
  wake_pausing (throttle);
  if (atomic_load (&throttle->waiters) == 0)
    return;
  atomic_fetch_add (&throttle->word, 1);
  throttle->env->wake (throttle->env, &throttle->word);
}

bool
throttle_over_background (const struct throttle *throttle)
{
  const struct folios *folios = throttle->folios;

  return atomic_load (&folios->nr_dirty) + atomic_load (&folios->nr_writeback) >
         atomic_load_explicit (&throttle->balance.limits.background,
                               memory_order_relaxed);
}

void
throttle_dirtied (struct throttle *throttle)
{
  /* Woken when the threshold is crossed, and once for the periodic passes,
   * never for each write.
   */
  if (!atomic_load (&throttle->armed) || (throttle_over_background (throttle) &&
                                          !atomic_load (&throttle->cleaning)))
    bell_ring (throttle->folios->bell);
}
