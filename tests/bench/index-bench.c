/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the index costs: lookups that hit, walks, insertion and removal, for
 * pages in a row and pages anywhere.  "make tests/bench/index-bench" in the build
 * tree's tests/, then
 *
 *   index-bench [LOOKUPS [FOLIOS]]
 *
 * For instructions a lookup, run it under callgrind with
 * --toggle-collect=index_get and divide.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/index/index.h"
#include "tests/tools/util.h"

struct bench {
  struct arena *arena;
  struct index *index;
  uint32_t folios;
  uint64_t *pages; /* that are in, in the order of the lookups */
  uint64_t lookups;
};

static void
no_wake (struct env *env, _Atomic uint32_t *word)
{
  (void) env;
  (void) word;
}

static void
report (const char *what, uint64_t start, uint64_t count)
{
  printf ("  %-24s %7.1f ns\n", what, (double) (now_ns () - start) / count);
}

static void
insert_page (struct bench *bench, uint64_t page)
{
  struct folio *folio = arena_alloc (bench->arena, 0);
  int r;

  atomic_store (&folio->index, page);
  index_lock (bench->index);
  r = index_insert (bench->index, folio);
  index_unlock (bench->index);
  if (r < 0)
    die ("index_insert: error %d", -r);
}

static void
insert_all (struct bench *bench, struct rng *rng, bool dense)
{
  uint64_t start;

  for (uint32_t i = 0; i < bench->folios; i++)
    bench->pages[i] =
      dense ? i : (uint64_t) i * 262144 + rng_below (rng, 262144);
  start = now_ns ();
  for (uint32_t i = 0; i < bench->folios; i++)
    insert_page (bench, bench->pages[i]);
  report ("alloc and insert", start, bench->folios);
}

static void
shuffle (struct bench *bench, struct rng *rng)
{
  for (uint32_t i = bench->folios - 1; i > 0; i--) {
    uint32_t j = rng_below (rng, i + 1);
    uint64_t page = bench->pages[i];

    bench->pages[i] = bench->pages[j];
    bench->pages[j] = page;
  }
}

static void
look_up (struct bench *bench, uint32_t among, const char *what)
{
  uint64_t start = now_ns ();
  uint32_t i = 0;

  for (uint64_t n = 0; n < bench->lookups; n++) {
    struct folio *folio = index_get (bench->index, bench->pages[i]);

    if (folio == NULL)
      die ("page %" PRIu64 " is missing", bench->pages[i]);
    folio_put (bench->arena, folio);
    i = i + 1 == among ? 0 : i + 1;
  }
  report (what, start, bench->lookups);
}

static void
walk (struct bench *bench)
{
  uint64_t start = now_ns (), page = 0;
  struct folio *folio;

  while ((folio = index_get_next (bench->index, page, UINT64_MAX)) != NULL) {
    page = atomic_load (&folio->index) + 1;
    folio_put (bench->arena, folio);
  }
  report ("get_next, a folio", start, bench->folios);
}

static void
tag_all (struct bench *bench)
{
  uint64_t start = now_ns (), page = 0;

  index_lock (bench->index);
  for (uint32_t i = 0; i < bench->folios; i++)
    index_set_tag (bench->index, arena_folio (bench->arena, i), TAG_DIRTY);
  report ("set_tag", start, bench->folios);
  start = now_ns ();
  while (!index_copy_tag (bench->index, &page, UINT64_MAX, TAG_DIRTY,
                          TAG_TOWRITE, 64))
    ;
  report ("copy_tag, a folio", start, bench->folios);
  index_unlock (bench->index);
}

static void
remove_all (struct bench *bench)
{
  uint64_t start = now_ns ();

  for (uint32_t i = 0; i < bench->folios; i++) {
    struct folio *folio = index_get (bench->index, bench->pages[i]);

    index_lock (bench->index);
    index_remove (bench->index, folio);
    index_unlock (bench->index);
    folio_put (bench->arena, folio);
    folio_put (bench->arena, folio);
  }
  report ("get, remove and free", start, bench->folios);
}

static void
run (struct bench *bench, struct env *env, bool dense)
{
  struct rng rng = { 1 };

  printf ("%" PRIu32 " folios, %s:\n", bench->folios,
          dense ? "in a row" : "scattered");
  if (arena_create (env, (size_t) bench->folios * PAGE_SIZE, &bench->arena) <
        0 ||
      index_create (bench->arena, 1, bench->folios, &bench->index) < 0)
    die ("out of memory");
  insert_all (bench, &rng, dense);
  printf ("  %-24s %7" PRIu32 "\n", "nodes",
          bench->folios - index_free_nodes (bench->index));
  look_up (bench, bench->folios, "hit, in order");
  shuffle (bench, &rng);
  look_up (bench, bench->folios < 1000 ? bench->folios : 1000,
           "hit, warm (1000 pages)");
  look_up (bench, bench->folios, "hit, any");
  walk (bench);
  tag_all (bench);
  remove_all (bench);
  index_destroy (bench->index);
  arena_destroy (bench->arena);
}

int
main (int argc, char **argv)
{
  struct env env = { .wake = no_wake };
  struct bench bench = { .lookups = 5000000, .folios = 65536 };

  if (argc > 1)
    bench.lookups = strtoull (argv[1], NULL, 0);
  if (argc > 2)
    bench.folios = strtoul (argv[2], NULL, 0);
  if (argc > 3 || bench.lookups == 0 || bench.folios == 0)
    die ("usage: index-bench [LOOKUPS [FOLIOS]]");
  bench.pages = xcalloc (bench.folios, sizeof *bench.pages);
  run (&bench, &env, true);
  run (&bench, &env, false);
  free (bench.pages);
  return 0;
}
