/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics as text, and what a flush would take.
 */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/env.h"
#include "plugin/listen.h"
#include "plugin/metrics/text.h"
#include "tests/unit/test.h"

static struct metrics_disk disks[2];
static char *text;

static void
write_text (enum metrics_dialect dialect, unsigned n)
{
  size_t size;
  FILE *fp;

  free (text);
  fp = open_memstream (&text, &size);
  assert_non_null (fp);
  metrics_write (fp, dialect, disks, n);
  assert_int_equal (fclose (fp), 0);
}

static void
begin (void)
{
  memset (disks, 0, sizeof disks);
  disks[0].name = "a";
  disks[1].name = "b\"\\\n";
}

static void
expect (const char *line)
{
  char *found = strstr (text, line);

  if (found == NULL || (found > text && found[-1] != '\n'))
    fail_msg ("no \"%s\" in:\n%s", line, text);
  assert_null (strstr (found + 1, line));
}

TEST (dialects)
{
  begin ();
  disks[0].snapshot.counters[STAT_READ_BYTES] = UINT64_MAX;
  write_text (METRICS_PROMETHEUS, 1);
  expect ("# TYPE folio_read_bytes_total counter\n");
  expect ("folio_read_bytes_total{disk=\"a\"} 18446744073709551615\n");
  assert_null (strstr (text, "# EOF"));
  write_text (METRICS_OPENMETRICS, 1);
  expect ("# TYPE folio_read_bytes counter\n");
  expect ("folio_read_bytes_total{disk=\"a\"} 18446744073709551615\n");
  assert_string_equal (text + strlen (text) - 6, "# EOF\n");
}

/* Each counter has its own value; disks are told apart, whatever their names. */
TEST (counters)
{
  char line[100], *p;
  unsigned i;

  begin ();
  for (i = 0; i < NR_STATS; i++) {
    disks[0].snapshot.counters[i] = 1000 + i;
    disks[1].snapshot.counters[i] = 2000 + i;
  }
  write_text (METRICS_PROMETHEUS, 2);
  for (i = 0; i < NR_STATS; i++) {
    snprintf (line, sizeof line, "folio_%s_total{disk=\"a\"} %u\n",
              stats_counter_name (i), 1000 + i);
    for (p = line; *p != '{'; p++)
      if (*p == '-')
        *p = '_';
    expect (line);
  }
  expect ("folio_reads_total{disk=\"b\\\"\\\\\\n\"} 2000\n");
}

TEST (histograms)
{
  struct stats_distribution *d;

  begin ();
  d = &disks[0].snapshot.histograms[HIST_STORE_WRITE];
  d->buckets[0] = 1;
  d->buckets[10] = 2;
  d->buckets[11] = 3;
  d->buckets[HIST_BUCKETS - 1] = 4;
  d->count = 10;
  d->sum = UINT64_C (2500000000);
  d = &disks[0].snapshot.histograms[HIST_MERGE];
  d->buckets[1] = 5;
  d->buckets[2] = 6;
  d->count = 11;
  d->sum = 20;
  write_text (METRICS_PROMETHEUS, 1);
#define SECONDS "folio_store_write_seconds_"
  expect (SECONDS "bucket{disk=\"a\",le=\"1.024e-06\"} 3\n");
  expect (SECONDS "bucket{disk=\"a\",le=\"4.096e-06\"} 6\n");
  expect (SECONDS "bucket{disk=\"a\",le=\"274.877907\"} 6\n");
  expect (SECONDS "bucket{disk=\"a\",le=\"+Inf\"} 10\n");
  expect (SECONDS "count{disk=\"a\"} 10\n");
  expect (SECONDS "sum{disk=\"a\"} 2.5\n");
#define FOLIOS "folio_store_write_folios_"
  expect (FOLIOS "bucket{disk=\"a\",le=\"1\"} 5\n");
  expect (FOLIOS "bucket{disk=\"a\",le=\"3\"} 11\n");
  expect (FOLIOS "bucket{disk=\"a\",le=\"+Inf\"} 11\n");
  expect (FOLIOS "sum{disk=\"a\"} 20\n");
}

TEST (flush_time)
{
  struct stats_snapshot s = { 0 };

  assert_true (stats_flush_seconds (&s) == 0);
  s.unsaved = s.dirty = 100;
  assert_true (isnan (stats_flush_seconds (&s)));
  s.bandwidth = 50;
  assert_true (stats_flush_seconds (&s) == 2);
  /* Zeroes are unsaved only; what is unstable needs the flush alone. */
  s.unsaved = 200;
  assert_true (stats_flush_seconds (&s) == 4);
  s.unstable = 150;
  assert_true (stats_flush_seconds (&s) == 2);
  s.histograms[HIST_STORE_FLUSH].count = 2;
  s.histograms[HIST_STORE_FLUSH].sum = 3 * NSEC_PER_SEC;
  assert_true (stats_flush_seconds (&s) == 3.5);
  s.unsaved = s.unstable = s.dirty = 0;
  assert_true (stats_flush_seconds (&s) == 0);
}

TEST (gauges)
{
  begin ();
  disks[0].snapshot.dirty = disks[0].snapshot.unsaved = 4096;
  disks[0].snapshot.oldest_dirty = 1500 * NSEC_PER_MSEC;
  disks[0].snapshot.error = 5;
  disks[0].snapshot.away = true;
  write_text (METRICS_PROMETHEUS, 1);
  expect ("folio_dirty_bytes{disk=\"a\"} 4096\n");
  expect ("folio_oldest_dirty_seconds{disk=\"a\"} 1.5\n");
  expect ("folio_flush_time_seconds{disk=\"a\"} NaN\n");
  expect ("folio_store_bandwidth_bytes{disk=\"a\"} NaN\n");
  expect ("folio_writeback_failing{disk=\"a\"} 1\n");
  expect ("folio_store_away{disk=\"a\"} 1\n");
}

TEST (addresses)
{
  static const char *const right[] = {
    "1",         "65535",     "127.0.0.1:80",  "[::1]:80",
    "host:9200", "unix:/a/b", "unix:relative",
  };
  static const char *const wrong[] = {
    "", "0", "65536", "-1", "80x", ":80", "a:b:80", "[::1:80", "[]:80", "unix:",
  };
  unsigned i;

  for (i = 0; i < sizeof right / sizeof *right; i++)
    assert_null (listen_wrong (right[i]));
  for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_non_null (listen_wrong (wrong[i]));
  assert_string_equal (listen_path ("unix:/a/b"), "/a/b");
  assert_null (listen_path ("host:80"));
}

RUN_TESTS ()
