/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The index's readers against writers.
 *
 * Some folios, the anchors, are in the index and dirty from beginning to end,
 * and readers must never miss one.  Writers put in and take out folios around
 * them, near and far, so that nodes come and go on the way to the anchors, and
 * now and then hold an anchor's references at 0 as eviction does.  Memory and
 * nodes are scarce, so that both are used again at once.  Each folio's memory
 * begins with its page: who has a reference must find what was looked for.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "cache/base/sanitizer.h"
#include "cache/index/index.h"
#include "tests/unit/invariants.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define ID 3
#define ANCHORS 24
#define WRITERS 2
#define READERS 3
#define MAX_OWN 40 /* folios a writer has in at a time */
#define ROUNDS 40000
#define PAGES 300 /* of memory */
#define NODES 150

#ifdef WITH_TSAN
#define SLOWDOWN 4
#else
#define SLOWDOWN 1
#endif

static void
no_wake (struct env *env, _Atomic uint32_t *word)
{
  (void) env;
  (void) word;
}

struct stress {
  struct env env;
  struct arena *arena;
  struct index *index;
  struct folio *anchors[ANCHORS];
  uint64_t anchor_pages[ANCHORS]; /* ascending */
  _Atomic unsigned writers;       /* still at work */
  _Atomic uint64_t lookups, found, bad;
};

struct worker {
  struct stress *stress;
  struct rng rng;
  pthread_t thread;
  struct folio *own[MAX_OWN]; /* a writer's: with a reference besides */
  unsigned count;
};

/* --- places --- */

/* Half of the anchors are in one dense place, the others far apart. */
static uint64_t
anchor_place (unsigned i)
{
  if (i < ANCHORS / 2)
    return 1000 + 37 * i;
  return UINT64_C (1) << 2 * i;
}

/* Somewhere around an anchor, often very near. */
static uint64_t
near_anchor (struct stress *stress, struct rng *rng)
{
  uint64_t page = stress->anchor_pages[rng_below (rng, ANCHORS)];
  uint64_t distance = rng_log (rng, UINT64_C (1) << rng_below (rng, 40));

  return rng_chance (rng, 50) || distance > page ? page + distance
                                                 : page - distance;
}

static bool
holds_anchor (struct stress *stress, uint64_t first, uint64_t pages)
{
  for (unsigned i = 0; i < ANCHORS; i++)
    if (stress->anchor_pages[i] - first < pages)
      return true;
  return false;
}

/* --- writers --- */

static uint64_t *
folio_stamp (struct stress *stress, struct folio *folio)
{
  return (uint64_t *) arena_data (stress->arena, folio);
}

static struct folio *
new_folio (struct stress *stress, uint64_t page, unsigned order)
{
  struct folio *folio = arena_alloc (stress->arena, order);

  if (folio == NULL)
    return NULL;
  atomic_store (&folio->index, page);
  *folio_stamp (stress, folio) = page;
  return folio;
}

static int
put_in (struct stress *stress, struct folio *folio, bool dirty)
{
  int r;

  index_lock (stress->index);
  r = index_insert (stress->index, folio);
  if (r == 0) {
    folio_get (folio); /* the index's */
    if (dirty)
      index_set_tag (stress->index, folio, TAG_DIRTY);
  }
  index_unlock (stress->index);
  return r;
}

static void
add_folio (struct worker *worker)
{
  struct stress *stress = worker->stress;
  unsigned order = rng_below (&worker->rng, 4);
  uint64_t pages = UINT64_C (1) << order;
  uint64_t first = near_anchor (stress, &worker->rng) & ~(pages - 1);
  struct folio *folio;
  int r;

  if (worker->count == MAX_OWN || holds_anchor (stress, first, pages))
    return;
  folio = new_folio (stress, first, order);
  if (folio == NULL)
    return;
  r = put_in (stress, folio, rng_chance (&worker->rng, 30));
  if (r == 0)
    worker->own[worker->count++] = folio;
  else
    folio_put (stress->arena, folio);
  if (r == -ENOSPC)
    index_reclaim_nodes (stress->index);
}

/* Eviction's way: with no other references it goes at once. */
static bool
evict (struct stress *stress, struct folio *folio)
{
  uint32_t refs = 2;
  bool ok;

  index_lock (stress->index);
  ok = atomic_compare_exchange_strong (&folio->refs, &refs, 0);
  if (ok)
    index_remove (stress->index, folio);
  index_unlock (stress->index);
  if (ok)
    arena_free (stress->arena, folio);
  return ok;
}

static void
remove_folio (struct worker *worker)
{
  struct stress *stress = worker->stress;
  unsigned i = rng_below (&worker->rng, worker->count);
  struct folio *folio = worker->own[i];

  if (worker->count == 0)
    return;
  worker->own[i] = worker->own[--worker->count];
  if (rng_chance (&worker->rng, 50) && evict (stress, folio))
    return;
  index_lock (stress->index);
  index_remove (stress->index, folio);
  index_unlock (stress->index);
  folio_put (stress->arena, folio);
  folio_put (stress->arena, folio);
}

static void
change_tags (struct worker *worker)
{
  struct stress *stress = worker->stress;
  struct folio *folio;
  uint64_t page = 0;

  if (worker->count == 0)
    return;
  folio = worker->own[rng_below (&worker->rng, worker->count)];
  index_lock (stress->index);
  if (rng_chance (&worker->rng, 50))
    index_set_tag (stress->index, folio, TAG_DIRTY);
  else
    index_clear_tag (stress->index, folio, TAG_DIRTY);
  if (rng_chance (&worker->rng, 10))
    index_copy_tag (stress->index, &page, UINT64_MAX, TAG_DIRTY, TAG_TOWRITE,
                    4);
  index_unlock (stress->index);
}

/* Hold an anchor's references at 0 for a while, as eviction does. */
static void
freeze_anchor (struct worker *worker)
{
  struct stress *stress = worker->stress;
  struct folio *folio = stress->anchors[rng_below (&worker->rng, ANCHORS)];
  uint32_t refs = 1;

  index_lock (stress->index);
  if (atomic_compare_exchange_strong (&folio->refs, &refs, 0)) {
    sched_yield ();
    atomic_store (&folio->refs, 1);
  }
  index_unlock (stress->index);
}

static void *
write_work (void *opaque)
{
  struct worker *worker = opaque;
  struct stress *stress = worker->stress;

  for (unsigned i = 0; i < ROUNDS / SLOWDOWN; i++) {
    uint64_t dice = rng_below (&worker->rng, 100);

    if (dice < 45)
      add_folio (worker);
    else if (dice < 85)
      remove_folio (worker);
    else if (dice < 98)
      change_tags (worker);
    else
      freeze_anchor (worker);
    if (i % 1000 == 0) {
      index_lock (stress->index);
      index_check (stress->index);
      index_unlock (stress->index);
    }
  }
  while (worker->count > 0)
    remove_folio (worker);
  atomic_fetch_sub (&stress->writers, 1);
  return NULL;
}

/* --- readers --- */

static void
check_found (struct stress *stress, struct folio *folio, bool expected,
             uint64_t first, uint64_t last)
{
  uint64_t stamp, pages;

  atomic_fetch_add (&stress->lookups, 1);
  if (folio == NULL) {
    atomic_fetch_add (&stress->bad, expected);
    return;
  }
  atomic_fetch_add (&stress->found, 1);
  stamp = *folio_stamp (stress, folio);
  pages = UINT64_C (1) << atomic_load (&folio->order);
  if (stamp != atomic_load (&folio->index) || stamp > last ||
      stamp + pages <= first)
    atomic_fetch_add (&stress->bad, 1);
  folio_put (stress->arena, folio);
}

static void
read_anchor (struct stress *stress, struct rng *rng)
{
  unsigned i = rng_below (rng, ANCHORS);
  uint64_t page = stress->anchor_pages[i];
  uint64_t before = i > 0 ? stress->anchor_pages[i - 1] + 1 : 0;
  uint64_t from = before + rng_below (rng, page - before + 1);
  uint64_t to = page + rng_log (rng, UINT64_C (1) << 45) - 1;

  check_found (stress, index_get (stress->index, page), true, page, page);
  check_found (stress, index_get_next (stress->index, from, to), true, from,
               page);
  check_found (stress, index_get_tagged (stress->index, from, to, TAG_DIRTY),
               true, from, page);
}

static void *
read_work (void *opaque)
{
  struct worker *worker = opaque;
  struct stress *stress = worker->stress;

  while (atomic_load (&stress->writers) > 0) {
    uint64_t page = near_anchor (stress, &worker->rng);

    read_anchor (stress, &worker->rng);
    check_found (stress, index_get (stress->index, page), false, page, page);
  }
  return NULL;
}

/* --- the test --- */

static void
add_anchors (struct stress *stress)
{
  for (unsigned i = 0; i < ANCHORS; i++) {
    uint64_t page = anchor_place (i);
    struct folio *folio = new_folio (stress, page, 0);

    assert_non_null (folio);
    assert_int_equal (put_in (stress, folio, true), 0);
    folio_put (stress->arena, folio);
    stress->anchors[i] = folio;
    stress->anchor_pages[i] = page;
  }
}

static void
remove_anchors (struct stress *stress)
{
  for (unsigned i = 0; i < ANCHORS; i++) {
    index_lock (stress->index);
    index_remove (stress->index, stress->anchors[i]);
    index_unlock (stress->index);
    folio_put (stress->arena, stress->anchors[i]);
  }
}

static void
run_workers (struct stress *stress, struct rng *rng)
{
  struct worker workers[WRITERS + READERS] = { 0 };

  stress->writers = WRITERS;
  for (unsigned i = 0; i < WRITERS + READERS; i++) {
    struct worker *worker = &workers[i];

    worker->stress = stress;
    worker->rng.state = rng_next (rng);
    assert_int_equal (
      pthread_create (&worker->thread, NULL,
                      i < WRITERS ? write_work : read_work, worker),
      0);
  }
  for (unsigned i = 0; i < WRITERS + READERS; i++)
    pthread_join (workers[i].thread, NULL);
}

TEST (stress)
{
  struct rng rng = test_rng ("index, readers against writers");
  struct stress stress = { .env.wake = no_wake };

  assert_int_equal (
    arena_create (&stress.env, PAGES * PAGE_SIZE, &stress.arena), 0);
  assert_int_equal (index_create (stress.arena, ID, NODES, &stress.index), 0);
  add_anchors (&stress);
  run_workers (&stress, &rng);
  printf ("%" PRIu64 " lookups, %" PRIu64 " found\n", stress.lookups,
          stress.found);
  assert_int_equal (stress.bad, 0);
  assert_true (stress.lookups > 0);

  remove_anchors (&stress);
  index_reclaim_nodes (stress.index);
  assert_int_equal (index_free_nodes (stress.index), NODES);
  index_destroy (stress.index);
  /* Every reference was given back. */
  assert_int_equal (atomic_load (&stress.arena->nr_free), PAGES);
  arena_check (stress.arena);
  arena_destroy (stress.arena);
}

RUN_TESTS ()
