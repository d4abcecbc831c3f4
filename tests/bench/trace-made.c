/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Made-up requests, each of one page: the patterns by which eviction policies
 * are told apart (Megiddo, Modha, FAST 2003; Jiang, Zhang: "LIRS", SIGMETRICS
 * 2002; Yang et al., SOSP 2023).  Always the same ones.
 *
 *   loop        round and round: LRU never hits while a little is missing
 *   zipf        some pages often, by Zipf's law with exponent 0.9
 *   scan-zipf   zipf, and every 20,000 requests 10,000 pages once, in order
 *   zipf-loop   every second request of each
 *   moving      zipf whose favourites become others, a little at a time
 *   half-writes zipf, half of it writes
 *   twice       each page twice, 4,000 pages apart, then no more
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/trace-load.h"

#define PAGES 60000u
#define REQUESTS 1000000u
#define PER_SECOND 200u
#define EXPONENT 0.9

/* Marsaglia's xorshift64. */
static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

struct maker {
  struct trace *trace;
  uint64_t random;
  double *sums; /* of the Zipf probabilities, by rank */
};

static void
make_sums (struct maker *m)
{
  double sum = 0;

  m->sums = trace_check (calloc (PAGES, sizeof *m->sums));
  for (unsigned i = 0; i < PAGES; ++i)
    m->sums[i] = sum += pow (i + 1, -EXPONENT);
}

/* A rank, from 0 on. */
static uint32_t
zipf (struct maker *m)
{
  double x =
    (double) (next_random (&m->random) >> 11) * 0x1p-53 * m->sums[PAGES - 1];
  uint32_t low = 0, high = PAGES - 1;

  while (low < high) {
    uint32_t middle = (low + high) / 2;

    if (m->sums[middle] < x)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Where the page of a rank is: not beside that of the next. */
static uint32_t
place (uint32_t rank)
{
  return (uint32_t) ((uint64_t) rank * 40507 % PAGES);
}

static void
page (struct maker *m, uint64_t page, bool is_read)
{
  trace_add (m->trace, (uint32_t) (m->trace->nr / PER_SECOND),
             page * TRACE_PAGE_SECTORS, TRACE_PAGE_SECTORS, is_read);
}

static void
make_loop (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS; ++i)
    page (m, i % PAGES, true);
}

static void
make_zipf (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS; ++i)
    page (m, place (zipf (m)), true);
}

static void
make_scan_zipf (struct maker *m)
{
  uint32_t scan = 0;

  for (unsigned i = 0; i < REQUESTS; ++i) {
    page (m, place (zipf (m)), true);
    if (i % 20000 == 19999)
      for (unsigned k = 0; k < 10000; ++k)
        page (m, PAGES + scan++ % PAGES, true);
  }
}

static void
make_zipf_loop (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS / 2; ++i) {
    page (m, place (zipf (m)), true);
    page (m, PAGES + i % (PAGES / 2), true);
  }
}

static void
make_moving (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS; ++i)
    page (m, place ((zipf (m) + i / 50) % PAGES), true);
}

static void
make_half_writes (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS; ++i)
    page (m, place (zipf (m)), next_random (&m->random) & 1);
}

static void
make_twice (struct maker *m)
{
  for (unsigned i = 0; i < REQUESTS / 2; ++i) {
    page (m, i, true);
    if (i >= 4000)
      page (m, i - 4000, true);
  }
}

static const struct {
  const char *name;
  void (*make) (struct maker *m);
} makers[] = {
  { "loop", make_loop },           { "zipf", make_zipf },
  { "scan-zipf", make_scan_zipf }, { "zipf-loop", make_zipf_loop },
  { "moving", make_moving },       { "half-writes", make_half_writes },
  { "twice", make_twice },
};

const char trace_names[] =
  "loop zipf scan-zipf zipf-loop moving half-writes twice";

bool
trace_make (struct trace *trace, const char *name)
{
  struct maker m = { .trace = trace, .random = 88172645463325252u };

  for (unsigned i = 0; i < sizeof makers / sizeof makers[0]; ++i)
    if (strcmp (name, makers[i].name) == 0) {
      make_sums (&m);
      makers[i].make (&m);
      free (m.sums);
      trace_count (trace);
      return true;
    }
  return false;
}
