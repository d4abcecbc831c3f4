/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Metrics as text: families, one after the other, each with a sample or a histogram
 * for each disk.
 */

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "fs/env.h"
#include "plugin/metrics/text.h"

struct writer {
  FILE *fp;
  enum metrics_dialect dialect;
  const struct metrics_disk *disks;
  unsigned n;
};

/* --- words --- */

static const char *const counter_help[] = {
  [STAT_READS] = "Reads of clients that are over",
  [STAT_READ_BYTES] = "Bytes of these",
  [STAT_WRITES] = "Writes of clients that are over",
  [STAT_WRITE_BYTES] = "Bytes of these",
  [STAT_ZEROES] = "Zero requests of clients that are over",
  [STAT_ZERO_BYTES] = "Bytes of these",
  [STAT_TRIMS] = "Trims of clients that are over",
  [STAT_TRIM_BYTES] = "Bytes of these",
  [STAT_PREFETCHES] = "Cache requests of clients that are over",
  [STAT_PREFETCH_BYTES] = "Bytes of these",
  [STAT_EXTENTS] = "Block status requests of clients that are over",
  [STAT_EXTENTS_BYTES] = "Bytes of these",
  [STAT_DIRECT_READS] = "Reads past the cache, among the others",
  [STAT_DIRECT_READ_BYTES] = "Bytes of these",
  [STAT_DIRECT_WRITES] = "Writes past the cache, among the others",
  [STAT_DIRECT_WRITE_BYTES] = "Bytes of these",
  [STAT_FLUSHES] = "Flushes of clients that are over",
  [STAT_FUA] = "Writes, zeroes and trims with FUA, among the others",
  [STAT_FAILED] = "Requests of clients that failed",
  [STAT_MISSES] = "Reads through the cache that waited for the store",
  [STAT_READAHEAD_PAGES] = "Pages read ahead",
  [STAT_READAHEAD_USED] = "Pages read ahead that were read then",
  [STAT_STORE_READS] = "Reads of the store",
  [STAT_STORE_READ_BYTES] = "Bytes of these",
  [STAT_STORE_READ_ERRORS] = "Those of these that failed",
  [STAT_STORE_WRITES] = "Writes to the store",
  [STAT_STORE_WRITE_BYTES] = "Bytes of these",
  [STAT_STORE_WRITE_ERRORS] = "Those of these that failed",
  [STAT_STORE_ZEROES] = "Zeroes and trims of the store",
  [STAT_STORE_ZERO_BYTES] = "Bytes of these",
  [STAT_STORE_ZERO_ERRORS] = "Those of these that failed",
  [STAT_STORE_FLUSHES] = "Flushes of the store",
  [STAT_STORE_FLUSH_ERRORS] = "Those of these that failed",
  [STAT_RETRIES] = "Writes to the store that have to be made again",
  [STAT_RETRY_BYTES] = "Bytes of these",
};
_Static_assert(sizeof counter_help / sizeof counter_help[0] == NR_STATS,
               "a text missing");

struct histogram_words {
  const char *name, *help;
};

static const struct histogram_words histogram_words[] = {
  [HIST_STORE_READ] = { "store_read_seconds", "Time that a read of the store "
                                              "took" },
  [HIST_STORE_WRITE] = { "store_write_seconds", "Time that a write to the "
                                                "store took" },
  [HIST_STORE_FLUSH] = { "store_flush_seconds", "Time that a flush of the "
                                                "store took" },
  [HIST_FLUSH] = { "flush_seconds", "Time that a flush of a client took" },
  [HIST_PAUSE] = { "pause_seconds", "Time that a write paused for the store" },
  [HIST_MERGE] = { "store_write_folios", "Folios that went into one write to "
                                         "the store" },
};
_Static_assert(sizeof histogram_words / sizeof histogram_words[0] ==
                 NR_HISTOGRAMS,
               "words missing");

/* --- families and samples --- */

/* The family folio_NAME begins. */
static void
begin (struct writer *w, const char *name, const char *type, const char *help)
{
  /* Before OpenMetrics a counter's samples had the name of their family. */
  const char *suffix =
    type[0] == 'c' && w->dialect == METRICS_PROMETHEUS ? "_total" : "";

  fprintf (w->fp, "# TYPE folio_%s%s %s\n# HELP folio_%s%s %s.\n", name, suffix,
           type, name, suffix, help);
}

static void
write_escaped (FILE *fp, const char *text)
{
  for (; *text; text++) {
    if (*text == '\n')
      fputs ("\\n", fp);
    else if (*text == '"' || *text == '\\')
      fprintf (fp, "\\%c", *text);
    else
      fputc (*text, fp);
  }
}

/* The beginning of a sample of a disk, up to the end of the disk's label. */
static void
write_name (struct writer *w, const char *name, const char *suffix, unsigned i)
{
  fprintf (w->fp, "folio_%s%s{disk=\"", name, suffix);
  write_escaped (w->fp, w->disks[i].name);
  fputc ('"', w->fp);
}

static void
write_value (struct writer *w, double value)
{
  if (isnan (value))
    fputs (" NaN\n", w->fp);
  else
    fprintf (w->fp, " %.15g\n", value);
}

static void
write_counter (struct writer *w, const char *name, unsigned i, uint64_t value)
{
  write_name (w, name, "_total", i);
  fprintf (w->fp, "} %" PRIu64 "\n", value);
}

static void
write_gauge (struct writer *w, const char *name, unsigned i, double value)
{
  write_name (w, name, "", i);
  fputc ('}', w->fp);
  write_value (w, value);
}

/* --- counters --- */

static void
write_counters (struct writer *w)
{
  char name[64];
  unsigned i, disk;
  char *p;

  for (i = 0; i < NR_STATS; i++) {
    snprintf (name, sizeof name, "%s", stats_counter_name (i));
    for (p = name; *p; p++)
      if (*p == '-')
        *p = '_';
    begin (w, name, "counter", counter_help[i]);
    for (disk = 0; disk < w->n; disk++)
      write_counter (w, name, disk, w->disks[disk].snapshot.counters[i]);
  }
  begin (w, "store_losses", "counter",
         "Times that the store may have lost what was not flushed, which is "
         "written again then");
  for (disk = 0; disk < w->n; disk++)
    write_counter (w, "store_losses", disk, w->disks[disk].snapshot.losses);
}

/* --- histograms --- */

/* Of times the buckets from a microsecond on, every other one. */
#define FIRST_TIME 10
#define STEP_TIME 2

static void
write_bucket (struct writer *w, const char *name, unsigned disk, double end,
              uint64_t count)
{
  write_name (w, name, "_bucket", disk);
  fprintf (w->fp, ",le=\"%.9g\"} %" PRIu64 "\n", end, count);
}

/* How many values there are up to the end of bucket i, which is 2^i - 1. */
static void
write_distribution (struct writer *w, enum histogram histogram, unsigned disk)
{
  const struct stats_distribution *d =
    &w->disks[disk].snapshot.histograms[histogram];
  const char *name = histogram_words[histogram].name;
  bool time = histogram != HIST_MERGE;
  double unit = time ? 1e-9 : 1;
  uint64_t count = 0;
  unsigned i;

  for (i = 0; i < HIST_BUCKETS - 1; i++) {
    double end = (double) (UINT64_C (1) << i);

    count += d->buckets[i];
    if (time && i >= FIRST_TIME && (i - FIRST_TIME) % STEP_TIME == 0)
      write_bucket (w, name, disk, end * unit, count);
    else if (!time && i > 0 && end <= 512)
      write_bucket (w, name, disk, end - 1, count);
  }
  write_name (w, name, "_bucket", disk);
  fprintf (w->fp, ",le=\"+Inf\"} %" PRIu64 "\n", d->count);
  write_name (w, name, "_sum", disk);
  fputc ('}', w->fp);
  write_value (w, (double) d->sum * unit);
  write_name (w, name, "_count", disk);
  fprintf (w->fp, "} %" PRIu64 "\n", d->count);
}

static void
write_histograms (struct writer *w)
{
  unsigned i, disk;

  for (i = 0; i < NR_HISTOGRAMS; i++) {
    begin (w, histogram_words[i].name, "histogram", histogram_words[i].help);
    for (disk = 0; disk < w->n; disk++)
      write_distribution (w, (enum histogram) i, disk);
  }
}

/* --- gauges --- */

/* X (name, value of the snapshot s, help) */
#define GAUGES(X)                                                              \
  X ("size_bytes", s->disk_size, "Size of the disk")                           \
  X ("connections", s->conns, "Connections of clients")                        \
  X ("dirty_bytes", s->dirty, "Memory that waits to be written back")          \
  X ("writeback_bytes", s->writeback, "Memory that is being written back")     \
  X ("unstable_bytes", s->unstable,                                            \
     "Memory that is written, and waits for a flush of the store")             \
  X ("unsaved_bytes", s->unsaved, "All three together, and zeroes")            \
  X ("dirty_limit_bytes", s->limit,                                            \
     "What may be unsaved, before writes wait, as it is now")                  \
  X ("dirty_setpoint_bytes", s->setpoint,                                      \
     "What is unsaved when as much is written as the store takes")             \
  X ("dirty_background_bytes", s->background,                                  \
     "What may be dirty before it is written back, as it is now")              \
  X ("store_bandwidth_bytes", bandwidth (s),                                   \
     "What the store can be written a second, as measured; NaN if nothing "    \
     "was yet")                                                                \
  X ("flush_time_seconds", stats_flush_seconds (s),                            \
     "How long a flush would take now; NaN if that is not known yet")          \
  X ("flush_target_seconds", s->flush_target * 1e-9,                           \
     "How long a flush may take at most, as configured; 0: any time")          \
  X ("oldest_dirty_seconds", s->oldest_dirty * 1e-9,                           \
     "Since when the oldest is dirty of what is; seen at each "                \
     "writeback-interval")                                                     \
  X ("throttled_writes", s->throttled, "Writes that wait for the store now")   \
  X ("writeback_failing", s->error != 0,                                       \
     "1 if something cannot be written back, or not be flushed")               \
  X ("writeback_paused", s->paused, "1 while write-back is paused")            \
  X ("store_away", s->away, "1 if the store is out of reach")

static double
bandwidth (const struct stats_snapshot *s)
{
  return s->bandwidth ? (double) s->bandwidth : NAN;
}

#define AS_GAUGE(name, value, help)                                            \
  begin (w, name, "gauge", help);                                              \
  for (i = 0; i < w->n; i++) {                                                 \
    s = &w->disks[i].snapshot;                                                 \
    write_gauge (w, name, i, (double) (value));                                \
  }

static void
write_gauges (struct writer *w)
{
  const struct stats_snapshot *s;
  unsigned i;

  GAUGES (AS_GAUGE)
}

/* --- what all disks share --- */

static void
write_shared (struct writer *w)
{
  const struct stats_snapshot *s = &w->disks[0].snapshot;

  begin (w, "cache_size_bytes", "gauge", "Memory of the cache");
  fprintf (w->fp, "folio_cache_size_bytes %" PRIu64 "\n", s->cache_size);
  begin (w, "cache_free_bytes", "gauge", "What of it is free");
  fprintf (w->fp, "folio_cache_free_bytes %" PRIu64 "\n", s->cache_free);
  begin (w, "cache_evicted_pages", "counter", "Pages that have been evicted");
  fprintf (w->fp, "folio_cache_evicted_pages_total %" PRIu64 "\n", s->evicted);
  begin (w, "cache_readahead_wasted_pages", "counter",
         "Pages read ahead that were evicted before they were read");
  fprintf (w->fp, "folio_cache_readahead_wasted_pages_total %" PRIu64 "\n",
           s->readahead_wasted);
  begin (w, "build_info", "gauge", "The version of the plugin");
  fprintf (w->fp, "folio_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
}

void
metrics_write (FILE *fp, enum metrics_dialect dialect,
               const struct metrics_disk *disks, unsigned n)
{
  struct writer w = { .fp = fp, .dialect = dialect, .disks = disks, .n = n };

  write_counters (&w);
  write_histograms (&w);
  write_gauges (&w);
  write_shared (&w);
  if (dialect == METRICS_OPENMETRICS)
    fputs ("# EOF\n", fp);
}
