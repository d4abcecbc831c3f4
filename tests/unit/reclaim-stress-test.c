/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Eviction under fire: threads bring in, use, dirty and take out folios of
 * many sizes of a disk four times as large as memory, one cleans, the
 * reclaimer runs.  Each folio must hold what was put into it while it is
 * referenced, no one may sleep for ever, and in the end every page must be
 * accounted for.
 */

#include <unistd.h>

#include "tests/unit/fake-mapping.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define PAGES 1000
#define THREADS 6
#define ROUNDS 60000
#define PATIENCE 500 /* seconds until it is taken for stuck */

static struct fake fake;
static _Atomic bool done;

static void *
cleaner (void *opaque)
{
  uint32_t calls = 0;

  (void) opaque;
  while (!atomic_load (&done)) {
    fake.env.wait (&fake.env, &fake.need_clean, calls, ENV_FOREVER);
    calls = atomic_load (&fake.need_clean);
    fake_clean_all (&fake);
  }
  return NULL;
}

/* Bring in a folio of the largest order that there is memory for. */
static void
bring (uint64_t page, unsigned order, bool cold, bool dirty)
{
  struct folio *folio = NULL;

  for (; folio == NULL; order -= folio == NULL && order > 0)
    folio = reclaim_alloc (fake.reclaim, order, order == 0);
  page &= ~(folio_pages (folio) - 1);
  if (fake_insert (&fake, folio, page, cold) && dirty)
    fake_dirty (&fake, folio);
  folio_put (fake.arena, folio);
}

static void
use (struct rng *rng, struct folio *folio)
{
  reclaim_touch (folio);
  if (rng_chance (rng, 20))
    fake_dirty (&fake, folio);
  if (rng_chance (rng, 5))
    fake_clean (&fake, folio);
  if (rng_chance (rng, 5))
    fake_remove (&fake, folio);
}

static void *
worker (void *opaque)
{
  struct rng *rng = opaque;
  struct folio *folio;
  uint64_t page;

  for (unsigned i = 0; i < ROUNDS; ++i) {
    page = rng_below (rng, rng_chance (rng, 50) ? FAKE_PAGES / 8 : FAKE_PAGES);
    folio = fake_get (&fake, page);
    if (folio == NULL)
      bring (page, (unsigned) rng_below (rng, 5), rng_chance (rng, 20),
             rng_chance (rng, 30));
    else {
      use (rng, folio);
      folio_put (fake.arena, folio);
    }
    if (rng_chance (rng, 1))
      reclaim_pages (fake.reclaim, (uint32_t) rng_below (rng, 100));
  }
  return NULL;
}

TEST (stress)
{
  struct rng seed = test_rng ("reclaim-stress"), rngs[THREADS];
  pthread_t threads[THREADS], clean;

  alarm (PATIENCE);
  fake_init (&fake, PAGES, PAGES / 16);
  assert_int_equal (reclaim_start (fake.reclaim), 0);
  pthread_create (&clean, NULL, cleaner, NULL);
  for (unsigned i = 0; i < THREADS; ++i) {
    rngs[i].state = rng_next (&seed);
    pthread_create (&threads[i], NULL, worker, &rngs[i]);
  }
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (threads[i], NULL);

  atomic_store (&done, true);
  atomic_fetch_add (&fake.need_clean, 1);
  fake.env.wake (&fake.env, &fake.need_clean);
  pthread_join (clean, NULL);
  assert_true (atomic_load (&fake.evicted) > 0);
  fake_destroy (&fake);
  alarm (0);
}

RUN_TESTS ()
