/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Eviction: what stays and what goes, folios that will not go, waiting for
 * memory, the background reclaimer.
 */

#include <sched.h>
#include <unistd.h>

#include "tests/unit/fake-mapping.h"
#include "tests/unit/test.h"

#define PAGES 100

/* More than a test needs; a lost wake-up ends the program. */
#define PATIENCE 120

static struct fake fake;

static int
setup (void **state)
{
  (void) state;
  fake_init (&fake, PAGES, 0);
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  fake_destroy (&fake);
  return 0;
}

static void
fill (uint64_t first, uint64_t last)
{
  for (uint64_t page = first; page < last; ++page)
    assert_false (fake_access (&fake, page));
}

static unsigned
count_in (uint64_t first, uint64_t last)
{
  unsigned n = 0;

  for (uint64_t page = first; page < last; ++page)
    n += fake_has (&fake, page);
  return n;
}

static struct folio *
get (uint64_t page)
{
  struct folio *folio = fake_get (&fake, page);

  assert_non_null (folio);
  return folio;
}

/* --- what stays and what goes --- */

TEST (warm)
{
  fill (0, PAGES);
  assert_int_equal (count_in (0, PAGES), PAGES);
  assert_int_equal (atomic_load (&fake.evicted), 0);
}

TEST (first_in_first_out)
{
  fill (0, PAGES);
  assert_int_equal (reclaim_pages (fake.reclaim, 10), 10);
  assert_int_equal (count_in (0, 10), 0);
  assert_int_equal (count_in (10, PAGES), PAGES - 10);
}

TEST (scan_spares_hot)
{
  fill (0, 50);
  for (uint64_t page = 0; page < 50; ++page)
    assert_true (fake_access (&fake, page));
  fill (1000, 3000);
  assert_int_equal (count_in (0, 50), 50);
}

/* What comes back after it was evicted goes to the main queue, and there
 * survives what it did not before; not if it comes by a guess.
 */
static void
check_return (bool cold, unsigned expected)
{
  fill (0, PAGES);
  reclaim_pages (fake.reclaim, 20);
  assert_int_equal (count_in (0, 20), 0);
  for (uint64_t page = 0; page < 5; ++page)
    fake_bring (&fake, page, cold);
  fill (1000, 1400);
  assert_int_equal (count_in (0, 20), expected);
}

TEST (ghosts_return)
{
  check_return (false, 5);
}

TEST (guesses_are_no_evidence)
{
  check_return (true, 0);
}

TEST (wasted_readahead)
{
  struct folio *folio;

  fill (0, PAGES);
  for (uint64_t page = 0; page < 7; ++page) {
    folio = get (page);
    atomic_fetch_or (&folio->flags, FOLIO_UNREAD);
    folio_put (fake.arena, folio);
  }
  reclaim_pages (fake.reclaim, 5);
  assert_int_equal (reclaim_wasted_readahead (fake.reclaim), 5);
}

TEST (large_folios)
{
  struct folio *folio;
  uint64_t page;

  for (page = 0; page < 96; page += 8) {
    folio = reclaim_alloc (fake.reclaim, 3, true);
    assert_non_null (folio);
    assert_true (fake_insert (&fake, folio, page, false));
    folio_put (fake.arena, folio);
  }
  /* Memory is short: it evicts for a large folio, as many pages as that has. */
  fill (1000, 1004);
  folio = reclaim_alloc (fake.reclaim, 3, true);
  assert_non_null (folio);
  assert_int_equal (count_in (0, 96), 88);
  folio_put (fake.arena, folio);
  assert_int_equal (reclaim_pages (fake.reclaim, 9), 16);
}

/* --- folios that will not go --- */

TEST (dirty_is_passed_over)
{
  struct folio *folio;

  fill (0, PAGES);
  folio = get (0);
  fake_dirty (&fake, folio);
  assert_int_equal (reclaim_pages (fake.reclaim, 10), 10);
  assert_true (fake_has (&fake, 0));
  assert_true (atomic_load (&folio->flags) & FOLIO_RECLAIM);

  /* Clean, it is the next to go. */
  fake_clean (&fake, folio);
  folio_put (fake.arena, folio);
  assert_int_equal (reclaim_pages (fake.reclaim, 1), 1);
  assert_false (fake_has (&fake, 0));
}

TEST (all_dirty)
{
  struct folio *folio;

  fill (0, PAGES);
  for (uint64_t page = 0; page < PAGES; ++page) {
    folio = get (page);
    fake_dirty (&fake, folio);
    folio_put (fake.arena, folio);
  }
  assert_int_equal (reclaim_pages (fake.reclaim, 1), 0);
  assert_int_equal (count_in (0, PAGES), PAGES);
  assert_int_equal (atomic_load (&fake.need_clean), 1);
  assert_null (reclaim_alloc (fake.reclaim, 0, false));
}

TEST (referenced_stays)
{
  struct folio *folio;

  fill (0, PAGES);
  folio = get (3);
  reclaim_pages (fake.reclaim, PAGES - 1);
  assert_int_equal (count_in (0, PAGES), 1);
  assert_true (fake_has (&fake, 3));
  folio_put (fake.arena, folio);
}

static void
remove_in_evict (struct fake *f, struct folio *folio)
{
  fake_remove (f, folio);
}

TEST (removed_meanwhile)
{
  fill (0, PAGES);
  fake.on_evict = remove_in_evict;
  assert_int_equal (reclaim_pages (fake.reclaim, PAGES), 0);
  /* All were freed, if not by eviction; none may be left in a queue. */
  assert_int_equal (atomic_load (&fake.arena->nr_free), PAGES);
  fake.on_evict = NULL;
  assert_int_equal (reclaim_pages (fake.reclaim, PAGES), 0);
  fill (0, PAGES);
}

TEST (removed_before_added)
{
  struct folio *folio = reclaim_alloc (fake.reclaim, 0, true);

  reclaim_add (fake.reclaim, folio, false); /* no longer in an index */
  folio_put (fake.arena, folio);
  assert_int_equal (reclaim_pages (fake.reclaim, 1), 0);
}

TEST (hot_goes_when_all_is_hot)
{
  fill (0, PAGES);
  for (unsigned i = 0; i < 3; ++i)
    for (uint64_t page = 0; page < PAGES; ++page)
      assert_true (fake_access (&fake, page));
  assert_int_equal (reclaim_pages (fake.reclaim, 5), 5);
}

/* --- waiting --- */

static void *
alloc_thread (void *opaque)
{
  struct folio *folio;

  (void) opaque;
  do
    folio = reclaim_alloc (fake.reclaim, 0, true);
  while (folio == NULL);
  return folio;
}

/* Sleeps without a deadline, so that only a wake-up ends it. */
static void
wait_forever (struct env *env, _Atomic uint32_t *word, uint32_t value,
              uint64_t deadline)
{
  struct env real;

  (void) env;
  (void) deadline;
  env_init (&real);
  real.wait (&real, word, value, ENV_FOREVER);
}

/* Start a thread that allocates while all memory is dirty. */
static pthread_t
start_waiter (struct folio **folios)
{
  uint32_t before;
  pthread_t thread;

  alarm (PATIENCE);
  fake.env.wait = wait_forever;
  fill (0, PAGES);
  for (uint64_t page = 0; page < PAGES; ++page) {
    folios[page] = get (page);
    fake_dirty (&fake, folios[page]);
  }
  before = atomic_load (&fake.need_clean);
  pthread_create (&thread, NULL, alloc_thread, NULL);
  /* Once before it counts itself, once after. */
  while (atomic_load (&fake.need_clean) < before + 2)
    sched_yield ();
  assert_int_equal (atomic_load (&fake.arena->sleepers), 1);
  return thread;
}

static void
finish_waiter (pthread_t thread, struct folio **folios)
{
  void *folio;

  pthread_join (thread, &folio);
  assert_non_null (folio);
  folio_put (fake.arena, folio);
  for (uint64_t page = 0; page < PAGES; ++page)
    if (folios[page])
      folio_put (fake.arena, folios[page]);
  alarm (0);
}

TEST (wait_for_clean)
{
  struct folio *folios[PAGES], *folio;
  pthread_t thread;

  thread = start_waiter (folios);
  /* Only the index's reference is left when it becomes clean. */
  folio = folios[40];
  folios[40] = NULL;
  atomic_fetch_sub (&folio->refs, 1);
  fake_clean (&fake, folio);
  finish_waiter (thread, folios);
}

TEST (wait_for_free)
{
  struct folio *folios[PAGES], *folio;
  pthread_t thread;

  thread = start_waiter (folios);
  folio = folios[10];
  folios[10] = NULL;
  fake_remove (&fake, folio);
  folio_put (fake.arena, folio);
  finish_waiter (thread, folios);
}

/* --- the reclaimer --- */

TEST (reserve)
{
  uint64_t page = 0;

  alarm (PATIENCE);
  fake_destroy (&fake);
  fake_init (&fake, PAGES, 20);
  assert_int_equal (reclaim_start (fake.reclaim), 0);

  fill (0, 80);
  page = 80;
  assert_int_equal (atomic_load (&fake.evicted), 0);
  for (; page < 95; ++page)
    fake_bring (&fake, page, false);
  while (atomic_load (&fake.arena->nr_free) < 20)
    sched_yield ();
  for (; page < 2000; ++page)
    fake_bring (&fake, page, false);
  while (atomic_load (&fake.arena->nr_free) < 10)
    sched_yield ();
  alarm (0);
}

/* It sees to memory before that is used, and again when some of that is. */
TEST (reserve_is_real)
{
  struct folio *folios[8];

  alarm (PATIENCE);
  fake_destroy (&fake);
  fake_init (&fake, 8u << MAX_ORDER, 20);
  assert_int_equal (reclaim_start (fake.reclaim), 0);
  while (arena_unprepared (fake.arena))
    sched_yield ();
  for (unsigned i = 0; i < 8; i++) {
    folios[i] = reclaim_alloc (fake.reclaim, MAX_ORDER, false);
    assert_non_null (folios[i]);
    while (arena_unprepared (fake.arena))
      sched_yield ();
  }
  assert_int_equal (fake.arena->ready, 8u << MAX_ORDER);
  for (unsigned i = 0; i < 8; i++)
    folio_put (fake.arena, folios[i]);
  alarm (0);
}

/* It stops while it sleeps because there is nothing to evict. */
TEST (stop_asleep)
{
  struct folio *folios[PAGES];

  alarm (PATIENCE);
  fake_destroy (&fake);
  fake_init (&fake, PAGES, 20);
  fake.env.wait = wait_forever;
  assert_int_equal (reclaim_start (fake.reclaim), 0);
  for (unsigned i = 0; i < PAGES; ++i)
    assert_non_null (folios[i] = reclaim_alloc (fake.reclaim, 0, false));
  while (atomic_load (&fake.arena->sleepers) == 0)
    sched_yield ();
  reclaim_destroy (fake.reclaim);
  fake.reclaim = NULL;
  for (unsigned i = 0; i < PAGES; ++i)
    folio_put (fake.arena, folios[i]);
  alarm (0);
}

RUN_EACH (setup, teardown)
