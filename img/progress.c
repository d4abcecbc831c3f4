/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How far long work is.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fs/env.h"
#include "img/progress.h"
#include "img/say.h"

#define WIDTH 30u                    /* of the bar, in columns */
#define INTERVAL (NSEC_PER_SEC / 10) /* between two lines */
#define LINE_MAX_BYTES 160

static struct {
  pthread_mutex_t lock; /* of all */
  bool on;
  bool shown; /* there is a line to be cleared */
  uint64_t total, began, last;
} bar = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * NSEC_PER_SEC + (uint64_t) ts.tv_nsec;
}

void
progress_line (char *buf, unsigned len, uint64_t done, uint64_t total,
               uint64_t ns)
{
  double part = done < total ? (double) done / (double) total : 1;
  double seconds = (double) ns / NSEC_PER_SEC;
  double rate = seconds > 0 ? (double) done / seconds : 0;
  unsigned i, full = (unsigned) (part * WIDTH);
  char marks[WIDTH + 1], of[24], speed[24], left[40] = "";

  for (i = 0; i < WIDTH; i++)
    marks[i] = i < full ? '#' : '.';
  marks[WIDTH] = '\0';
  if (rate > 0 && done < total)
    snprintf (left, sizeof left, ", %.0f s left",
              (double) (total - done) / rate);
  snprintf (buf, len, "[%s] %5.1f %% of %s, %s/s%s", marks, part * 100,
            say_size (of, sizeof of, total),
            say_size (speed, sizeof speed, (uint64_t) rate), left);
}

void
progress_begin (uint64_t total, bool quiet)
{
  pthread_mutex_lock (&bar.lock);
  bar.on = !quiet && isatty (STDERR_FILENO);
  bar.total = total;
  bar.began = now ();
  bar.last = 0;
  pthread_mutex_unlock (&bar.lock);
}

void
progress_total (uint64_t total)
{
  pthread_mutex_lock (&bar.lock);
  bar.total = total;
  pthread_mutex_unlock (&bar.lock);
}

void
progress_show (uint64_t done)
{
  char line[LINE_MAX_BYTES];
  uint64_t t;

  pthread_mutex_lock (&bar.lock);
  t = bar.on ? now () : 0;
  if (bar.on && t - bar.last >= INTERVAL) {
    progress_line (line, sizeof line, done, bar.total, t - bar.began);
    fprintf (stderr, "\r\033[K%s", line);
    bar.shown = true;
    bar.last = t;
  }
  pthread_mutex_unlock (&bar.lock);
}

static void
clear (void)
{
  if (bar.shown)
    fputs ("\r\033[K", stderr);
  bar.shown = false;
}

void
progress_clear (void)
{
  pthread_mutex_lock (&bar.lock);
  clear ();
  pthread_mutex_unlock (&bar.lock);
}

void
progress_end (void)
{
  pthread_mutex_lock (&bar.lock);
  clear ();
  bar.on = false;
  pthread_mutex_unlock (&bar.lock);
}
