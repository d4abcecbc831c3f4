/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Replay requests to the cache, and to LRU and ARC, which are simulated, and
 * print how much of what clients read was read from the store.
 *
 *   trace-replay [-r READAHEAD] [-o ORDER] [-f SECONDS] [-w WORKLOAD]
 *                [PERCENT...]
 *
 * Clients flush every so many seconds of the trace's time (5; 0: never), as
 * file systems do.  Without that, replayed as fast as it goes, a trace of hours
 * would leave far more dirty in memory than it ever did.
 *
 * The simulated caches work at the same grain: pages, of which a write makes
 * the sectors it writes readable, and a read reads what is missing.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/trace-cache.h"
#include "tests/bench/trace-load.h"
#include "tests/bench/trace-sim.h"

#define ALL_SECTORS 0xffu

struct sim_result {
  uint64_t misses[2]; /* pages; by whether they were read */
  uint64_t read_bytes;
};

/* The sectors of a page that a request is about. */
static unsigned
sectors_of (const struct trace_req *req, uint64_t page)
{
  uint64_t start = page * TRACE_PAGE_SECTORS;
  uint64_t end = start + TRACE_PAGE_SECTORS;
  unsigned mask = ALL_SECTORS;

  if (req->sector > start)
    mask &= ALL_SECTORS << (req->sector - start);
  if (req->sector + req->sectors < end)
    mask &= ALL_SECTORS >> (end - req->sector - req->sectors);
  return mask;
}

/* have: the sectors that are in memory, by page. */
static void
sim_access (const struct sim *sim, void *cache, uint8_t *have, uint64_t page,
            const struct trace_req *req, struct sim_result *result)
{
  if (!sim->access (cache, (uint32_t) page)) {
    ++result->misses[req->is_read];
    have[page] = 0;
  }
  if (!req->is_read) {
    have[page] |= sectors_of (req, page);
    return;
  }
  if (sectors_of (req, page) & ~have[page]) {
    result->read_bytes +=
      (uint64_t) __builtin_popcount (~have[page] & ALL_SECTORS)
      << TRACE_SECTOR_SHIFT;
    have[page] = ALL_SECTORS;
  }
}

static struct sim_result
sim_replay (const struct trace *trace, const struct sim *sim, uint32_t pages)
{
  uint32_t disk = (uint32_t) (trace->sectors / TRACE_PAGE_SECTORS + 1);
  void *cache = sim->create (disk, pages);
  uint8_t *have = trace_check (calloc (disk, 1));
  struct sim_result result = { 0 };

  for (size_t i = 0; i < trace->nr; ++i) {
    const struct trace_req *req = &trace->reqs[i];

    for (uint64_t page = trace_first_page (req); page <= trace_last_page (req);
         ++page)
      sim_access (sim, cache, have, page, req, &result);
  }
  free (have);
  sim->destroy (cache);
  return result;
}

static uint64_t
client_read_bytes (const struct trace *trace)
{
  uint64_t sectors = 0;

  for (size_t i = 0; i < trace->nr; ++i)
    sectors += trace->reqs[i].is_read ? trace->reqs[i].sectors : 0;
  return sectors << TRACE_SECTOR_SHIFT;
}

static double
ratio (uint64_t part, uint64_t whole)
{
  return whole ? (double) part / (double) whole : 0;
}

static void
print_row (const struct trace *trace, const struct cache_options *options,
           unsigned percent)
{
  static const struct sim *const sims[] = { &sim_lru, &sim_arc };
  uint32_t pages = (uint32_t) ((uint64_t) trace->footprint * percent / 100);
  uint64_t bytes = client_read_bytes (trace);
  struct cache_result folio;
  double best = 1e9, mine;

  printf ("%7" PRIu32 " %3u %%", pages, percent);
  for (unsigned i = 0; i < 2; ++i) {
    struct sim_result sim = sim_replay (trace, sims[i], pages);

    printf ("   %.4f/%.4f %6.4f",
            ratio (sim.misses[0] + sim.misses[1], trace->page_accesses),
            ratio (sim.misses[1], trace->page_reads),
            ratio (sim.read_bytes, bytes));
    if (ratio (sim.read_bytes, bytes) < best)
      best = ratio (sim.read_bytes, bytes);
  }
  folio = cache_replay (trace, pages, options);
  mine = ratio (folio.store_read_bytes, bytes);
  printf ("   %6.4f %+.4f %8" PRIu64 "\n", mine, mine - best,
          folio.store_reads);
  fflush (stdout);
}

static void
usage (void)
{
  fprintf (stderr,
           "usage: trace-replay [-r READAHEAD] [-o ORDER] [-f SECONDS] "
           "[-w WORKLOAD] [PERCENT...]\n"
           "workloads: %s; without one, a trace is read from stdin\n",
           trace_names);
  exit (EXIT_FAILURE);
}

static void
load (struct trace *trace, const char *workload)
{
  if (workload == NULL)
    trace_read (trace, stdin);
  else if (!trace_make (trace, workload))
    usage ();
  if (trace->nr > 0)
    return;
  fprintf (stderr, "trace-replay: no requests on stdin\n");
  exit (EXIT_FAILURE);
}

static void
print_head (const struct trace *trace)
{
  printf ("%zu requests, %" PRIu64 " page accesses (%" PRIu64
          " of them reads), %" PRIu32 " different pages\n"
          "LRU, ARC: page misses, all/reads, and bytes read from the store / "
          "read by clients.\nfolio: the latter, that less the better of both, "
          "store reads.\n"
          "  pages share   LRU                    ARC                    "
          "folio\n",
          trace->nr, trace->page_accesses, trace->page_reads, trace->footprint);
}

int
main (int argc, char **argv)
{
  static const unsigned percents[] = { 1, 5, 10, 20, 40 };
  struct cache_options options = { .flush = 5 };
  const char *workload = NULL;
  struct trace trace = { 0 };
  int c;

  while ((c = getopt (argc, argv, "r:o:f:w:")) != -1)
    switch (c) {
    case 'r': options.readahead = strtoull (optarg, NULL, 0); break;
    case 'o': options.order = (unsigned) strtoul (optarg, NULL, 0); break;
    case 'f': options.flush = (uint32_t) strtoul (optarg, NULL, 0); break;
    case 'w': workload = optarg; break;
    default: usage ();
    }
  load (&trace, workload);
  print_head (&trace);
  for (int i = optind; i < argc; ++i)
    print_row (&trace, &options, (unsigned) strtoul (argv[i], NULL, 0));
  for (unsigned i = 0; optind == argc && i < 5; ++i)
    print_row (&trace, &options, percents[i]);
  trace_free (&trace);
  return EXIT_SUCCESS;
}
