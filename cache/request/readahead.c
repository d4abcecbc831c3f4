/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Readahead policy, see readahead.h.
 *
 * A stream is a place where requests have been seen to go forward.  Once it is
 * trusted it has a window, the pages it read ahead last:
 *
 *           start            ahead
 *   ----------|----------------|--------->
 *    requests  marker
 *
 * Coming into the window, by hitting its marker or by missing there because it
 * is still being read, makes the next one, twice as large.  So there are
 * always between one and two windows before the reader.
 *
 * Requests of one connection run side by side and come in any order; so a
 * request near the place where a stream is expected counts for it, only less
 * than one that is exactly there.
 */

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "fs/num.h"
#include "cache/request/readahead.h"

#define NR_STREAMS 16
#define MIN_WINDOW 4
#define TRUST 2       /* score at which a stream is read ahead */
#define TRUST_LESS 8  /* the same while most of what is read ahead is wasted */
#define SLACK 4       /* how near is near, in sizes of the request */
#define TRAIL 16      /* how far behind one request can be, the same */
#define ALIGN_MAX 512 /* pages; windows end at places good for large folios */
#define EPOCH 256     /* pages of feedback after which it is judged */

struct stream {
  uint64_t next;  /* page where the next request is expected */
  uint64_t start; /* the window, none if start == ahead */
  uint64_t ahead;
  uint64_t size; /* wanted of the last window */
  uint64_t used; /* by the clock; 0: never */
  unsigned score;
};

struct readahead {
  pthread_mutex_t lock; /* a leaf; protects all below */
  struct stream streams[NR_STREAMS];
  uint64_t clock; /* calls */
  uint64_t max_pages;
  uint64_t limit;              /* largest window now */
  uint64_t nr_wasted, nr_used; /* in this epoch */
};

struct readahead *
readahead_create (uint64_t max_pages)
{
  struct readahead *ra = calloc (1, sizeof *ra);

  if (ra == NULL)
    return NULL;
  pthread_mutex_init (&ra->lock, NULL);
  ra->max_pages = ra->limit = max_pages;
  return ra;
}

void
readahead_destroy (struct readahead *ra)
{
  if (ra == NULL)
    return;
  pthread_mutex_destroy (&ra->lock);
  free (ra);
}

static uint64_t
distance (uint64_t a, uint64_t b)
{
  return a > b ? a - b : b - a;
}

static bool
has_window (const struct stream *s)
{
  return s->start < s->ahead;
}

static bool
in_window (const struct stream *s, uint64_t page)
{
  return s->start <= page && page < s->ahead;
}

/* Is it a little before the window: a request overtaken by others? */
static bool
in_trail (const struct stream *s, uint64_t page, uint64_t count)
{
  return has_window (s) && page < s->start &&
         s->start - page <= max_u64 (TRAIL * count, 2 * s->size);
}

/* How far page is from where the stream may go on: 0 in its window, or at its
 * next page or the one before, which two requests may share.
 */
static uint64_t
stream_distance (const struct stream *s, uint64_t page)
{
  uint64_t d;

  if (in_window (s, page) || page + 1 == s->next)
    return 0;
  d = distance (page, s->next);
  if (has_window (s))
    d = min_u64 (d, distance (page, s->ahead));
  return d;
}

/* The stream nearest to the request, if one is near. */
static struct stream *
find_stream (struct readahead *ra, uint64_t page, uint64_t count)
{
  struct stream *best = NULL;
  uint64_t d, best_d = SLACK * count + 1;

  for (unsigned i = 0; i < NR_STREAMS; ++i) {
    struct stream *s = &ra->streams[i];

    if (s->used == 0)
      continue;
    d = in_trail (s, page, count) ? 1 : stream_distance (s, page);
    if (d < best_d) {
      best = s;
      best_d = d;
    }
  }
  return best;
}

static void
new_stream (struct readahead *ra, uint64_t next)
{
  struct stream *s = &ra->streams[0];

  for (unsigned i = 1; i < NR_STREAMS; ++i)
    if (ra->streams[i].used < s->used)
      s = &ra->streams[i];
  *s = (struct stream) { .next = next, .used = ra->clock };
}

/* Forget streams that began as another part of this one. */
static void
absorb (struct readahead *ra, const struct stream *s)
{
  for (unsigned i = 0; i < NR_STREAMS; ++i) {
    struct stream *t = &ra->streams[i];

    if (t != s && s->next <= t->next && t->next <= s->ahead)
      t->used = 0;
  }
}

/* The end of a window of about size pages from first, at a place that is
 * good for large folios.
 */
static uint64_t
window_end (uint64_t first, uint64_t size)
{
  uint64_t align = 1, last;

  while (align * 2 <= size && align < ALIGN_MAX)
    align *= 2;
  last = round_down (first + size, align);
  return last > first + size / 2 ? last : first + size;
}

/* Give the stream its next window, from first on. */
static void
advance (struct readahead *ra, struct stream *s, uint64_t first, uint64_t size,
         uint64_t end, struct ra_window *window)
{
  s->size = max_u64 (min_u64 (size, ra->limit), 1);
  s->start = first;
  s->ahead = min_u64 (window_end (first, s->size), end);
  if (s->ahead <= first) {
    s->ahead = first;
    return;
  }
  window->first = window->marker = first;
  window->count = s->ahead - first;
  absorb (ra, s);
}

static bool
trusted (const struct readahead *ra, const struct stream *s)
{
  bool backed_off = ra->limit <= MIN_WINDOW && ra->limit < ra->max_pages;

  return s->score >= (backed_off ? TRUST_LESS : TRUST);
}

/* A request for [first, last) missed, and belongs to the stream. */
static void
stream_miss (struct readahead *ra, struct stream *s, uint64_t first,
             uint64_t last, uint64_t end, struct ra_window *window)
{
  bool exact = first == s->next || first + 1 == s->next;

  s->used = ra->clock;
  s->next = max_u64 (s->next, last);
  if (has_window (s)) {
    /* Before the window it only is late. */
    if (last > s->start)
      advance (ra, s, max_u64 (s->ahead, last), s->size * 2, end, window);
    return;
  }
  s->score += exact ? 2 : 1;
  if (trusted (ra, s))
    advance (ra, s, s->next, max_u64 (4 * (last - first), MIN_WINDOW), end,
             window);
}

void
readahead_set_max (struct readahead *ra, uint64_t max_pages)
{
  pthread_mutex_lock (&ra->lock);
  if (ra->max_pages != max_pages)
    ra->max_pages = ra->limit = max_pages;
  pthread_mutex_unlock (&ra->lock);
}

void
readahead_miss (struct readahead *ra, uint64_t first, uint64_t count,
                uint64_t end, struct ra_window *window)
{
  struct stream *s;

  *window = (struct ra_window) { 0 };
  if (ra->max_pages == 0 || count == 0)
    return;

  pthread_mutex_lock (&ra->lock);
  ++ra->clock;
  s = find_stream (ra, first, min_u64 (count, ra->max_pages));
  if (s)
    stream_miss (ra, s, first, first + count, end, window);
  else
    new_stream (ra, first + count);
  pthread_mutex_unlock (&ra->lock);
}

void
readahead_marker (struct readahead *ra, uint64_t page, uint64_t end,
                  struct ra_window *window)
{
  *window = (struct ra_window) { 0 };
  if (ra->max_pages == 0)
    return;

  pthread_mutex_lock (&ra->lock);
  ++ra->clock;
  for (unsigned i = 0; i < NR_STREAMS; ++i) {
    struct stream *s = &ra->streams[i];

    /* Not in it: the marker of an older window, or of a forgotten stream. */
    if (s->used == 0 || !in_window (s, page))
      continue;
    s->used = ra->clock;
    s->next = max_u64 (s->next, page + 1);
    advance (ra, s, s->ahead, s->size * 2, end, window);
    break;
  }
  pthread_mutex_unlock (&ra->lock);
}

/* Halve the windows when more than a quarter of what was read ahead was
 * wasted, let them grow again when it is less than a sixteenth.
 */
static void
judge (struct readahead *ra)
{
  uint64_t total = ra->nr_wasted + ra->nr_used;

  if (ra->nr_wasted > total / 4)
    ra->limit = max_u64 (ra->limit / 2, min_u64 (MIN_WINDOW, ra->max_pages));
  else if (ra->nr_wasted <= total / 16)
    ra->limit = min_u64 (ra->limit * 2, ra->max_pages);
  ra->nr_wasted = ra->nr_used = 0;
}

void
readahead_feedback (struct readahead *ra, uint64_t wasted, uint64_t used)
{
  if (ra->max_pages == 0)
    return;

  pthread_mutex_lock (&ra->lock);
  ra->nr_wasted += wasted;
  ra->nr_used += used;
  if (ra->nr_wasted + ra->nr_used >= EPOCH)
    judge (ra);
  pthread_mutex_unlock (&ra->lock);
}
