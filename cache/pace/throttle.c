/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The dirty limit.  A writer is promised room for what it is about to make
 * dirty, before it does; so the limit holds however many write at once.
 */

#include <errno.h>

#include "cache/mapping.h"

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
  throttle->limit = (uint32_t) max_u64 (limit, LIMIT_MIN);
  throttle->background = (uint32_t) min_u64 (background, throttle->limit / 2);
}

/* What the flush target makes of the limit.  Relaxed: any value will do. */
static uint32_t
soft_limit (const struct mapping *mapping)
{
  return atomic_load_explicit (&mapping->balance.limits.limit,
                               memory_order_relaxed);
}

uint32_t
throttle_max_chunk (const struct mapping *mapping)
{
  uint32_t unsaved =
    atomic_load_explicit (&mapping->folios.nr_unsaved, memory_order_relaxed);
  uint32_t limit = soft_limit (mapping), pages = 1u << MAX_ORDER;
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
limit_for (const struct mapping *mapping, uint32_t pages)
{
  uint64_t limit = soft_limit (mapping);

  if (atomic_load (&mapping->wb.last_error))
    return mapping->throttle.limit;

  return (uint32_t) min_u64 (
    mapping->throttle.limit,
    max_u64 (limit, (uint64_t) pages * CHUNKS_IN_LIMIT));
}

static bool
try_reserve (struct mapping *mapping, uint32_t pages)
{
  struct throttle *throttle = &mapping->throttle;
  uint32_t limit = limit_for (mapping, pages);
  uint32_t reserved = atomic_load (&throttle->reserved);

  for (;;) {
    /* Before anything is promised: others would fail for what is taken back. */
    if (atomic_load (&mapping->folios.nr_unsaved) + reserved + pages > limit)
      return false;
    if (!atomic_compare_exchange_weak (&throttle->reserved, &reserved,
                                       reserved + pages))
      continue;
    /* What was promised before is dirty before it is no longer promised: looked
     * at in this order, nothing is missed.
     */
    if (atomic_load (&mapping->folios.nr_unsaved) + reserved + pages <= limit)
      return true;
    throttle_done (mapping, pages);
    reserved = atomic_load (&throttle->reserved);
  }
}

/* Sleep until room may have been made. */
static void
wait_for_room (struct mapping *mapping, uint32_t seen)
{
  struct env *env = mapping->env;

  writeback_kick (mapping);
  zeroes_redo (mapping);
  env->wait (env, &mapping->throttle.word, seen, env->now (env) + POLL);
}

/* Has one that waits since then waited for long enough, with a store of which
 * something fails?  Not while others get room, unless it never comes to it.
 */
static bool
out_of_patience (struct mapping *mapping, uint64_t since)
{
  uint64_t now = mapping->env->now (mapping->env);
  uint64_t cleaned = atomic_load (&mapping->wb.cleaned_at);

  return now > max_u64 (since, cleaned) + THROTTLE_PATIENCE ||
         now > since + THROTTLE_BOUND;
}

int
throttle_give_up (struct mapping *mapping, uint64_t since)
{
  int error = atomic_load (&mapping->wb.last_error);

  if (atomic_load (&mapping->shutdown))
    return -ESHUTDOWN;
  /* Nothing is flushed, and so no room made, before zeroes are done again. */
  if (error == 0 && zeroes_to_redo (&mapping->zeroes))
    error = zeroes_redo_error (&mapping->zeroes);
  return error && out_of_patience (mapping, since) ? error : 0;
}

static int
wait_slowly (struct mapping *mapping, struct origin *origin, uint32_t pages)
{
  struct throttle *throttle = &mapping->throttle;
  uint64_t since = mapping->env->now (mapping->env);
  uint32_t seen;
  int r = 0;

  atomic_fetch_add (&throttle->waiters, 1);
  for (;;) {
    seen = atomic_load (&throttle->word);
    if (try_reserve (mapping, pages))
      break;
    r =
      origin_gone (origin) ? -ECONNABORTED : throttle_give_up (mapping, since);
    if (r < 0)
      break;
    wait_for_room (mapping, seen);
    origin_waited (origin);
  }
  atomic_fetch_sub (&throttle->waiters, 1);
  stats_note (mapping->stats, HIST_PAUSE,
              mapping->env->now (mapping->env) - since);
  return r;
}

int
throttle_wait (struct mapping *mapping, struct origin *origin, uint32_t pages,
               bool nowait)
{
  if (atomic_load_explicit (&mapping->shutdown, memory_order_relaxed))
    return -ESHUTDOWN;
  if (try_reserve (mapping, pages))
    return 0;
  if (nowait)
    return -EAGAIN;
  return wait_slowly (mapping, origin, pages);
}

void
throttle_done (struct mapping *mapping, uint32_t pages)
{
  atomic_fetch_sub (&mapping->throttle.reserved, pages);
  throttle_wake (mapping);
}

void
throttle_wake (struct mapping *mapping)
{
  struct throttle *throttle = &mapping->throttle;

  balance_wake (mapping);
  if (atomic_load (&throttle->waiters) == 0)
    return;
  atomic_fetch_add (&throttle->word, 1);
  mapping->env->wake (mapping->env, &throttle->word);
}
