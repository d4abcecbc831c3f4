/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Replay a block trace, page by page and without readahead, against the
 * project's eviction, LRU and ARC, and print their miss ratios.
 *
 * The trace comes from stdin in the CSV of libCacheSim's CloudPhysics sample:
 * a line of headings, then version,time,op,size,lbn with op a SCSI opcode in
 * hexadecimal (28: READ(10)), size in bytes, lbn in sectors of 512 bytes.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/trace-sim.h"

#define PAGE_SHIFT 12
#define OP_READ 0x28

struct trace {
  uint32_t *accesses; /* page << 1 | is read */
  size_t nr, room;
  uint64_t *table; /* page of the disk + 1, 0: free; open addressing */
  uint32_t *ids;
  uint32_t nr_ids, table_bits;
};

static void *
check (void *p)
{
  if (p == NULL) {
    fprintf (stderr, "trace-replay: out of memory\n");
    exit (EXIT_FAILURE);
  }
  return p;
}

/* The number of a page of the disk, given in order of appearance. */
static uint32_t
page_id (struct trace *t, uint64_t page)
{
  uint64_t hash = (page + 1) * UINT64_C (0x9e3779b97f4a7c15);
  uint32_t slot = (uint32_t) (hash >> (64 - t->table_bits));

  while (t->table[slot] != 0 && t->table[slot] != page + 1)
    slot = (slot + 1) & ((1u << t->table_bits) - 1);
  if (t->table[slot] == 0) {
    t->table[slot] = page + 1;
    t->ids[slot] = t->nr_ids++;
    if (t->nr_ids > 1u << (t->table_bits - 1)) {
      fprintf (stderr, "trace-replay: too many different pages\n");
      exit (EXIT_FAILURE);
    }
  }
  return t->ids[slot];
}

static void
add_access (struct trace *t, uint64_t page, bool is_read)
{
  if (t->nr == t->room) {
    t->room = t->room ? t->room * 2 : 1 << 20;
    t->accesses = check (realloc (t->accesses, t->room * sizeof *t->accesses));
  }
  t->accesses[t->nr++] = page_id (t, page) << 1 | is_read;
}

static void
read_trace (struct trace *t)
{
  unsigned op;
  uint64_t size, sector;
  char line[256];

  t->table_bits = 24;
  t->table = check (calloc (1u << t->table_bits, sizeof *t->table));
  t->ids = check (calloc (1u << t->table_bits, sizeof *t->ids));
  while (fgets (line, sizeof line, stdin)) {
    if (sscanf (line, "%*u,%*u,%x,%" SCNu64 ",%" SCNu64, &op, &size, &sector) !=
          3 ||
        size == 0)
      continue;
    for (uint64_t page = sector << 9 >> PAGE_SHIFT;
         page <= ((sector << 9) + size - 1) >> PAGE_SHIFT; ++page)
      add_access (t, page, op == OP_READ);
  }
}

struct ratios {
  double all, reads;
};

static struct ratios
replay (const struct trace *t, const struct sim *sim, uint32_t pages)
{
  void *cache = check (sim->create (t->nr_ids, pages));
  uint64_t misses[2] = { 0 }, accesses[2] = { 0 };

  for (size_t i = 0; i < t->nr; ++i) {
    bool is_read = t->accesses[i] & 1;

    ++accesses[is_read];
    misses[is_read] += !sim->access (cache, t->accesses[i] >> 1);
  }
  sim->destroy (cache);
  return (struct ratios) {
    (double) (misses[0] + misses[1]) / (double) t->nr,
    (double) misses[1] / (double) (accesses[1] ? accesses[1] : 1),
  };
}

static void
print_row (const struct trace *t, unsigned percent)
{
  static const struct sim *sims[] = { &sim_lru, &sim_arc, &sim_folio };
  uint32_t pages = (uint32_t) ((uint64_t) t->nr_ids * percent / 100);
  struct ratios r, best = { 1, 1 };

  printf ("%8" PRIu32 " %3u %%", pages, percent);
  for (unsigned i = 0; i < 3; ++i) {
    r = replay (t, sims[i], pages);
    printf ("   %.4f / %.4f", r.all, r.reads);
    if (i < 2) {
      best.all = r.all < best.all ? r.all : best.all;
      best.reads = r.reads < best.reads ? r.reads : best.reads;
    }
  }
  printf ("   %+.4f / %+.4f\n", r.all - best.all, r.reads - best.reads);
}

int
main (void)
{
  static const unsigned percents[] = { 1, 5, 10, 20, 40 };
  struct trace t = { 0 };

  read_trace (&t);
  if (t.nr == 0) {
    fprintf (stderr, "trace-replay: no requests on stdin\n");
    return EXIT_FAILURE;
  }
  printf ("%zu page accesses, %" PRIu32 " different pages\n"
          "Miss ratios, all accesses / reads; last: folio less the better of "
          "LRU and ARC.\n"
          "   pages share   LRU               ARC               folio\n",
          t.nr, t.nr_ids);
  for (unsigned i = 0; i < sizeof percents / sizeof percents[0]; ++i)
    print_row (&t, percents[i]);
  free (t.accesses);
  free (t.table);
  free (t.ids);
  return EXIT_SUCCESS;
}
