/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pending zeroes against a model that knows each block by itself.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fs/raw/pending.h"
#include "seed.h"
#include "tests/unit/test.h"

#define BLOCKS 64u
#define MAX 48u
#define STEPS 50000

enum { NONE, UNSENT, FAILED, SENT, COVERED, DONE, FLUSHED };

struct block {
  int state;
  bool keep, sent_keep, again;
  uint64_t order; /* of the oldest zero in it; in the list it may be less */
  int error;
};

/* Something that covers a few blocks. */
struct span {
  struct iomap_range range;
  bool used;
  bool keep;
  bool doubtful; /* since it was sent */
};

#define SPANS 8u

struct model {
  struct rng rng;
  struct pending p;
  struct block blocks[BLOCKS];
  struct span sent[SPANS], writing[SPANS], zeroing[SPANS];
  uint64_t now;
};

static uint64_t
below (struct model *m, uint64_t n)
{
  return rng_below (&m->rng, n);
}

static void
choose (struct model *m, uint64_t *start, uint64_t *end)
{
  *start = below (m, BLOCKS);
  *end = *start + 1 + below (m, below (m, 8) ? 6 : BLOCKS);
  if (*end > BLOCKS)
    *end = BLOCKS;
}

static struct span *
find_span (struct model *m, struct span *spans, bool used)
{
  unsigned i, first = (unsigned) below (m, SPANS);

  for (i = 0; i < SPANS; i++)
    if (spans[(first + i) % SPANS].used == used)
      return &spans[(first + i) % SPANS];
  return NULL;
}

static bool
any_overlap (const struct span *spans, uint64_t start, uint64_t end)
{
  unsigned i;

  for (i = 0; i < SPANS; i++)
    if (spans[i].used && spans[i].range.start < end &&
        start < spans[i].range.end)
      return true;
  return false;
}

/* --- is it what the model says? --- */

static int
state_of (struct model *m, const struct pending_zero *x)
{
  switch (x->state) {
  case PENDING_UNSENT: return x->error ? FAILED : UNSENT;
  case PENDING_SENT: return SENT;
  case PENDING_COVERED: return COVERED;
  case PENDING_DONE: return x->queue == &m->p.done ? DONE : FLUSHED;
  }
  return NONE;
}

static void
check (struct model *m)
{
  const struct pending_zero *x;
  uint64_t pos = 0, bytes = 0, done = 0, since = UINT64_MAX, length, n;
  size_t count = 0;
  bool keep = false;

  while ((x = pending_from (&m->p, pos)) != NULL) {
    for (; pos < x->start; pos++)
      assert_int_equal (m->blocks[pos].state, NONE);
    assert_true (x->start < x->end && x->end <= BLOCKS);
    for (; pos < x->end; pos++) {
      assert_int_equal (m->blocks[pos].state, state_of (m, x));
      assert_int_equal (m->blocks[pos].keep, x->keep);
      assert_int_equal (m->blocks[pos].error, x->error);
      assert_true (x->order <= m->blocks[pos].order);
    }
    count++;
    if (state_of (m, x) == UNSENT && x->order > m->p.wanted)
      since = x->since < since ? x->since : since;
    bytes += x->end - x->start;
    done += x->state == PENDING_DONE ? x->end - x->start : 0;
  }
  for (; pos < BLOCKS; pos++)
    assert_int_equal (m->blocks[pos].state, NONE);
  assert_int_equal (m->p.count, count);
  assert_true (pending_since (&m->p) == since);
  assert_int_equal (m->p.bytes, bytes);
  assert_int_equal (m->p.done_bytes, done);
  assert_true (count <= MAX + 64);

  pos = below (m, BLOCKS);
  n = length = 1 + below (m, BLOCKS - pos);
  if (pending_at (&m->p, pos, &length, &keep))
    assert_int_equal (m->blocks[pos].keep, keep);
  else
    assert_int_equal (m->blocks[pos].state, NONE);
  assert_true (length > 0 && length <= n);
}

/* --- what happens --- */

static void
zero (struct model *m)
{
  struct span *span = find_span (m, m->zeroing, false);
  bool keep = below (m, 2);
  uint64_t i;

  if (span == NULL)
    return;
  choose (m, &span->range.start, &span->range.end);
  if (!pending_add (&m->p, &span->range, keep, ++m->now)) {
    assert_true (m->p.count > MAX / 3);
    return;
  }
  span->used = true;
  for (i = span->range.start; i < span->range.end; i++) {
    struct block *b = &m->blocks[i];

    if (b->state == NONE ||
        ((b->state == DONE || b->state == FLUSHED) && b->keep != keep))
      *b = (struct block) { .state = UNSENT, .order = m->p.order };
    b->again |= b->state == COVERED;
    b->keep = keep;
  }
}

static void
zero_ends (struct model *m)
{
  struct span *span = find_span (m, m->zeroing, true);

  if (span == NULL)
    return;
  pending_added (&m->p, &span->range);
  span->used = false;
}

/* Has something been zeroed since it was taken? */
static bool
is_added (struct model *m, uint64_t start, uint64_t end)
{
  unsigned i;

  for (i = 0; i < m->p.nr_added && i < PENDING_ADDED; i++)
    if (m->p.added[i].start < end && start < m->p.added[i].end)
      return true;
  return m->p.nr_added > PENDING_ADDED;
}

/* Data is written; perhaps a zero comes in between. */
static void
map (struct model *m)
{
  struct span *span = find_span (m, m->writing, false);
  bool ok, taken = below (m, 4), firm = false, sure = false;
  uint64_t start, end, i;

  choose (m, &start, &end);
  if (span == NULL || any_overlap (m->writing, start, end))
    return;
  if (taken) {
    pending_take (&m->p);
    for (i = below (m, 3); i > 0; i--)
      zero (m);
    for (i = below (m, 3); i > 0; i--)
      zero_ends (m);
    firm = is_added (m, start, end) || any_overlap (m->zeroing, start, end);
  }
  for (i = start; i < end; i++) {
    const struct block *b = &m->blocks[i];

    firm |= b->state == SENT || b->state == COVERED ||
            (b->state == UNSENT && b->order <= m->p.wanted) ||
            (!taken && (b->state == UNSENT || b->state == FAILED));
    sure |= b->state == UNSENT || b->state == SENT || b->state == COVERED ||
            b->state == FAILED;
  }
  ok = pending_map (&m->p, start, end, taken);
  assert_false (ok && firm);
  assert_true (ok || sure || firm || m->p.count >= MAX);
  if (!ok)
    return;
  span->range = (struct iomap_range) { .start = start, .end = end };
  span->used = true;
  span->doubtful = false;
  for (i = start; i < end; i++) {
    struct block *b = &m->blocks[i];

    if (b->state == DONE || b->state == FLUSHED)
      b->order = m->p.order;
    if (b->state != NONE) {
      b->state = COVERED;
      b->again = false;
      b->error = 0;
    }
  }
}

static void
written (struct model *m)
{
  struct span *span = find_span (m, m->writing, true);
  int error = below (m, 3) ? 0 : -EIO;
  bool again, expected = false;
  uint64_t i;

  if (span == NULL)
    return;
  again = pending_written (&m->p, span->range.start, span->range.end, error);
  span->used = false;
  for (i = span->range.start; i < span->range.end; i++)
    if (m->blocks[i].state == COVERED) {
      m->blocks[i].state = UNSENT;
      if (!error && !span->doubtful && !m->blocks[i].again)
        m->blocks[i] = (struct block) { 0 };
      else
        expected = true;
    }
  assert_int_equal (again, expected);
}

static void
want (struct model *m)
{
  uint64_t start = 0, end = UINT64_MAX, i, ticket;
  bool undone = false, failed = false;
  int r;

  if (below (m, 2))
    choose (m, &start, &end);
  ticket = pending_want (&m->p, start, end);
  for (i = start; i < end && i < BLOCKS; i++) {
    struct block *b = &m->blocks[i];

    if (b->state == FAILED)
      *b =
        (struct block) { .state = UNSENT, .keep = b->keep, .order = b->order };
  }
  if (below (m, 4) == 0)
    zero (m);
  r = pending_settled (&m->p, start, end, ticket);
  for (i = start; i < end && i < BLOCKS; i++) {
    const struct block *b = &m->blocks[i];

    undone |= (b->state == UNSENT || b->state == SENT || b->state == COVERED) &&
              b->order <= ticket;
    failed |= b->state == FAILED && b->order <= ticket;
  }
  if (undone)
    assert_int_equal (r, -EAGAIN);
  else if (failed)
    assert_true (r == -EAGAIN || r == -EIO || r == -ENOSPC);
}

static void
send (struct model *m)
{
  struct span *span = find_span (m, m->sent, false);
  uint64_t start, end, i;
  bool keep;

  if (span == NULL ||
      !pending_next (&m->p, 1 + below (m, BLOCKS), &start, &end, &keep))
    return;
  assert_false (any_overlap (m->writing, start, end));
  assert_false (any_overlap (m->sent, start, end));
  *span = (struct span) { .range = { .start = start, .end = end },
                          .used = true,
                          .keep = keep };
  for (i = start; i < end; i++) {
    assert_int_equal (m->blocks[i].state, UNSENT);
    assert_int_equal (m->blocks[i].keep, keep);
    m->blocks[i].state = SENT;
    m->blocks[i].sent_keep = keep;
  }
}

static void
sent (struct model *m)
{
  static const int errors[] = { 0, 0, 0, -EIO, -ENOSPC, -EAGAIN };
  struct span *span = find_span (m, m->sent, true);
  int error = errors[below (m, 6)];
  uint64_t i;

  if (span == NULL)
    return;
  span->used = false;
  for (i = span->range.start; i < span->range.end; i++) {
    struct block *b = &m->blocks[i];

    b->state = error == 0 && b->keep == b->sent_keep ? DONE : UNSENT;
    if (error == -ENOSPC && b->keep)
      b->keep = false;
    else if (error == -EIO || error == -ENOSPC) {
      b->state = FAILED;
      b->error = error;
    }
  }
  pending_sent (&m->p, span->range.start, span->range.end, span->keep, error);
}

static void
change_all (struct model *m, int from, int to)
{
  unsigned i;

  for (i = 0; i < BLOCKS; i++)
    if (m->blocks[i].state == from) {
      m->blocks[i].state = to;
      m->blocks[i].error = 0;
      if (to == NONE)
        m->blocks[i] = (struct block) { 0 };
    }
}

static void
flush (struct model *m)
{
  unsigned i;

  switch (below (m, 8)) {
  case 0:
    pending_flush_end (&m->p, -EIO);
    change_all (m, DONE, UNSENT);
    change_all (m, FLUSHED, UNSENT);
    for (i = 0; i < SPANS; i++)
      m->writing[i].doubtful = true;
    break;
  case 1:
    pending_lost (&m->p);
    change_all (m, DONE, UNSENT);
    change_all (m, FLUSHED, UNSENT);
    for (i = 0; i < SPANS; i++)
      m->writing[i].doubtful = true;
    break;
  case 2:
    pending_retry (&m->p);
    change_all (m, FAILED, UNSENT);
    break;
  case 3:
    pending_flush_begin (&m->p);
    change_all (m, DONE, FLUSHED);
    break;
  case 4:
    pending_flush_end (&m->p, 0);
    change_all (m, FLUSHED, NONE);
    break;
  }
}

static void
step (struct model *m)
{
  switch (below (m, 10)) {
  case 0:
  case 1: zero (m); break;
  case 2: zero_ends (m); break;
  case 3: map (m); break;
  case 4: written (m); break;
  case 5: want (m); break;
  case 6:
  case 7: send (m); break;
  case 8: sent (m); break;
  case 9: flush (m); break;
  }
  check (m);
}

TEST (model)
{
  struct model m = { .rng = test_rng ("pending") };
  unsigned i;

  assert_true (pending_init (&m.p, MAX));
  for (i = 0; i < STEPS; i++)
    step (&m);
  for (i = 0; i < SPANS; i++)
    if (m.writing[i].used)
      pending_written (&m.p, m.writing[i].range.start, m.writing[i].range.end,
                       0);
  pending_destroy (&m.p);
}

RUN_TESTS ()
