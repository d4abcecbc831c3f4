/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The arena: random allocation with every page's owner written down, sizes that
 * are no powers of two, what is zeroed, what stays untouched, and waking.
 */

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/arena.h"
#include "cache/base/lazy-map.h"
#include "tests/unit/invariants.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

/* An environment that counts wakes. */
struct counting_env {
  struct env env;
  _Atomic unsigned wakes;
};

static void
count_wake (struct env *env, _Atomic uint32_t *word)
{
  struct counting_env *counting =
    (struct counting_env *) ((char *) env -
                             offsetof (struct counting_env, env));

  (void) word;
  counting->wakes++;
}

static struct counting_env counting = { .env.wake = count_wake };

static struct arena *
make_arena (size_t pages)
{
  struct arena *arena;

  assert_int_equal (arena_create (&counting.env, pages * PAGE_SIZE, &arena), 0);
  assert_int_equal (arena->nr_pages, pages);
  assert_int_equal (atomic_load (&arena->nr_free), pages);
  return arena;
}

/* Check what arena_alloc promises, then spoil it. */
static void
use_folio (struct arena *arena, struct folio *folio, unsigned order)
{
  uint32_t pfn = arena_pfn (arena, folio);

  assert_int_equal (pfn & ((1u << order) - 1), 0);
  assert_true (pfn + (1u << order) <= arena->nr_pages);
  assert_int_equal (atomic_load (&folio->refs), 1);
  assert_int_equal (atomic_load (&folio->order), order);
  assert_int_equal (atomic_load (&folio->index), 0);
  assert_int_equal (atomic_load (&folio->mapping), 0);
  assert_int_equal (atomic_load (&folio->flags), 0);
  assert_int_equal (atomic_load (&folio->lock), 0);
  assert_int_equal (atomic_load (&folio->freq), 0);
  for (unsigned i = 0; i < 1u << order; i++) {
    _Atomic uint32_t *state = arena_state (arena, folio) + i;

    assert_int_equal (atomic_load (state), 0);
    atomic_store (state, UINT32_MAX);
  }
  atomic_store (&folio->index, UINT64_MAX);
  atomic_store (&folio->flags, UINT16_MAX);
  atomic_store (&folio->freq, 3);
  atomic_store (&folio->lock, 2);
}

/* --- random allocation --- */

struct owned {
  struct arena *arena;
  struct folio **folios;
  size_t count;
  bool *taken; /* by page */
  uint32_t pages;
};

static void
set_taken (struct owned *owned, const struct folio *folio, bool taken)
{
  uint32_t pfn = arena_pfn (owned->arena, folio);
  unsigned order = atomic_load (&folio->order);

  for (uint32_t i = 0; i < 1u << order; i++) {
    assert_int_equal (owned->taken[pfn + i], !taken);
    owned->taken[pfn + i] = taken;
  }
  owned->pages += taken ? 1u << order : -(1u << order);
}

/* Is there an aligned run of free pages? */
static bool
has_room (const struct owned *owned, unsigned order)
{
  uint32_t size = 1u << order, run = 0;

  for (uint32_t pfn = 0; pfn < owned->arena->nr_pages; pfn++) {
    run = pfn % size == 0 ? 0 : run;
    run += !owned->taken[pfn];
    if (run == size)
      return true;
  }
  return false;
}

static void
take (struct owned *owned, unsigned order)
{
  struct folio *folio = arena_alloc (owned->arena, order);

  /* Buddies join whenever they can, so a run that is there is found. */
  if (folio == NULL) {
    assert_false (has_room (owned, order));
    return;
  }
  use_folio (owned->arena, folio, order);
  set_taken (owned, folio, true);
  owned->folios[owned->count++] = folio;
}

static void
give (struct owned *owned, size_t i)
{
  struct folio *folio = owned->folios[i];

  set_taken (owned, folio, false);
  owned->folios[i] = owned->folios[--owned->count];
  folio_put (owned->arena, folio);
}

static void
random_arena (struct rng *rng, size_t pages)
{
  struct owned owned = { .arena = make_arena (pages) };

  owned.folios = xcalloc (pages, sizeof *owned.folios);
  owned.taken = xcalloc (pages, sizeof *owned.taken);
  for (unsigned i = 0; i < 20000; i++) {
    /* Mostly full, then mostly empty. */
    unsigned percent = i / 2500 % 2 == 0 ? 60 : 40;

    if (rng_chance (rng, percent))
      take (&owned, rng_below (rng, rng_below (rng, NR_ORDERS) + 1));
    else if (owned.count > 0)
      give (&owned, rng_below (rng, owned.count));
    assert_int_equal (atomic_load (&owned.arena->nr_free), pages - owned.pages);
    if (i % 500 == 0)
      arena_check (owned.arena);
  }
  while (owned.count > 0)
    give (&owned, owned.count - 1);
  arena_check (owned.arena);
  assert_int_equal (atomic_load (&owned.arena->nr_free), pages);
  arena_destroy (owned.arena);
  free (owned.folios);
  free (owned.taken);
}

TEST (random)
{
  struct rng rng = test_rng ("arena, random");

  random_arena (&rng, 1);
  random_arena (&rng, 511);
  random_arena (&rng, 512);
  random_arena (&rng, 4096);
  for (unsigned i = 0; i < 6; i++)
    random_arena (&rng, 1 + rng_below (&rng, 8000));
}

/* --- cases --- */

TEST (bad_sizes)
{
  struct arena *arena;

  assert_int_equal (arena_create (&counting.env, 0, &arena), -EINVAL);
  assert_int_equal (arena_create (&counting.env, PAGE_SIZE - 1, &arena),
                    -EINVAL);
  assert_int_equal (arena_create (&counting.env, SIZE_MAX, &arena), -EINVAL);
}

/* What was given back last is taken first, and large blocks stay whole while
 * smaller ones will do.
 */
TEST (last_in_first_out)
{
  struct arena *arena = make_arena (4096);
  struct folio *a = arena_alloc (arena, 0), *b = arena_alloc (arena, 0);
  struct folio *c = arena_alloc (arena, 0), *d = arena_alloc (arena, 0);

  folio_put (arena, a);
  folio_put (arena, c);
  assert_ptr_equal (arena_alloc (arena, 0), c);
  assert_ptr_equal (arena_alloc (arena, 0), a);
  assert_true (arena->fresh <= 1u << MAX_ORDER);
  folio_put (arena, a);
  folio_put (arena, b);
  folio_put (arena, c);
  folio_put (arena, d);
  arena_check (arena);
  arena_destroy (arena);
}

/* Pages of a map that have real memory. */
static size_t
resident (void *map, size_t bytes)
{
  size_t page = sysconf (_SC_PAGESIZE), n = (bytes + page - 1) / page;
  unsigned char *vec = xcalloc (n, 1);
  size_t count = 0;

  assert_int_equal (mincore (map, bytes, vec), 0);
  for (size_t i = 0; i < n; i++)
    count += vec[i] & 1;
  free (vec);
  return count;
}

/* An arena of 16 GiB takes no memory until it is used. */
TEST (lazy)
{
  const size_t pages = (size_t) 4 << 20;
  struct arena *arena = make_arena (pages);
  struct folio *folio;

  assert_int_equal (resident (arena->data, pages * PAGE_SIZE), 0);
  assert_int_equal (resident (arena->folios, pages * sizeof *arena->folios), 0);
  assert_int_equal (
    resident ((void *) arena->state, pages * sizeof *arena->state), 0);

  folio = arena_alloc (arena, 0);
  assert_non_null (folio);
  /* One huge page each at the most. */
  assert_in_range (resident (arena->folios, pages * sizeof *arena->folios), 1,
                   512);
  assert_int_equal (resident (arena->data, pages * PAGE_SIZE), 0);
  folio_put (arena, folio);
  arena_destroy (arena);
}

static void
prepare_all (struct arena *arena)
{
  while (arena_unprepared (arena))
    arena_prepare (arena);
}

/* The memory needed next is there before it is needed, a bounded amount of it, and
 * what is in use stays as it is.
 */
TEST (prepare)
{
  const size_t pages = 16u << MAX_ORDER, bytes = pages * PAGE_SIZE;
  struct arena *arena = make_arena (pages);
  struct folio *folio, *last = NULL;
  size_t there;

  if (!lazy_populate (arena->data, 1))
    skip ();
  prepare_all (arena);
  there = resident (arena->data, bytes);
  assert_in_range (there, ARENA_AHEAD, ARENA_AHEAD + (1u << MAX_ORDER));
  assert_true (resident (arena->folios, pages * sizeof *arena->folios) > 0);

  folio = arena_alloc (arena, 0);
  memset (arena_data (arena, folio), 0x5a, PAGE_SIZE);
  assert_true (arena_unprepared (arena));
  prepare_all (arena);
  assert_true (resident (arena->data, bytes) > there);
  assert_int_equal (arena_data (arena, folio)[0], 0x5a);
  assert_int_equal (arena_data (arena, folio)[PAGE_SIZE - 1], 0x5a);

  for (unsigned i = 1; i < 16; i++)
    assert_non_null (last = arena_alloc (arena, MAX_ORDER));
  prepare_all (arena);
  assert_int_equal (resident (arena->data, bytes), pages);
  assert_int_equal (arena_data (arena, last)[0], 0);
  arena_destroy (arena);
}

/* Such an arena is as good where there is no whole huge page of it. */
TEST (prepare_small)
{
  struct arena *arena = make_arena (700);

  prepare_all (arena);
  assert_false (arena_unprepared (arena));
  assert_int_equal (arena->ready, 700);
  arena_destroy (arena);
}

TEST (wakes)
{
  struct arena *arena = make_arena (16);
  struct folio *folio = arena_alloc (arena, 4);
  uint32_t freed;

  counting.wakes = 0;
  freed = atomic_load (&arena->freed);
  folio_put (arena, folio);
  assert_int_equal (counting.wakes, 0);
  assert_int_equal (atomic_load (&arena->freed), freed);

  folio = arena_alloc (arena, 4);
  atomic_fetch_add (&arena->sleepers, 1);
  freed = atomic_load (&arena->freed);
  assert_null (arena_alloc (arena, 0));
  folio_put (arena, folio);
  assert_int_equal (counting.wakes, 1);
  assert_int_not_equal (atomic_load (&arena->freed), freed);
  arena_destroy (arena);
}

/* --- threads --- */

#define THREADS 3
#define ROUNDS 20000

struct worker {
  struct arena *arena;
  struct rng rng;
};

/* Take a folio, write its first and last byte, now and then try a reference
 * to some record that may be anyone's or no one's.
 */
static void *
work (void *opaque)
{
  struct worker *worker = opaque;
  struct arena *arena = worker->arena;

  for (unsigned i = 0; i < ROUNDS; i++) {
    unsigned order = rng_below (&worker->rng, 4);
    struct folio *folio = arena_alloc (arena, order), *other;
    uint32_t pfn = rng_below (&worker->rng, arena->nr_pages);
    uint8_t *data;

    if (folio == NULL)
      continue;
    data = arena_data (arena, folio);
    data[0] = data[((size_t) PAGE_SIZE << order) - 1] = i;
    other = arena_folio (arena, pfn);
    if (folio_try_get (other))
      folio_put (arena, other);
    assert_int_equal (data[0], (uint8_t) i);
    folio_put (arena, folio);
  }
  return NULL;
}

TEST (threads)
{
  struct rng rng = test_rng ("arena, threads");
  struct arena *arena = make_arena (40);
  struct worker workers[THREADS];
  pthread_t threads[THREADS];

  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker) { arena, { rng_next (&rng) } };
    assert_int_equal (pthread_create (&threads[i], NULL, work, &workers[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  arena_check (arena);
  assert_int_equal (atomic_load (&arena->nr_free), 40);
  arena_destroy (arena);
}

RUN_TESTS ()
