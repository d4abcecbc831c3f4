/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test, first half: one thread a connection.
 *
 * The disk is cut at odd places into segments, and each segment belongs
 * to one thread, which alone changes it; so its content is known exactly
 * although neighbours, who share sectors, pages and folios with it, are
 * changed at the same time.  Everybody reads everything: the answer
 * counts wherever a segment was not being changed meanwhile, which its
 * version tells (a sequence count: odd while a change is in flight).
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

struct segment {
  uint64_t start, end; /* bytes on the disk */
  unsigned owner;
  pthread_mutex_t lock; /* version; the image's bytes if odd */
  uint64_t version;
};

struct division {
  struct segment *segments;
  size_t n;
};

struct worker {
  struct oracle *oracle;
  struct division *division;
  unsigned connection;
  uint64_t seed; /* of the phase */
  uint64_t ops;
  struct rng rng;
  struct request req;
  uint8_t *expected;  /* max_len bytes */
  uint64_t *versions; /* of each segment, when asked */
};

/* The length of the next segment.  Some come in crowds of tiny ones, so
 * that several owners meet in one sector.
 */
static uint64_t
segment_length (struct rng *rng, uint64_t max, unsigned *crowd)
{
  if (*crowd == 0 && rng_chance (rng, 10))
    *crowd = 16;
  if (*crowd > 0) {
    --*crowd;
    return 1 + rng_below (rng, 1500);
  }
  return rng_log (rng, max);
}

static void
divide (struct division *division, const struct oracle *oracle, uint64_t seed)
{
  struct rng rng = { seed };
  uint64_t size = oracle->target.size, at = 0;
  size_t room = 0;
  unsigned crowd = 0;

  division->n = 0;
  division->segments = NULL;
  while (at < size) {
    struct segment *segment;

    if (division->n == room) {
      room = 2 * room + 64;
      division->segments =
        realloc (division->segments, room * sizeof *division->segments);
      if (division->segments == NULL)
        die ("out of memory");
    }
    segment = &division->segments[division->n++];
    segment->start = at;
    at += segment_length (&rng, 2 * oracle->max_len, &crowd);
    segment->end = at < size ? at : size;
    segment->owner = (unsigned) rng_below (&rng, oracle->target.n);
    segment->version = 0;
  }
}

/* The segment that holds the byte at offset. */
static size_t
find_segment (const struct division *division, uint64_t offset)
{
  size_t low = 0, high = division->n;

  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;

    if (division->segments[middle].start <= offset)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Remember what the disk must hold where nobody is changing it. */
static void
snapshot (struct worker *w, const struct op *op)
{
  struct division *d = w->division;
  uint64_t end = op->offset + op->length;
  size_t i;

  for (i = find_segment (d, op->offset); i < d->n && d->segments[i].start < end;
       i++) {
    struct segment *s = &d->segments[i];
    uint64_t from = s->start > op->offset ? s->start : op->offset;
    uint64_t to = s->end < end ? s->end : end;

    pthread_mutex_lock (&s->lock);
    w->versions[i] = s->version;
    if (s->version % 2 == 0)
      memcpy (w->expected + (from - op->offset), w->oracle->image.bytes + from,
              to - from);
    pthread_mutex_unlock (&s->lock);
  }
}

static bool
unchanged (struct worker *w, size_t i)
{
  struct segment *s = &w->division->segments[i];
  bool same;

  pthread_mutex_lock (&s->lock);
  same = s->version % 2 == 0 && s->version == w->versions[i];
  pthread_mutex_unlock (&s->lock);
  return same;
}

/* Check the answer in runs of segments that stayed as they were. */
static void
check (struct worker *w)
{
  const struct op *op = &w->req.op;
  struct division *d = w->division;
  uint64_t end = op->offset + op->length;
  size_t i = find_segment (d, op->offset);

  while (i < d->n && d->segments[i].start < end) {
    uint64_t from = d->segments[i].start, to;

    from = from > op->offset ? from : op->offset;
    for (to = from; i < d->n && to < end && unchanged (w, i); i++)
      to = d->segments[i].end < end ? d->segments[i].end : end;
    if (to > from)
      oracle_check_answer (w->oracle, &w->req, from,
                           w->expected + (from - op->offset), to - from);
    if (to < end)
      i++;
  }
}

static void
ask (struct worker *w)
{
  const struct op *op = &w->req.op;

  if (op->kind == OP_READ || op->kind == OP_EXTENTS)
    snapshot (w, op);
  if (op->kind == OP_READ)
    memset (w->req.buf, 0xee, op->length);
  history_begin (&w->oracle->image.history, &w->req.op);
  request_run (&w->oracle->target, &w->req);
  history_end (&w->oracle->image.history, &w->req.op);
  if (w->req.error) {
    oracle_refused (w->oracle, &w->req);
    return;
  }
  if (op->kind == OP_EXTENTS)
    oracle_check_extents_shape (w->oracle, &w->req);
  if (op->kind == OP_READ || op->kind == OP_EXTENTS)
    check (w);
}

static void
change (struct worker *w, struct segment *s)
{
  struct op *op = &w->req.op;

  if (op->kind == OP_WRITE)
    op_content (op, op->offset, w->req.buf, op->length);
  pthread_mutex_lock (&s->lock);
  s->version++;
  pthread_mutex_unlock (&s->lock);

  history_begin (&w->oracle->image.history, op);
  request_run (&w->oracle->target, &w->req);
  history_end (&w->oracle->image.history, op);

  pthread_mutex_lock (&s->lock);
  if (!w->req.error)
    image_apply (&w->oracle->image, op);
  s->version++;
  pthread_mutex_unlock (&s->lock);
  if (w->req.error && !oracle_declined (&w->req))
    oracle_refused (w->oracle, &w->req);
}

/* A segment of one's own: any, or one where the others are at work now
 * too, or a big one.
 */
static struct segment *
pick_segment (struct worker *w, uint64_t turn)
{
  struct division *d = w->division;
  uint64_t what = rng_below (&w->rng, 100);
  size_t i, n;

  if (what < 40)
    i = mix64 (w->seed + turn / 64) % d->n;
  else if (what < 70)
    i = rng_below (&w->rng, d->n);
  else
    i = find_segment (d, rng_below (&w->rng, w->oracle->target.size));
  for (n = 0; n < d->n; n++, i++)
    if (d->segments[i % d->n].owner == w->connection)
      return &d->segments[i % d->n];
  return NULL;
}

static void
one_turn (struct worker *w, uint64_t turn)
{
  struct oracle *oracle = w->oracle;
  struct segment *s = pick_segment (w, turn);
  bool modify = s && rng_chance (&w->rng, ORACLE_MODIFY_PERCENT);
  uint64_t from = 0, to = oracle->target.size;

  if (s && (modify || rng_chance (&w->rng, 30))) {
    from = s->start;
    to = s->end;
  }
  else if (s && rng_chance (&w->rng, 50)) {
    from = s->start > 10000 ? s->start - 10000 : 0;
    to = s->end + 10000 < to ? s->end + 10000 : to;
  }
  oracle_pick (oracle, &w->rng, modify, from, to, &w->req.op);
  w->req.op.connection = (uint16_t) w->connection;
  if (modify)
    change (w, s);
  else
    ask (w);
  atomic_fetch_add (&oracle->done, 1);
}

static void *
run_worker (void *opaque)
{
  struct worker *w = opaque;
  uint64_t turn;

  for (turn = 0; oracle_goes_on (w->oracle, turn, w->ops); turn++)
    one_turn (w, turn);
  return NULL;
}

static void
worker_init (struct worker *w, struct oracle *oracle, struct division *division,
             unsigned connection, uint64_t seed)
{
  memset (w, 0, sizeof *w);
  w->oracle = oracle;
  w->division = division;
  w->connection = connection;
  w->seed = seed;
  w->rng.state = mix64 (seed + connection + 1);
  w->req.buf = xcalloc (oracle->max_len, 1);
  w->expected = xcalloc (oracle->max_len, 1);
  w->versions = xcalloc (division->n, sizeof *w->versions);
}

static void
worker_free (struct worker *w)
{
  request_clear (&w->req);
  free (w->req.buf);
  free (w->expected);
  free (w->versions);
}

void
oracle_run_threads (struct oracle *oracle, uint64_t seed, uint64_t ops)
{
  struct division division;
  struct worker workers[MAX_CONNECTIONS];
  pthread_t threads[MAX_CONNECTIONS];
  unsigned i, n = oracle->target.n;
  size_t j;

  divide (&division, oracle, seed);
  for (j = 0; j < division.n; j++)
    pthread_mutex_init (&division.segments[j].lock, NULL);
  for (i = 0; i < n; i++) {
    worker_init (&workers[i], oracle, &division, i, seed);
    workers[i].ops = ops ? ops / n + 1 : 0;
    if (pthread_create (&threads[i], NULL, run_worker, &workers[i]) != 0)
      die ("pthread_create failed");
  }
  for (i = 0; i < n; i++) {
    pthread_join (threads[i], NULL);
    worker_free (&workers[i]);
  }
  for (j = 0; j < division.n; j++)
    pthread_mutex_destroy (&division.segments[j].lock);
  free (division.segments);
}
