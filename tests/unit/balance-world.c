/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A world for tests of pacing: see balance-world.h.
 */

#include <string.h>

#include "balance-world.h"
#include "cache/request/write.h"

struct paced paced;

static _Thread_local bool in_world;

static void
pass_time (uint64_t ns)
{
  struct fixture *f = paced.f;
  uint64_t n;

  paced.busy = true;
  atomic_fetch_add (&f->clock, ns);
  while (writeback_step (&f->mapping->wb))
    ;
  paced.owed += paced.speed * ns;
  n = paced.owed / NSEC_PER_SEC;
  paced.owed %= NSEC_PER_SEC;
  fake_store_release (f->fake, STORE_WRITE, (unsigned) n);
  while (writeback_step (&f->mapping->wb))
    ;
  paced.busy = false;
}

/* For the thread of the test; other threads wait as the fixture does. */
static bool
world_wait (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
            uint64_t deadline)
{
  uint64_t now = atomic_load (&f->clock);

  if (!in_world)
    return false;
  assert_false (paced.busy);
  paced.waits++;
  while (now < deadline && atomic_load (word) == value) {
    pass_time (min_u64 (TICK, deadline - now));
    now = atomic_load (&f->clock);
  }
  return true;
}

static void
world_log (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  if (level == LOG_DEBUG && strstr (message, "to be flushed in 10 s"))
    paced.bound++;
  if (level == LOG_DEBUG && strstr (message, "no longer limits"))
    paced.unbound++;
}

struct fixture *
start_world (unsigned speed, uint64_t flush_target)
{
  struct fixture *f = fixture_start (&(struct fixture_config) {
    .disk_size = 64 * MiB,
    .dirty_limit = LIMIT * PAGE,
    .small_folios = true,
    .fake_clock = true,
    .no_loop = true,
    .flush_target = flush_target,
    .wait = world_wait,
  });

  memset (&paced, 0, sizeof paced);
  paced.f = f;
  paced.speed = speed;
  in_world = true;
  f->env.log = world_log;
  fake_store_hold (f->fake, STORE_WRITE);
  return f;
}

void
stop_world (struct fixture *f)
{
  fake_store_unhold (f->fake, STORE_WRITE);
  while (writeback_step (&f->mapping->wb) || !writeback_idle (&f->mapping->wb))
    ;
  fixture_stop (f);
}

void
teach (struct fixture *f, double bandwidth, double base)
{
  struct throttle_law *law = &f->mapping->throttle.balance.law;

  law->bandwidth = law->recent = bandwidth;
  law->base = base;
  f->mapping->throttle.balance.last_step = 0;
  balance_step (&f->mapping->throttle, atomic_load (&f->clock), false);
  f->mapping->throttle.balance.sample.elapsed = LAW_INTERVAL;
  balance_step (&f->mapping->throttle, atomic_load (&f->clock), false);
}

void
fill (struct fixture *f, unsigned pages)
{
  struct conn *conn = f->conns[3];
  uint8_t page[PAGE_SIZE] = { 1 };
  unsigned i;

  for (i = atomic_load (&f->mapping->folios.nr_unsaved); i < pages; i++)
    assert_int_equal (
      write_buffered (conn->mapping, NULL, page, PAGE, i * PAGE), 0);
}
