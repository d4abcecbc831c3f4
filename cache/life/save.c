/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Saving a whole mapping, with reports of how far it has come.
 */

#include <errno.h>

#include "cache/request/mapping.h"

static uint64_t
unsaved_bytes (struct mapping *mapping)
{
  return (uint64_t) throttle_unsaved (&mapping->throttle) << PAGE_SHIFT;
}

uint64_t
mapping_work_left (struct mapping *mapping)
{
  return (uint64_t) atomic_load (&mapping->folios.nr_dirty) +
         atomic_load (&mapping->folios.nr_writeback) +
         throttle_unsaved (&mapping->throttle);
}

/* A wait for the end, with reports. */
struct saving {
  struct mapping *mapping;
  sync_progress_fn *fn;
  void *opaque;
  uint64_t total;       /* bytes unsaved at the start */
  uint64_t since, next; /* ns */
};

static void
report_progress (struct saving *s)
{
  struct env *env = s->mapping->env;
  uint64_t left = unsaved_bytes (s->mapping);
  struct sync_progress progress = {
    .total_bytes = max_u64 (s->total, left),
    .elapsed = env->now (env) - s->since,
  };

  progress.done_bytes = progress.total_bytes - left;
  s->fn (s->opaque, &progress);
}

/* Wait for the word to change, or until there is something to report. */
static void
wait_reporting (struct saving *s, _Atomic uint32_t *word, uint32_t value)
{
  struct env *env = s->mapping->env;

  if (env->now (env) >= s->next + NSEC_PER_SEC) {
    s->next += NSEC_PER_SEC;
    if (s->fn)
      report_progress (s);
  }
  env->wait (env, word, value, s->next + NSEC_PER_SEC);
}

static int
settle_reporting (struct saving *s)
{
  struct fs *fs = s->mapping->fs;
  uint64_t ticket = fs_settle (fs, 0, UINT64_MAX);
  uint32_t seen;
  int r;

  fs_ring (fs);
  for (;;) {
    seen = atomic_load (&fs->changes);
    r = fs_settled (fs, 0, UINT64_MAX, ticket);
    if (r != -EAGAIN)
      return r;
    wait_reporting (s, &fs->changes, seen);
  }
}

static int
sync_reporting (struct saving *s)
{
  struct sync_req req = { .end = UINT64_MAX, .kind = SYNC_FLUSH };

  inbox_queue (&s->mapping->inbox, &req);
  while (atomic_load (&req.done.word) == 0)
    wait_reporting (s, &req.done.word, 0);
  return req.error;
}

/* As write_sync_durable. */
static int
save (struct saving *s)
{
  struct mapping *mapping = s->mapping;
  int zeroed = settle_reporting (s);
  int r = sync_reporting (s);

  if (zeroed == 0 && fs_unsettled (mapping->fs, 0, UINT64_MAX)) {
    zeroed = settle_reporting (s);
    if (zeroed == 0 && r == 0)
      r = sync_reporting (s);
  }
  return zeroed ? zeroed : r;
}

int
mapping_sync (struct mapping *mapping, sync_progress_fn *fn, void *opaque)
{
  struct fs *fs = mapping->fs;
  struct saving s = {
    .mapping = mapping,
    .fn = fn,
    .opaque = opaque,
    .total = unsaved_bytes (mapping),
    .since = mapping->env->now (mapping->env),
  };
  uint32_t undone;
  int r;

  s.next = s.since;
  do {
    undone = atomic_load (&fs->undone);
    r = save (&s);
  } while (r == 0 && atomic_load (&fs->undone) != undone);
  return r;
}

void
mapping_unsaved (struct mapping *mapping, mapping_range_fn *fn, void *opaque)
{
  uint64_t size = mapping->folios.size, pos, first, run_start = 0, run_end = 0;

  for (pos = 0; folios_next_unsaved (&mapping->folios, pos, size, &first, &pos);
       run_end = min_u64 (pos, size)) {
    if (first == run_end)
      continue;
    if (run_end > run_start)
      fn (opaque, run_start, run_end - run_start);
    run_start = first;
  }
  if (run_end > run_start)
    fn (opaque, run_start, run_end - run_start);

  if (mapping->fs->ops->unsaved)
    mapping->fs->ops->unsaved (mapping->fs, fn, opaque);
}
