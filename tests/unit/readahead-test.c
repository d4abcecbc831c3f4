/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Readahead: readers of a simulated disk, whose pages are all kept once read.
 */

#include <string.h>

#include "cache/request/readahead.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define MAX 256 /* pages, largest window */
#define DISK 65536

enum { READ = 1, MARKED = 2, AHEAD = 4 };

struct sim {
  struct readahead *ra;
  uint8_t pages[DISK];
  uint64_t asked, hit; /* pages */
  uint64_t nr_ahead;   /* pages read ahead */
  uint64_t twice;      /* of which were there already */
  uint64_t largest;    /* window */
  bool slow;           /* what is read ahead comes only after it is missed */
};

static struct sim sim;

static int
setup (void **state)
{
  (void) state;
  memset (&sim, 0, sizeof sim);
  sim.ra = readahead_create (MAX);
  return sim.ra == NULL;
}

static int
teardown (void **state)
{
  (void) state;
  readahead_destroy (sim.ra);
  return 0;
}

static void
read_ahead (const struct ra_window *window)
{
  if (window->count == 0)
    return;
  assert_true (window->first + window->count <= DISK);
  assert_true (window->first <= window->marker);
  assert_true (window->marker < window->first + window->count);
  if (window->count > sim.largest)
    sim.largest = window->count;
  for (uint64_t i = 0; i < window->count; ++i) {
    uint8_t *page = &sim.pages[window->first + i];

    ++sim.nr_ahead;
    sim.twice += *page != 0;
    *page |= sim.slow ? AHEAD : READ;
  }
  sim.pages[window->marker] |= MARKED;
}

static void
request (uint64_t first, uint64_t count)
{
  struct ra_window window;
  bool missed = false;

  for (uint64_t page = first; page < first + count; ++page) {
    ++sim.asked;
    sim.hit += sim.pages[page] & (READ | AHEAD) ? 1 : 0;
    if (!(sim.pages[page] & READ) && !missed) {
      missed = true;
      readahead_miss (sim.ra, page, first + count - page, DISK, &window);
      read_ahead (&window);
    }
    if (sim.pages[page] & MARKED) {
      sim.pages[page] &= (uint8_t) ~MARKED;
      readahead_marker (sim.ra, page, DISK, &window);
      read_ahead (&window);
    }
    sim.pages[page] |= READ;
  }
}

static unsigned
percent_hit (void)
{
  return (unsigned) (sim.hit * 100 / sim.asked);
}

TEST (one_stream)
{
  for (uint64_t page = 1000; page < 9000; page += 8)
    request (page, 8);
  assert_true (percent_hit () >= 99);
  assert_int_equal (sim.largest, MAX);
  assert_int_equal (sim.twice, 0);
}

TEST (one_miss_is_no_stream)
{
  request (100, 4);
  assert_int_equal (sim.nr_ahead, 0);
  request (104, 4);
  assert_true (sim.nr_ahead >= 4);
}

TEST (window_doubles)
{
  for (uint64_t page = 0; page < 24; ++page)
    request (page, 1);
  assert_true (sim.nr_ahead < 64);
  assert_true (sim.largest <= 32);
}

TEST (sharing_pages)
{
  /* Requests that begin in the page where the last one ended. */
  request (4998, 3);
  request (5000, 3);
  assert_true (sim.nr_ahead > 0);
  for (uint64_t page = 5002; page < 9000; page += 2)
    request (page, 3);
  assert_true (percent_hit () >= 99);
}

TEST (interleaved)
{
  struct rng rng = test_rng ("interleaved");
  uint64_t next[12], i;

  readahead_destroy (sim.ra);
  sim.ra = readahead_create (16);
  for (i = 0; i < 12; ++i)
    next[i] = i * 5000 + rng_below (&rng, 100);
  for (unsigned n = 0; n < 6000; ++n) {
    i = rng_below (&rng, 12);
    request (next[i], 4);
    next[i] += 4;
  }
  assert_true (percent_hit () >= 98);
}

static void
shuffle (struct rng *rng, uint64_t *a, unsigned n)
{
  for (unsigned i = n - 1; i > 0; --i) {
    unsigned j = (unsigned) rng_below (rng, i + 1);
    uint64_t t = a[i];

    a[i] = a[j];
    a[j] = t;
  }
}

/* Sixteen requests of a stream at a time, in any order. */
static void
check_out_of_order (bool slow)
{
  struct rng rng = test_rng ("out-of-order");
  uint64_t batch[16];

  sim.slow = slow;
  for (uint64_t page = 1000; page < 33000; page += 16 * 4) {
    for (unsigned i = 0; i < 16; ++i)
      batch[i] = page + i * 4;
    shuffle (&rng, batch, 16);
    for (unsigned i = 0; i < 16; ++i)
      request (batch[i], 4);
  }
  assert_true (percent_hit () >= 95);
  assert_true (sim.twice * 100 <= sim.nr_ahead);
}

TEST (out_of_order)
{
  check_out_of_order (false);
}

TEST (out_of_order_slow)
{
  check_out_of_order (true);
}

TEST (slow_store)
{
  sim.slow = true;
  for (uint64_t page = 0; page < 20000; page += 2)
    request (page, 2);
  assert_true (percent_hit () >= 99);
  assert_int_equal (sim.twice, 0);
  assert_true (sim.nr_ahead <= 20000 + 3 * MAX);
}

TEST (random)
{
  struct rng rng = test_rng ("random");
  struct ra_window window;

  for (unsigned n = 0; n < 100000; ++n) {
    readahead_miss (sim.ra, rng_below (&rng, UINT64_C (1) << 40), 1,
                    UINT64_C (1) << 40, &window);
    assert_int_equal (window.count, 0);
  }
}

TEST (random_small_disk)
{
  struct rng rng = test_rng ("random-small");

  /* A page that follows another one by chance begins a stream, once in 5000 or so:
   * five times the smallest window for each 5000, and so many that chance evens
   * out.
   */
  for (unsigned n = 0; n < 50000; ++n)
    request (rng_below (&rng, DISK), 1);
  assert_true (sim.nr_ahead <= 200);
}

TEST (end_of_disk)
{
  for (uint64_t page = DISK - 40; page < DISK; page += 4)
    request (page, 4);
  assert_true (sim.nr_ahead <= 32);
  assert_true (percent_hit () >= 75);
}

/* Start many short streams, of which little is used. */
static uint64_t
short_streams (uint64_t first, uint64_t wasted, uint64_t used)
{
  uint64_t before, count = 0;

  for (uint64_t page = first; page < first + 10000; page += 1000) {
    before = sim.nr_ahead;
    for (uint64_t i = 0; i < 64; i += 16)
      request (page + i, 16);
    count = sim.nr_ahead - before;
    readahead_feedback (sim.ra, wasted, used);
  }
  return count;
}

TEST (backs_off)
{
  uint64_t eager, wary, again;

  eager = short_streams (0, 0, 256);
  wary = short_streams (20000, 200, 56);
  assert_true (wary * 4 < eager);

  for (unsigned i = 0; i < 10; ++i)
    readahead_feedback (sim.ra, 0, 256);
  again = short_streams (40000, 0, 256);
  assert_int_equal (again, eager);
}

TEST (off)
{
  readahead_destroy (sim.ra);
  sim.ra = readahead_create (0);
  for (uint64_t page = 0; page < 1000; ++page)
    request (page, 1);
  assert_int_equal (sim.nr_ahead, 0);
}

TEST (smallest_window)
{
  readahead_destroy (sim.ra);
  sim.ra = readahead_create (1);
  for (uint64_t page = 0; page < 1000; ++page)
    request (page, 1);
  assert_int_equal (sim.largest, 1);
  assert_true (percent_hit () >= 99);
}

RUN_EACH (setup, teardown)
