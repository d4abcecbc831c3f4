/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A screen that shows what all disks do.  On a terminal it is drawn anew each time,
 * q ends it and s sorts by the next column; else each time is some lines.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "folioctl/show.h"
#include "folioctl/top.h"

#define MAX_DISKS 64

/* One disk in one interval. */
struct row {
  const char *name, *state;
  double values[5]; /* what can be sorted by, as in columns */
  double hits;      /* percent; negative: no reads */
  double unsaved, limit, throttled, flush, latency; /* s; flush: negative: ? */
};

static const char *const columns[] = { "reads/s", "read", "writes/s", "written",
                                       "store" };
#define NR_COLUMNS (sizeof columns / sizeof columns[0])

struct screen {
  bool terminal;
  struct termios before;
  unsigned sort; /* column */
};

/* For atexit, which takes nothing. */
static struct screen screen;

static void
restore (void)
{
  tcsetattr (STDIN_FILENO, TCSANOW, &screen.before);
}

static void
prepare (void)
{
  struct termios raw;

  screen.terminal = isatty (STDOUT_FILENO) && isatty (STDIN_FILENO) &&
                    tcgetattr (STDIN_FILENO, &screen.before) == 0;
  if (!screen.terminal)
    return;
  raw = screen.before;
  raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
  atexit (restore);
  tcsetattr (STDIN_FILENO, TCSANOW, &raw);
}

/* --- numbers --- */

/* How much a counter has grown, or a member of a distribution. */
static double
grown (const json_t *now, const json_t *before, const char *group,
       const char *key, const char *member)
{
  const json_t *a = json_object_get (now, group);
  const json_t *b = json_object_get (before, group);

  if (member) {
    a = json_object_get (a, key);
    b = json_object_get (b, key);
    key = member;
  }
  return number_of (a, key) - number_of (b, key);
}

static double
counted (const json_t *now, const json_t *before, const char *key)
{
  return grown (now, before, "counters", key, NULL);
}

static void
fill_row (struct row *row, const json_t *disk, const json_t *now,
          const json_t *before, double seconds)
{
  static const char *const keys[] = { "reads", "read-bytes", "writes",
                                      "write-bytes", "store-write-bytes" };
  double reads = counted (now, before, "reads");
  double writes = grown (now, before, "histograms", "store-write", "count");
  unsigned i;

  for (i = 0; i < NR_COLUMNS; i++)
    row->values[i] = counted (now, before, keys[i]) / seconds;
  row->name = string_of (disk, "disk");
  row->state = string_of (disk, "store-state");
  row->hits = reads > 0 ? 100 *
                            (reads - counted (now, before, "misses") -
                             counted (now, before, "direct-reads")) /
                            reads
                        : -1;
  row->unsaved = number_of (disk, "unsaved");
  row->limit = number_of (disk, "limit");
  row->throttled = number_of (disk, "throttled");
  row->flush =
    is_known (disk, "flush-time") ? number_of (disk, "flush-time") : -1;
  row->latency =
    writes > 0
      ? grown (now, before, "histograms", "store-write", "sum") / writes / 1e9
      : 0;
}

static int
by_column (const void *a, const void *b)
{
  double x = ((const struct row *) a)->values[screen.sort];
  double y = ((const struct row *) b)->values[screen.sort];

  return (x < y) - (x > y);
}

/* --- drawing --- */

static void
print_row (const struct row *r)
{
  char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX], d[SHOWN_MAX], e[SHOWN_MAX],
    f[SHOWN_MAX], g[SHOWN_MAX], hits[8] = "-";

  if (r->hits >= 0)
    snprintf (hits, sizeof hits, "%.0f %%", r->hits);
  printf ("%-12.12s %-7s %8.0f %9s %8.0f %9s %9s %6s %9s %9s %8s %8s %5.0f",
          r->name, r->state, r->values[0], show_bytes (a, r->values[1]),
          r->values[2], show_bytes (b, r->values[3]),
          show_bytes (c, r->values[4]), hits, show_bytes (d, r->unsaved),
          show_bytes (e, r->limit), show_seconds (f, r->flush, r->flush >= 0),
          show_seconds (g, r->latency, true), r->throttled);
  puts (screen.terminal ? "\033[K" : "");
}

static void
print_rows (struct row *rows, size_t n)
{
  struct winsize size = { .ws_row = 24 };
  size_t i;

  if (screen.terminal) {
    ioctl (STDOUT_FILENO, TIOCGWINSZ, &size);
    fputs ("\033[H", stdout);
    if (size.ws_row > 2 && n > size.ws_row - 2u)
      n = size.ws_row - 2u;
  }
  printf ("%-12s %-7s %8s %9s %8s %9s %9s %6s %9s %9s %8s %8s %5s%s\n", "disk",
          "store", columns[0], columns[1], columns[2], columns[3], columns[4],
          "hits", "unsaved", "limit", "flush", "latency", "waits",
          screen.terminal ? "\033[K" : "");
  qsort (rows, n, sizeof *rows, by_column);
  for (i = 0; i < n; i++)
    print_row (&rows[i]);
  if (screen.terminal)
    printf ("\033[J\nby %s; s: another column, q: quit\033[K",
            columns[screen.sort]);
  fflush (stdout);
}

static void
show (const json_t *disks, const json_t *now, const json_t *before,
      double seconds)
{
  struct row rows[MAX_DISKS];
  json_t *disk;
  size_t i, n = 0;

  json_array_foreach (disks, i, disk)
  {
    if (n == MAX_DISKS)
      break;
    fill_row (&rows[n++], disk, json_array_get (now, i),
              json_array_get (before, i), seconds);
  }
  print_rows (rows, n);
}

/* --- time --- */

static double
time_now (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* Returns false if that was the end. */
static bool
wait_until (double end)
{
  struct pollfd fd = { .fd = screen.terminal ? STDIN_FILENO : -1,
                       .events = POLLIN };
  double left;
  char key;

  while ((left = end - time_now ()) > 0) {
    if (poll (&fd, 1, (int) (left * 1000) + 1) <= 0)
      continue;
    if (read (STDIN_FILENO, &key, 1) != 1 || key == 'q')
      return false;
    if (key == 's') {
      screen.sort = (screen.sort + 1) % NR_COLUMNS;
      return true;
    }
  }
  return true;
}

void
top (struct conn *conn, double interval, unsigned count)
{
  json_t *before = conn_run (conn, "query-stats", NULL), *now, *disks;
  double since = time_now ();
  unsigned i;

  prepare ();
  if (screen.terminal)
    fputs ("\033[2J", stdout);
  for (i = 0; (count == 0 || i < count) && wait_until (since + interval); i++) {
    double seconds = time_now () - since;

    since += seconds;
    now = conn_run (conn, "query-stats", NULL);
    disks = conn_run (conn, "query-disks", NULL);
    show (disks, json_object_get (now, "disks"),
          json_object_get (before, "disks"), seconds);
    json_decref (disks);
    json_decref (before);
    before = now;
  }
  json_decref (before);
  if (screen.terminal)
    putchar ('\n');
}
