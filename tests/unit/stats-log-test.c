/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The counters in words.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "plugin/stats-log.h"
#include "tests/unit/test.h"

static struct stats_snapshot snapshot;
static char text[64 * STATS_LINE_MAX];
static unsigned lines;

static void
take_line (void *opaque, const char *line)
{
  (void) opaque;
  assert_true (strlen (text) + strlen (line) + 2 < sizeof text);
  assert_true (strlen (line) < STATS_LINE_MAX - 1); /* nothing cut off */
  assert_null (strchr (line, '\n'));
  strcat (text, line);
  strcat (text, "\n");
  lines++;
}

static void
format (void)
{
  text[0] = '\0';
  lines = 0;
  stats_format (&snapshot, take_line, NULL);
}

/* All of the text between the two, which it must contain. */
static void
expect_line (const char *line)
{
  if (strstr (text, line) == NULL)
    fail_msg ("no \"%s\" in:\n%s", line, text);
}

TEST (nothing)
{
  memset (&snapshot, 0, sizeof snapshot);
  format ();
  assert_int_equal (lines, 4 + NR_HISTOGRAMS);
  expect_line ("stats: requests: reads=0 read-bytes=0 writes=0 ");
  expect_line ("stats: pause: count=0\n");
  assert_null (strstr (text, "nan"));
}

/* Each counter is named once, with its own value. */
TEST (counters)
{
  char words[100];
  unsigned i;

  memset (&snapshot, 0, sizeof snapshot);
  for (i = 0; i < NR_STATS; i++)
    snapshot.counters[i] = 1000 + i;
  snapshot.evicted = 5;
  snapshot.losses = 6;
  snapshot.dirty = 7;
  format ();
  for (i = 0; i < NR_STATS; i++) {
    char *found;

    snprintf (words, sizeof words, " %s=%u", stats_counter_name (i), 1000 + i);
    found = strstr (text, words);
    assert_non_null (found);
    assert_null (strstr (found + 1, words));
  }
  expect_line (" evicted-pages=5\n");
  expect_line (" losses=6\n");
  expect_line ("stats: now: dirty=7 ");
}

TEST (hits)
{
  memset (&snapshot, 0, sizeof snapshot);
  snapshot.counters[STAT_READS] = 100;
  snapshot.counters[STAT_DIRECT_READS] = 20;
  snapshot.counters[STAT_MISSES] = 10;
  format ();
  expect_line ("stats: cache: hits=70 misses=10 ");
  snapshot.counters[STAT_MISSES] = 90; /* read later than the others */
  format ();
  expect_line ("stats: cache: hits=0 misses=90 ");
}

TEST (distributions)
{
  struct stats_distribution *d = &snapshot.histograms[HIST_STORE_READ];

  memset (&snapshot, 0, sizeof snapshot);
  d->buckets[0] = 1;
  d->buckets[11] = 2;
  d->buckets[22] = 3;
  d->buckets[HIST_BUCKETS - 1] = 1;
  d->count = 7;
  d->sum = UINT64_C (3500000000000);
  d->max = UINT64_C (3000000000000);
  snapshot.histograms[HIST_MERGE].buckets[9] = 4;
  snapshot.histograms[HIST_MERGE].count = 4;
  snapshot.histograms[HIST_MERGE].sum = 1602;
  snapshot.histograms[HIST_MERGE].max = 511;
  format ();
  expect_line ("stats: store-read: count=7 mean=500s max=3e+03s <1ns=1 "
               "<2.05us=2 <4.19ms=3 more=1\n");
  expect_line ("stats: folios-per-write: count=4 mean=400.5 max=511 <512=4\n");
}

TEST (large)
{
  memset (&snapshot, 0xff, sizeof snapshot);
  format ();
  assert_int_equal (lines, 4 + NR_HISTOGRAMS);
  expect_line (" failed=18446744073709551615\n");
  expect_line (" more=18446744073709551615\n");
}

RUN_TESTS ()
