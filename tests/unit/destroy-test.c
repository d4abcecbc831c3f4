/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a mapping whose data cannot be saved, while the cache, which lives
 * on, is short of memory.
 */

#include <errno.h>

#include "cache-fixture.h"

static const struct store_ops *fake_ops;
static struct store_ops ops;

/* No write ever succeeds. */
static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  unsigned i;

  for (i = 0; i < n; i++) {
    if (reqs[i]->op == STORE_WRITE)
      reqs[i]->done (reqs[i], -EIO);
    else
      fake_ops->submit (store, &reqs[i], 1);
  }
}

/* The reclaimer does not sleep: it asks for clean folios again and again. */
static bool
never_wait_for_memory (struct fixture *f, _Atomic uint32_t *word,
                       uint32_t value, uint64_t deadline)
{
  (void) value;
  (void) deadline;
  return f->cache && word == &f->cache->arena->freed;
}

/* Eviction kicks the loop thread until the mapping is not there any more. */
CACHE_TEST (short_of_memory, .cache_size = 16 * MiB, .small_folios = true,
            .wait = never_wait_for_memory)
{
  uint32_t pages = f->cache->arena->nr_pages;
  uint64_t i;

  fake_ops = f->fake->store.ops;
  ops = *fake_ops;
  ops.submit = submit;
  f->fake->store.ops = &ops;
  for (i = 0; i < pages - 1; i++)
    put (f, i * PAGE, PAGE, 1);
  assert_true (atomic_load (&f->mapping->folios.nr_unsaved) > 0);
}

RUN_TESTS ()
