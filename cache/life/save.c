/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Saving a whole mapping, with reports of how far it has come.
 */

#include "cache/request/mapping.h"

static uint64_t
unsaved_bytes (struct mapping *mapping)
{
  return (uint64_t) atomic_load (&mapping->folios.nr_unsaved) << PAGE_SHIFT;
}

uint64_t
mapping_work_left (struct mapping *mapping)
{
  return (uint64_t) atomic_load (&mapping->folios.nr_dirty) +
         atomic_load (&mapping->folios.nr_writeback) +
         atomic_load (&mapping->folios.nr_unsaved);
}

static void
report_progress (struct mapping *mapping, uint64_t total, uint64_t since,
                 sync_progress_fn *fn, void *opaque)
{
  uint64_t left = unsaved_bytes (mapping);
  struct sync_progress progress = {
    .total_bytes = max_u64 (total, left),
    .elapsed = mapping->env->now (mapping->env) - since,
  };

  progress.done_bytes = progress.total_bytes - left;
  fn (opaque, &progress);
}

int
mapping_sync (struct mapping *mapping, sync_progress_fn *fn, void *opaque)
{
  struct env *env = mapping->env;
  struct sync_req req = { .end = UINT64_MAX, .kind = SYNC_FLUSH };
  uint64_t total = unsaved_bytes (mapping);
  uint64_t since = env->now (env), next = since;

  /* Zeroes that are to be done again have a thread that tries it on and on:
   * until it succeeds the sync fails, but not before it has written the data.
   */
  inbox_queue (&mapping->inbox, &req);
  while (atomic_load (&req.done.word) == 0) {
    if (env->now (env) >= next + NSEC_PER_SEC) {
      next += NSEC_PER_SEC;
      if (fn)
        report_progress (mapping, total, since, fn, opaque);
    }
    env->wait (env, &req.done.word, 0, next + NSEC_PER_SEC);
  }
  return req.error;
}

/* The first run in [*pos, end of folio) of sectors that are not saved: sets
 * [*pos, *end); false if there is none.
 */
static bool
unsaved_run (struct mapping *mapping, const struct folio *folio, uint64_t *pos,
             uint64_t *end)
{
  const struct arena *arena = mapping->folios.arena;
  uint64_t base = folio_pos (folio);
  unsigned sectors = folio_sectors (folio);
  unsigned from = (unsigned) ((*pos - base) >> SECTOR_SHIFT);
  unsigned first = folio_find_unsaved (arena, folio, from, sectors, true);
  unsigned last = folio_find_unsaved (arena, folio, first, sectors, false);

  if (first == sectors)
    return false;
  *pos = base + ((uint64_t) first << SECTOR_SHIFT);
  *end = base + ((uint64_t) last << SECTOR_SHIFT);
  return true;
}

void
mapping_unsaved (struct mapping *mapping, mapping_range_fn *fn, void *opaque)
{
  uint64_t pos = 0, end, run_start = 0, run_end = 0;
  struct zero_op zeroes[MAX_ZEROES];
  struct folio *folio;
  unsigned i;

  while ((folio = index_get_next (mapping->folios.index, pos >> PAGE_SHIFT,
                                  mapping->folios.nr_pages)) != NULL) {
    pos = max_u64 (pos, folio_pos (folio));
    while (pos < folio_end (folio) &&
           unsaved_run (mapping, folio, &pos, &end)) {
      if (pos != run_end && run_end > run_start)
        fn (opaque, run_start, run_end - run_start);
      if (pos != run_end)
        run_start = pos;
      run_end = pos = min_u64 (end, mapping->folios.size);
      if (end > mapping->folios.size)
        pos = end;
    }
    pos = folio_end (folio);
    folio_put (mapping->folios.arena, folio);
  }
  if (run_end > run_start)
    fn (opaque, run_start, run_end - run_start);

  zeroes_list (&mapping->zeroes, zeroes);
  for (i = 0; i < MAX_ZEROES; i++)
    if (zeroes[i].length)
      fn (opaque, zeroes[i].offset, zeroes[i].length);
}
