/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands that ask how things are.
 */

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cache/life/snapshot.h"
#include "plugin/control/server.h"
#include "plugin/format.h"

/* JSON has no numbers beyond this. */
static json_t *
number (uint64_t n)
{
  return json_integer (n <= INT64_MAX ? (json_int_t) n : INT64_MAX);
}

/* What is not known is null. */
static json_t *
real (double x)
{
  return isfinite (x) ? json_real (x) : json_null ();
}

static json_t *
seconds (uint64_t ns)
{
  return json_real ((double) ns / NSEC_PER_SEC);
}

/* --- status --- */

static const char *
state_of (const struct stats_snapshot *s)
{
  if (s->paused)
    return "paused";
  if (s->away)
    return "away";
  return s->error ? "failing" : "ok";
}

json_t *
query_status (struct call *call)
{
  struct control *control = call->control;
  struct stats_snapshot s;

  stats_read (disk_mapping (control->disk), &s);
  return json_pack (
    "{s:s,s:i,s:o,s:s,s:i,s:i,s:o,s:o}", "version", PACKAGE_VERSION, "pid",
    (int) getpid (), "uptime",
    seconds (control->env->now (control->env) - control->started), "state",
    disk_stopping (control->disk) ? "stopping" : "running", "disks", 1,
    "clients", (int) control->n, "cache-size", number (s.cache_size),
    "cache-free", number (s.cache_free));
}

/* --- disks --- */

static void
add_levels (json_t *disk, const struct stats_snapshot *s)
{
  json_object_set_new (disk, "dirty", number (s->dirty));
  json_object_set_new (disk, "writeback", number (s->writeback));
  json_object_set_new (disk, "unstable", number (s->unstable));
  json_object_set_new (disk, "unsaved", number (s->unsaved));
  json_object_set_new (disk, "limit", number (s->limit));
  json_object_set_new (disk, "setpoint", number (s->setpoint));
  json_object_set_new (disk, "background", number (s->background));
  json_object_set_new (disk, "bandwidth",
                       s->bandwidth ? number (s->bandwidth) : json_null ());
  json_object_set_new (disk, "flush-time", real (stats_flush_seconds (s)));
  json_object_set_new (disk, "oldest-dirty", seconds (s->oldest_dirty));
  json_object_set_new (disk, "throttled", number (s->throttled));
}

json_t *
query_disks (struct call *call)
{
  struct control *control = call->control;
  const struct config *config = control->config;
  struct stats_snapshot s;
  json_t *disk;

  stats_read (disk_mapping (control->disk), &s);
  disk = json_pack ("{s:s,s:o,s:b,s:s,s:o,s:s,s:s}", "disk", DISK_NAME, "size",
                    number (s.disk_size), "readonly",
                    (int) disk_fs (control->disk)->readonly, "format",
                    format_names[config->fs], "connections", number (s.conns),
                    "store-state", state_of (&s), "store",
                    disk_fs (control->disk)->store->ops->name);
  json_object_set_new (
    disk, "error", s.error ? json_string (strerror (s.error)) : json_null ());
  add_levels (disk, &s);
  json_object_set_new (disk, "settings", settings_now (config));
  return json_pack ("[o]", disk);
}

/* --- counters --- */

/* Buckets that have any: [what all of them are below, how many]. */
static json_t *
distribution (const struct stats_distribution *d)
{
  json_t *buckets = json_array ();
  unsigned i;

  for (i = 0; i < HIST_BUCKETS; i++) {
    json_t *end =
      i < HIST_BUCKETS - 1 ? number (UINT64_C (1) << i) : json_null ();

    if (d->buckets[i])
      json_array_append_new (buckets,
                             json_pack ("[o,o]", end, number (d->buckets[i])));
    else
      json_decref (end);
  }
  return json_pack ("{s:o,s:o,s:o,s:o}", "count", number (d->count), "sum",
                    number (d->sum), "max", number (d->max), "buckets",
                    buckets);
}

json_t *
query_stats (struct call *call)
{
  json_t *counters = json_object (), *histograms = json_object (), *disk;
  struct stats_snapshot s;
  unsigned i;

  stats_read (disk_mapping (call->control->disk), &s);
  for (i = 0; i < NR_STATS; i++)
    json_object_set_new (counters, stats_counter_name (i),
                         number (s.counters[i]));
  json_object_set_new (counters, "store-losses", number (s.losses));
  for (i = 0; i < NR_HISTOGRAMS; i++)
    json_object_set_new (histograms, stats_histogram_name (i),
                         distribution (&s.histograms[i]));
  disk = json_pack ("{s:s,s:o,s:o}", "disk", DISK_NAME, "counters", counters,
                    "histograms", histograms);
  return json_pack ("{s:[o],s:o,s:o}", "disks", disk, "evicted-pages",
                    number (s.evicted), "readahead-wasted",
                    number (s.readahead_wasted));
}
