/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A client that can hang up: see gone-world.h.
 */

#include "gone-world.h"
#include "tests/tools/util.h"

struct world world;

static bool
ask (void *opaque)
{
  assert_ptr_equal (opaque, &world);
  atomic_fetch_add (&world.asked, 1);
  return atomic_load (&world.gone);
}

struct fixture *
start_gone (const struct fixture_config *config)
{
  struct fixture *f;

  world = (struct world) { 0 };
  f = fixture_start (config);
  world.copy_in = f->mapping->hooks.copy_in;
  conn_set_gone (f->conn, ask, &world);
  return f;
}

void
gone_known (struct fixture *f)
{
  world.gone = true;
  assert_true (client_ask (&f->conn->client));
}

bool
hang_up_at_wait (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
                 uint64_t deadline)
{
  (void) f;
  (void) word;
  (void) value;
  /* Not those of the reclaimer's thread. */
  if (deadline != ENV_FOREVER && world.hang_up) {
    atomic_fetch_add (&world.waits, 1);
    world.gone = true;
  }
  return false;
}

struct job
write_job (uint64_t offset, uint64_t n)
{
  struct job job = {
    .op = JOB_WRITE, .buf = xcalloc (1, n), .count = n, .offset = offset
  };

  fill_pattern (job.buf, n, offset, WRITE_JOB);
  return job;
}

void
fill_up (struct fixture *f, unsigned conn)
{
  struct throttle *throttle = &f->mapping->throttle;
  uint32_t page = 0;

  while (throttle_unsaved (throttle) <
         atomic_load (&throttle->balance.limits.limit)) {
    assert_int_equal (put_flags (f, conn, page++ * PAGE, PAGE, 1, 0), 0);
    assert_true (page <= throttle->limit);
  }
}

uint64_t
failures (struct fixture *f)
{
  struct stats_snapshot snapshot;

  stats_read (f->mapping, &snapshot);
  return snapshot.counters[STAT_FAILED];
}
