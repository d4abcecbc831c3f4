/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The cache's counters in words: words and numbers joined by "=", so that
 * programs can read them too.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/stats-log.h"

NBDKIT_DLL_PUBLIC int folio_debug_stats;

struct line {
  char text[STATS_LINE_MAX];
  size_t length;
};

static void __attribute__ ((format (printf, 2, 3)))
add (struct line *line, const char *fmt, ...)
{
  size_t room = sizeof line->text - line->length;
  va_list args;
  int n;

  va_start (args, fmt);
  n = vsnprintf (line->text + line->length, room, fmt, args);
  va_end (args);
  if (n > 0)
    line->length += (size_t) n < room ? (size_t) n : room - 1;
}

static void
begin (struct line *line, const char *what)
{
  line->length = 0;
  add (line, "stats: %s:", what);
}

static void
add_number (struct line *line, const char *name, uint64_t n)
{
  add (line, " %s=%" PRIu64, name, n);
}

static void
add_counters (struct line *line, const struct stats_snapshot *s,
              enum counter first, enum counter last)
{
  enum counter i;

  for (i = first; i <= last; i++)
    add_number (line, stats_counter_name (i), s->counters[i]);
}

/* A time, to three digits. */
static void
add_time (struct line *line, const char *name, double ns)
{
  static const char *const units[] = { "ns", "us", "ms", "s" };
  unsigned i;

  for (i = 0; i < 3 && ns >= 999.5; i++)
    ns /= 1000;
  add (line, " %s%.3g%s", name, ns, units[i]);
}

static void
add_value (struct line *line, const char *name, double value, bool time)
{
  if (time)
    add_time (line, name, value);
  else
    add (line, " %s%.15g", name, value);
}

/* As "count=3 mean=1.2ms max=2ms <1.05ms=1 <2.1ms=2": how many values there
 * were, and in each bucket that has any, how many were below its upper end (and
 * not below the one before).
 */
static void
format_distribution (struct line *line, const struct stats_distribution *d,
                     bool time)
{
  unsigned i;

  add_number (line, "count", d->count);
  if (d->count == 0)
    return;
  add_value (line, "mean=", (double) d->sum / d->count, time);
  add_value (line, "max=", (double) d->max, time);
  for (i = 0; i < HIST_BUCKETS; i++) {
    if (d->buckets[i] == 0)
      continue;
    if (i < HIST_BUCKETS - 1)
      add_value (line, "<", (double) (UINT64_C (1) << i), time);
    else
      add (line, " more");
    add (line, "=%" PRIu64, d->buckets[i]);
  }
}

static void
format_cache (struct line *line, const struct stats_snapshot *s)
{
  const uint64_t *c = s->counters;
  uint64_t others = c[STAT_DIRECT_READS] + c[STAT_MISSES];

  /* Counters are read one after the other. */
  add_number (line, "hits",
              c[STAT_READS] > others ? c[STAT_READS] - others : 0);
  add_counters (line, s, STAT_MISSES, STAT_READAHEAD_USED);
  add_number (line, "readahead-wasted", s->readahead_wasted);
  add_number (line, "evicted-pages", s->evicted);
}

static void
format_now (struct line *line, const struct stats_snapshot *s)
{
  add_number (line, "dirty", s->dirty);
  add_number (line, "writeback", s->writeback);
  add_number (line, "unstable", s->unstable);
  add_number (line, "unsaved", s->unsaved);
  add_number (line, "limit", s->limit);
  add_number (line, "setpoint", s->setpoint);
  add_number (line, "background", s->background);
  add_number (line, "bandwidth", s->bandwidth);
  add_number (line, "cache-size", s->cache_size);
  add_number (line, "cache-free", s->cache_free);
}

void
stats_format (const struct stats_snapshot *s, stats_line_fn *fn, void *opaque)
{
  struct line line;
  enum histogram i;

  begin (&line, "requests");
  add_counters (&line, s, STAT_READS, STAT_FAILED);
  fn (opaque, line.text);
  begin (&line, "cache");
  format_cache (&line, s);
  fn (opaque, line.text);
  begin (&line, "store");
  add_counters (&line, s, STAT_STORE_READS, STAT_RETRY_BYTES);
  add_number (&line, "losses", s->losses);
  fn (opaque, line.text);
  begin (&line, "now");
  format_now (&line, s);
  fn (opaque, line.text);
  for (i = 0; i < NR_HISTOGRAMS; i++) {
    begin (&line, stats_histogram_name (i));
    format_distribution (&line, &s->histograms[i], i != HIST_MERGE);
    fn (opaque, line.text);
  }
}

static void
log_line (void *opaque, const char *line)
{
  struct env *env = opaque;

  env->log (env, LOG_INFO, line); /* longer than env_log takes */
}

void
stats_log (struct env *env, struct mapping *mapping)
{
  struct stats_snapshot snapshot;

  if (!folio_debug_stats)
    return;
  stats_read (mapping, &snapshot);
  stats_format (&snapshot, log_line, env);
}
