/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Answers, for people to read.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "folioctl/conn.h"
#include "folioctl/show.h"

#define BAR 40 /* letters */

const char *
show_bytes (char *buf, double bytes)
{
  static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
  unsigned i;

  for (i = 0; i < 5 && bytes >= 1023.5; i++)
    bytes /= 1024;
  snprintf (buf, SHOWN_MAX, "%.*f %s", i > 0 && bytes < 9.95, bytes, units[i]);
  return buf;
}

const char *
show_seconds (char *buf, double seconds, bool known)
{
  if (!known)
    snprintf (buf, SHOWN_MAX, "?");
  else if (seconds == 0)
    snprintf (buf, SHOWN_MAX, "0 s");
  else if (seconds < 1e-3)
    snprintf (buf, SHOWN_MAX, "%.3g us", seconds * 1e6);
  else if (seconds < 1)
    snprintf (buf, SHOWN_MAX, "%.3g ms", seconds * 1e3);
  else
    snprintf (buf, SHOWN_MAX, "%.*f s", seconds < 9.95, seconds);
  return buf;
}

/* --- status --- */

static void
line_of_bytes (const char *what, const json_t *disk, const char *key)
{
  char buf[SHOWN_MAX];

  printf ("  %-18s %s\n", what, show_bytes (buf, number_of (disk, key)));
}

static void
show_disk (const json_t *disk)
{
  char a[SHOWN_MAX], b[SHOWN_MAX];
  const char *key;
  json_t *value;

  printf (
    "disk %s: %s%s, store %s, %.0f connections\n", string_of (disk, "disk"),
    show_bytes (a, number_of (disk, "size")),
    json_is_true (json_object_get (disk, "readonly")) ? ", read-only" : "",
    string_of (disk, "store-state"), number_of (disk, "connections"));
  if (string_of (disk, "error")[0])
    printf ("  cannot be written back: %s\n", string_of (disk, "error"));
  line_of_bytes ("dirty", disk, "dirty");
  line_of_bytes ("in write-back", disk, "writeback");
  line_of_bytes ("not flushed", disk, "unstable");
  printf ("  %-18s %s of %s\n", "unsaved in all",
          show_bytes (a, number_of (disk, "unsaved")),
          show_bytes (b, number_of (disk, "limit")));
  printf ("  %-18s %s\n", "a flush takes",
          show_seconds (a, number_of (disk, "flush-time"),
                        is_known (disk, "flush-time")));
  printf ("  %-18s %s\n", "oldest dirty",
          show_seconds (a, number_of (disk, "oldest-dirty"), true));
  printf ("  %-18s", "settings");
  json_object_foreach (json_object_get (disk, "settings"), key, value)
    printf (" %s=%s", key, json_string_value (value));
  putchar ('\n');
}

void
show_status (const json_t *status, const json_t *disks)
{
  char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX];
  json_t *disk;
  size_t i;

  printf ("nbdkit-folio %s, process %.0f, %s for %s; cache %s, %s free\n",
          string_of (status, "version"), number_of (status, "pid"),
          string_of (status, "state"),
          show_seconds (a, number_of (status, "uptime"), true),
          show_bytes (b, number_of (status, "cache-size")),
          show_bytes (c, number_of (status, "cache-free")));
  json_array_foreach (disks, i, disk) show_disk (disk);
}

/* --- stats --- */

static void
show_distribution (const char *name, const json_t *d)
{
  double count = number_of (d, "count"), sum = number_of (d, "sum");
  double max = number_of (d, "max");
  char a[SHOWN_MAX], b[SHOWN_MAX];

  printf ("  %-20s %12.0f", name, count);
  if (count > 0 && strcmp (name, "folios-per-write") == 0)
    printf ("  mean %.1f  max %.0f", sum / count, max);
  else if (count > 0)
    printf ("  mean %s  max %s", show_seconds (a, sum / count / 1e9, true),
            show_seconds (b, max / 1e9, true));
  putchar ('\n');
}

void
show_stats (const json_t *stats)
{
  const char *key;
  json_t *disk, *value;
  size_t i;

  json_array_foreach (json_object_get (stats, "disks"), i, disk)
  {
    printf ("disk %s\n", string_of (disk, "disk"));
    json_object_foreach (json_object_get (disk, "counters"), key, value)
      printf ("  %-20s %12.0f\n", key, json_number_value (value));
    json_object_foreach (json_object_get (disk, "histograms"), key, value)
      show_distribution (key, value);
  }
  printf ("evicted-pages %.0f\nreadahead-wasted %.0f\n",
          number_of (stats, "evicted-pages"),
          number_of (stats, "readahead-wasted"));
}

/* --- progress --- */

static bool on_line; /* of a terminal is a bar */

void
show_progress (const json_t *event)
{
  const json_t *data = json_object_get (event, "data");
  double done = number_of (data, "done"), total = number_of (data, "total");
  double secs = number_of (data, "seconds"), share = 1;
  char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX];
  int n;

  if (strcmp (string_of (event, "event"), "progress") != 0)
    return;
  if (total > 0)
    share = done < total ? done / total : 1;
  show_bytes (a, done);
  show_bytes (b, total);
  show_seconds (c, done > 0 ? secs * (total - done) / done : 0, done > 0);
  if (!isatty (STDOUT_FILENO)) {
    printf ("%s of %s, %s left\n", a, b, c);
    fflush (stdout);
    return;
  }
  n = (int) (share * BAR);
  printf ("\r[%.*s%*s] %3.0f %%  %s of %s, %s left\033[K", n,
          "########################################", BAR - n, "", share * 100,
          a, b, c);
  fflush (stdout);
  on_line = true;
}

void
show_progress_end (void)
{
  if (on_line)
    fputs ("\r\033[K", stdout);
  on_line = false;
}
