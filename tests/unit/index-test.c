/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The index, by one thread: against a sorted array, with random operations in
 * several kinds of places; and what it needs of nodes.
 */

#include <errno.h>
#include <sched.h>

#include "cache/index/index.h"
#include "tests/unit/index-model.h"
#include "tests/unit/invariants.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define ID 7 /* of the mapping */
#define MAX_FOLIOS 2000
#define OPERATIONS 60000
#define DISK_PAGES (UINT64_C (1) << 51)

static void
no_wake (struct env *env, _Atomic uint32_t *word)
{
  (void) env;
  (void) word;
}

static struct env env = { .wake = no_wake };

/* --- a run against the model --- */

enum kind {
  DENSE,     /* a few thousand pages in a row */
  CLUSTERED, /* a few places, hundreds of pages each */
  SPARSE,    /* anywhere */
  EDGES,     /* near multiples of large powers of 64, and the disk's end */
};

struct run {
  struct rng rng;
  enum kind kind;
  unsigned max_order;
  uint64_t bases[8];
  struct arena *arena;
  struct index *index;
  struct model model;
};

static void
run_begin (struct run *run, struct rng rng, enum kind kind, unsigned max_order)
{
  run->rng = rng;
  run->kind = kind;
  run->max_order = max_order;
  for (unsigned i = 0; i < 8; i++)
    run->bases[i] = rng_below (&run->rng, DISK_PAGES);
  assert_int_equal (
    arena_create (&env, (size_t) MAX_FOLIOS * 2 * PAGE_SIZE << max_order,
                  &run->arena),
    0);
  assert_int_equal (index_create (run->arena, ID, MAX_FOLIOS, &run->index), 0);
  model_create (&run->model, MAX_FOLIOS);
}

static uint64_t
random_page (struct run *run)
{
  struct rng *rng = &run->rng;
  uint64_t page;

  switch (run->kind) {
  case DENSE: return rng_below (rng, 8192);
  case CLUSTERED:
    return (run->bases[rng_below (rng, 8)] + rng_below (rng, 700)) % DISK_PAGES;
  case EDGES:
    page = UINT64_C (1) << 6 * rng_below (rng, 9);
    if (rng_chance (rng, 10))
      page = DISK_PAGES;
    return (page * (1 + rng_below (rng, 3)) + rng_below (rng, 20) - 10) %
           DISK_PAGES;
  default: return rng_below (rng, DISK_PAGES);
  }
}

/* The end of a range that begins with page. */
static uint64_t
random_last (struct run *run, uint64_t page)
{
  return page + rng_log (&run->rng, DISK_PAGES) - 1;
}

static void
assert_found (struct run *run, struct folio *found, struct folio *expected)
{
  assert_ptr_equal (found, expected);
  if (found != NULL)
    folio_put (run->arena, found);
}

/* There are nodes enough, but some may be waiting for their grace period. */
static int
insert_folio (struct run *run, struct folio *folio)
{
  int r;

  for (int try = 0; try < 2; try++) {
    index_lock (run->index);
    r = index_insert (run->index, folio);
    index_unlock (run->index);
    if (r != -ENOSPC)
      break;
    index_reclaim_nodes (run->index);
  }
  return r;
}

static void
try_insert (struct run *run)
{
  unsigned order = rng_below (&run->rng, run->max_order + 1);
  uint64_t pages = UINT64_C (1) << order;
  uint64_t first = random_page (run) & ~(pages - 1);
  struct folio *folio;
  int r;

  if (run->model.count == MAX_FOLIOS)
    return;
  folio = arena_alloc (run->arena, order);
  assert_non_null (folio);
  atomic_store (&folio->index, first);
  r = insert_folio (run, folio);
  if (model_any (&run->model, first, first + pages - 1)) {
    assert_int_equal (r, -EEXIST);
    assert_int_equal (atomic_load (&folio->mapping), 0);
    folio_put (run->arena, folio);
    return;
  }
  assert_int_equal (r, 0);
  assert_int_equal (atomic_load (&folio->mapping), ID);
  model_insert (&run->model, folio, first, first + pages - 1);
}

static void
remove_entry (struct run *run, size_t i)
{
  struct folio *folio = run->model.entries[i].folio;

  index_lock (run->index);
  index_remove (run->index, folio);
  index_unlock (run->index);
  assert_int_equal (atomic_load (&folio->mapping), 0);
  folio_put (run->arena, folio);
  model_remove (&run->model, i);
}

static void
try_remove (struct run *run)
{
  if (run->model.count > 0)
    remove_entry (run, rng_below (&run->rng, run->model.count));
}

static void
try_tag (struct run *run)
{
  unsigned tag = rng_below (&run->rng, NR_TAGS);
  bool set = rng_chance (&run->rng, 50);
  struct model_entry *entry;

  if (run->model.count == 0)
    return;
  entry = &run->model.entries[rng_below (&run->rng, run->model.count)];
  index_lock (run->index);
  if (set)
    index_set_tag (run->index, entry->folio, tag);
  else
    index_clear_tag (run->index, entry->folio, tag);
  index_unlock (run->index);
  entry->tags &= ~(1u << tag);
  entry->tags |= (unsigned) set << tag;
}

static void
try_copy (struct run *run)
{
  uint64_t page = random_page (run), last = random_last (run, page);
  unsigned from = rng_below (&run->rng, NR_TAGS);
  unsigned to = (from + 1 + rng_below (&run->rng, NR_TAGS - 1)) % NR_TAGS;
  unsigned budget = rng_log (&run->rng, 100);

  model_copy_tag (&run->model, page, last, from, to);
  for (bool done = false; !done;) {
    uint64_t before = page;

    index_lock (run->index);
    done = index_copy_tag (run->index, &page, last, from, to, budget);
    index_unlock (run->index);
    assert_true (done || page > before);
  }
}

static void
try_lookups (struct run *run)
{
  uint64_t page = random_page (run), last;
  unsigned tag = rng_below (&run->rng, NR_TAGS);

  /* Half of the time look where there is something. */
  if (run->model.count > 0 && rng_chance (&run->rng, 50)) {
    size_t i = rng_below (&run->rng, run->model.count);
    const struct model_entry *entry = &run->model.entries[i];

    page = entry->first + rng_below (&run->rng, entry->last - entry->first + 2);
  }
  last = random_last (run, page);
  assert_found (run, index_get (run->index, page),
                model_next (&run->model, page, page, MODEL_ANY));
  assert_found (run, index_get_next (run->index, page, last),
                model_next (&run->model, page, last, MODEL_ANY));
  assert_found (run, index_get_tagged (run->index, page, last, tag),
                model_next (&run->model, page, last, tag));
}

/* All folios, in order and with all their tags. */
static void
compare_all (struct run *run)
{
  for (size_t i = 0; i < run->model.count; i++) {
    const struct model_entry *entry = &run->model.entries[i];
    uint64_t page = i > 0 ? run->model.entries[i - 1].last + 1 : 0;

    assert_found (run, index_get_next (run->index, page, UINT64_MAX),
                  entry->folio);
    assert_int_equal (atomic_load (&entry->folio->refs), 1);
    for (unsigned tag = 0; tag < NR_TAGS; tag++)
      assert_int_equal (index_has_tag (run->index, entry->folio, tag),
                        entry->tags >> tag & 1);
  }
  index_lock (run->index);
  index_check (run->index);
  index_unlock (run->index);
}

static void
step (struct run *run, bool growing)
{
  uint64_t dice = rng_below (&run->rng, 100);

  if (dice < 30)
    (growing ? try_insert : try_remove) (run);
  else if (dice < 45)
    (growing ? try_remove : try_insert) (run);
  else if (dice < 65)
    try_tag (run);
  else if (dice < 67)
    try_copy (run);
  else
    try_lookups (run);
}

static void
run_against_model (enum kind kind, unsigned max_order, struct rng rng)
{
  struct run run;

  run_begin (&run, rng, kind, max_order);
  for (unsigned i = 0; i < OPERATIONS; i++) {
    step (&run, i / 6000 % 2 == 0);
    if (i % 1000 == 0)
      compare_all (&run);
    if (i % 5000 == 0)
      arena_check (run.arena);
  }
  compare_all (&run);
  while (run.model.count > 0)
    try_remove (&run);
  compare_all (&run);
  /* All nodes come back. */
  index_reclaim_nodes (run.index);
  assert_int_equal (index_free_nodes (run.index), MAX_FOLIOS);
  assert_int_equal (atomic_load (&run.arena->nr_free), run.arena->nr_pages);
  arena_check (run.arena);
  model_destroy (&run.model);
  index_destroy (run.index);
  arena_destroy (run.arena);
}

TEST (model)
{
  struct rng rng = test_rng ("index against a sorted array");

  for (enum kind kind = DENSE; kind <= EDGES; kind++) {
    run_against_model (kind, 0, (struct rng) { rng_next (&rng) });
    run_against_model (kind, MAX_ORDER, (struct rng) { rng_next (&rng) });
  }
}

/* --- nodes --- */

struct small {
  struct arena *arena;
  struct index *index;
};

static void
small_create (struct small *small, uint32_t pages, uint32_t nodes)
{
  assert_int_equal (
    arena_create (&env, (size_t) pages * PAGE_SIZE, &small->arena), 0);
  assert_int_equal (index_create (small->arena, ID, nodes, &small->index), 0);
}

static void
small_destroy (struct small *small)
{
  index_lock (small->index);
  index_check (small->index);
  index_unlock (small->index);
  index_destroy (small->index);
  arena_check (small->arena);
  arena_destroy (small->arena);
}

static int
small_insert (struct small *small, uint64_t page, unsigned order)
{
  struct folio *folio = arena_alloc (small->arena, order);
  int r;

  assert_non_null (folio);
  atomic_store (&folio->index, page);
  index_lock (small->index);
  r = index_insert (small->index, folio);
  index_unlock (small->index);
  if (r < 0)
    folio_put (small->arena, folio);
  return r;
}

static void
small_remove (struct small *small, uint64_t page)
{
  struct folio *folio = index_get (small->index, page);

  assert_non_null (folio);
  index_lock (small->index);
  index_remove (small->index, folio);
  index_unlock (small->index);
  folio_put (small->arena, folio);
  folio_put (small->arena, folio);
}

static bool
small_has (struct small *small, uint64_t page)
{
  struct folio *folio = index_get (small->index, page);

  if (folio != NULL)
    folio_put (small->arena, folio);
  return folio != NULL;
}

TEST (no_nodes)
{
  struct small small;

  small_create (&small, 16, 2);
  assert_int_equal (index_free_nodes (small.index), 2);
  assert_int_equal (small_insert (&small, 0, 0), 0);
  assert_int_equal (index_free_nodes (small.index), 2);
  assert_int_equal (small_insert (&small, 1000, 0), 0);
  assert_int_equal (small_insert (&small, 1, 0), 0);
  assert_int_equal (index_free_nodes (small.index), 0);
  /* In an existing node there is room; another node is not to be had. */
  assert_int_equal (small_insert (&small, 2, 0), 0);
  assert_int_equal (small_insert (&small, 2, 0), -EEXIST);
  assert_int_equal (small_insert (&small, 1001, 0), -ENOSPC);
  assert_false (small_has (&small, 1001));
  assert_true (small_has (&small, 1000));

  /* The upper node goes, and can be had after a grace period. */
  small_remove (&small, 1000);
  index_reclaim_nodes (small.index);
  assert_int_equal (index_free_nodes (small.index), 1);
  assert_int_equal (small_insert (&small, 1000, 0), 0);
  assert_int_equal (small_insert (&small, 1001, 0), -ENOSPC);
  for (uint64_t page = 0; page < 3; page++)
    small_remove (&small, page);
  small_remove (&small, 1000);
  index_reclaim_nodes (small.index);
  assert_int_equal (index_free_nodes (small.index), 2);
  small_destroy (&small);
}

/* With no nodes at all there is room for one folio. */
TEST (only_root)
{
  struct small small;

  small_create (&small, 4, 0);
  assert_int_equal (small_insert (&small, DISK_PAGES - 1, 0), 0);
  assert_int_equal (small_insert (&small, 0, 0), -ENOSPC);
  assert_true (small_has (&small, DISK_PAGES - 1));
  assert_false (small_has (&small, 0));
  small_remove (&small, DISK_PAGES - 1);
  small_destroy (&small);
}

/* Nodes come back without index_reclaim_nodes too. */
TEST (grace_by_itself)
{
  struct small small;

  small_create (&small, 4, 1);
  for (unsigned i = 0; i < 3; i++) {
    assert_int_equal (small_insert (&small, 1, 0), 0);
    assert_int_equal (small_insert (&small, 2, 0), 0);
    assert_int_equal (index_free_nodes (small.index), 0);
    small_remove (&small, 1);
    small_remove (&small, 2);
    while (index_free_nodes (small.index) == 0)
      sched_yield ();
  }
  small_destroy (&small);
}

/* 256 MiB of single pages, scattered over 64 TiB. */
TEST (node_count)
{
  struct rng rng = test_rng ("index nodes of scattered pages");
  uint32_t folios = 65536, nodes = 65536, used;
  struct small small;

  small_create (&small, folios, nodes);
  for (uint32_t i = 0; i < folios;) {
    int r = small_insert (&small, rng_below (&rng, UINT64_C (1) << 34), 0);

    assert_true (r == 0 || r == -EEXIST);
    i += r == 0;
  }
  used = nodes - index_free_nodes (small.index);
  printf ("%u nodes of %zu bytes for %u scattered pages\n", used,
          index_node_size (), folios);
  assert_true (used < 25000);
  assert_true (index_node_size () <= 320);
  small_destroy (&small);
}

RUN_TESTS ()
