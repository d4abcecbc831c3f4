/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes and trims that are not durable yet.
 */

#include <stdlib.h>

#include "fs/raw/pending-impl.h"

/* Ranges that can't be added, for what is cut in two. */
#define RESERVE 64

bool
pending_init (struct pending *p, size_t max)
{
  size_t i;

  *p = (struct pending) { .max = max, .order = 1 };
  RB_INIT (&p->tree);
  TAILQ_INIT (&p->active);
  TAILQ_INIT (&p->failed);
  TAILQ_INIT (&p->done);
  TAILQ_INIT (&p->flushed);
  TAILQ_INIT (&p->unused);
  p->nodes = calloc (max + RESERVE, sizeof *p->nodes);
  if (p->nodes == NULL)
    return false;
  for (i = 0; i < max + RESERVE; i++)
    TAILQ_INSERT_TAIL (&p->unused, &p->nodes[i], entry);
  return true;
}

void
pending_destroy (struct pending *p)
{
  struct pending_write *write;

  while ((write = p->spare) != NULL) {
    p->spare = write->next;
    free (write);
  }
  free (p->nodes);
}

/* --- ranges that something is done to --- */

static bool
overlap (const struct iomap_range *r, uint64_t start, uint64_t end)
{
  return r->start < end && start < r->end;
}

static struct iomap_range *
find_range (struct iomap_range *r, uint64_t start, uint64_t end)
{
  while (r && !overlap (r, start, end))
    r = r->next;
  return r;
}

static void
link_range (struct iomap_range **list, struct iomap_range *r)
{
  r->next = *list;
  *list = r;
}

static void
unlink_range (struct iomap_range **list, const struct iomap_range *r)
{
  while (*list != r)
    list = &(*list)->next;
  *list = r->next;
}

/* --- zeroes --- */

/* Can a zero that comes now become a part of it? */
static bool
can_grow (const struct pending *p, const struct pending_zero *x, bool keep)
{
  return x->state == PENDING_UNSENT && x->error == 0 && x->keep == keep &&
         !pending_is_wanted (p, x);
}

/* Nothing is in [start, end). */
static void
fill_gap (struct pending *p, uint64_t start, uint64_t end, bool keep,
          uint64_t now)
{
  struct pending_zero *left =
    start > 0 ? pending_reaching (p, start - 1) : NULL;
  struct pending_zero *right = pending_reaching (p, start);
  struct pending_zero zero = {
    .start = start,
    .end = end,
    .order = p->order,
    .since = now,
    .state = PENDING_UNSENT,
    .keep = keep,
  };

  if (left && (left->end != start || !can_grow (p, left, keep)))
    left = NULL;
  if (right && (right->start != end || !can_grow (p, right, keep)))
    right = NULL;
  if (left && right)
    pending_join (p, left, right);
  else if (left || right) {
    pending_count (p, &zero, end - start);
    if (left)
      left->end = end;
    else
      right->start = start;
  }
  else {
    pending_count (p, &zero, end - start);
    pending_enqueue (p, pending_new (p, &zero), &p->active);
  }
}

/* Is it done, but of the other kind? */
static bool
is_other (const struct pending_zero *x, bool keep)
{
  return x->state == PENDING_DONE && x->keep != keep;
}

/* Make the part of x that is in [start, end) of this kind; or have it go, if it
 * is DONE, and something else.
 */
static void
change_kind (struct pending *p, struct pending_zero *x, uint64_t start,
             uint64_t end, bool keep)
{
  if (x->keep == keep)
    return;
  x = pending_split_off (p, x, start, end);
  if (x->state == PENDING_DONE)
    pending_drop (p, x);
  else
    x->keep = keep;
}

/* What data has gone over is to be zeroed after it. */
static void
zero_again (struct pending *p, struct pending_zero *x, uint64_t start,
            uint64_t end)
{
  if (x->state != PENDING_COVERED)
    return;
  x = pending_split_off (p, x, start, end);
  x->again = true;
}

/* How many gaps there would be to fill. */
static size_t
count_gaps (struct pending *p, uint64_t start, uint64_t end, bool keep)
{
  const struct pending_zero *x = pending_first_in (p, start, end);
  size_t n = 1;

  for (; x; x = pending_next_in ((struct pending_zero *) x, end))
    n += 1 + is_other (x, keep);
  return n;
}

bool
pending_add (struct pending *p, struct iomap_range *zeroing, bool keep,
             uint64_t now)
{
  uint64_t pos = zeroing->start, end = zeroing->end;
  struct pending_zero *x, *next;

  /* Two more where the kind changes within one, or data has gone over it. */
  if (p->count + count_gaps (p, pos, end, keep) + 4 > p->max)
    return false;
  p->order++;
  p->newest = now;
  for (x = pending_first_in (p, pos, end); x; x = next) {
    next = pending_next_in (x, end);
    zero_again (p, x, pos, end);
  }
  for (x = pending_first_in (p, pos, end); x; x = next) {
    next = pending_next_in (x, end);
    change_kind (p, x, pos, end, keep);
  }
  while (pos < end) {
    x = pending_first_in (p, pos, end);
    if (x == NULL || x->start > pos)
      fill_gap (p, pos, x ? x->start : end, keep, now);
    x = pending_reaching (p, pos);
    pos = x->end;
  }
  link_range (&p->zeroing, zeroing);
  return true;
}

bool
pending_added (struct pending *p, struct iomap_range *zeroing)
{
  bool refused = p->refused;

  unlink_range (&p->zeroing, zeroing);
  p->refused = false;
  if (p->taking && p->nr_added < PENDING_ADDED)
    p->added[p->nr_added] =
      (struct pending_added) { zeroing->start, zeroing->end };
  if (p->taking && p->nr_added <= PENDING_ADDED)
    p->nr_added++;
  return refused;
}

bool
pending_at (struct pending *p, uint64_t pos, uint64_t *length, bool *keep)
{
  const struct pending_zero *x = pending_first_in (p, pos, pos + *length);

  if (x == NULL)
    return false;
  if (x->start > pos) {
    *length = x->start - pos;
    return false;
  }
  *length = min_u64 (*length, x->end - pos);
  *keep = x->keep;
  return true;
}

bool
pending_in (struct pending *p, uint64_t start, uint64_t end)
{
  return p->written || p->flushing || pending_first_in (p, start, end) != NULL;
}

/* --- data --- */

/* Must data that was there before not be mapped now? */
static bool
stands_firm (const struct pending *p, const struct pending_zero *x, bool taken)
{
  return x->state == PENDING_SENT || x->state == PENDING_COVERED ||
         pending_is_wanted (p, x) || (x->state == PENDING_UNSENT && !taken);
}

static bool
is_firm (struct pending *p, uint64_t start, uint64_t end, bool taken)
{
  struct pending_zero *x = pending_first_in (p, start, end);

  while (x && !stands_firm (p, x, taken))
    x = pending_next_in (x, end);
  return x != NULL;
}

void
pending_take (struct pending *p)
{
  p->taking = true;
  p->nr_added = 0;
}

/* Has some of [start, end) been zeroed since it was taken, or is it being? */
static bool
is_overtaken (struct pending *p, uint64_t start, uint64_t end)
{
  unsigned i;

  if (find_range (p->zeroing, start, end)) {
    p->refused = true;
    return true;
  }
  p->overtaken = p->nr_added > PENDING_ADDED;
  for (i = 0; i < p->nr_added && i < PENDING_ADDED; i++)
    if (p->added[i].start < end && start < p->added[i].end)
      p->overtaken = true;
  return p->overtaken;
}

/* How many nodes does it take to tell [start, end) apart? */
static unsigned
nr_cuts (struct pending *p, uint64_t start, uint64_t end)
{
  const struct pending_zero *first = pending_first_in (p, start, end);
  const struct pending_zero *last = pending_first_in (p, end - 1, end);

  return (first && first->start < start) + (last && last->end > end);
}

/* Are there so many, two at most? */
static bool
has_nodes (const struct pending *p, unsigned n)
{
  return n == 0 || (n == 1 ? !TAILQ_EMPTY (&p->unused) : pending_has_nodes (p));
}

/* Data goes to [start, end).  There are nodes for it.  What is done need not be
 * waited for any more: who waits for it flushes the zero, whatever becomes of the data.
 */
static void
cover (struct pending *p, uint64_t start, uint64_t end)
{
  struct pending_zero *x, *next;

  p->order++;
  for (x = pending_first_in (p, start, end); x; x = next) {
    next = pending_next_in (x, end);
    x = pending_split_off (p, x, start, end);
    if (x->state == PENDING_DONE) {
      p->nr_done--;
      p->done_bytes -= x->end - x->start;
      pending_dequeue (p, x);
      x->order = p->order;
      x->since = p->newest;
      pending_enqueue (p, x, &p->active);
    }
    else if (x->error) {
      pending_dequeue (p, x);
      pending_enqueue_first (p, x);
    }
    x->state = PENDING_COVERED;
    x->again = x->awaited = false;
  }
}

int
pending_stuck (const struct pending *p)
{
  const struct pending_zero *x = TAILQ_FIRST (&p->failed);

  return x ? x->error : p->flush_error;
}

static struct pending_write *
get_write (struct pending *p)
{
  struct pending_write *write = p->spare;

  if (write == NULL)
    return malloc (sizeof *write);
  p->spare = write->next;
  return write;
}

bool
pending_map (struct pending *p, uint64_t start, uint64_t end, bool taken)
{
  struct pending_write *write;

  p->overtaken = p->full = p->starved = false;
  if ((taken && is_overtaken (p, start, end)) || is_firm (p, start, end, taken))
    return false;
  if (!has_nodes (p, nr_cuts (p, start, end))) {
    p->full = true;
    p->overtaken = p->unwanted != NULL;
    pending_want_all (p); /* to have some */
    return false;
  }
  write = get_write (p);
  p->starved = write == NULL;
  if (p->starved)
    return false;
  *write = (struct pending_write) {
    .start = start,
    .end = end,
    .doubts = p->doubts,
    .taken = taken,
    .next = p->writing,
  };
  p->writing = write;
  cover (p, start, end);
  return true;
}

bool
pending_written (struct pending *p, uint64_t start, uint64_t end, int error)
{
  struct pending_write **link = &p->writing, *write;
  struct pending_zero *x, *next;
  bool again = false;

  while ((*link)->start != start)
    link = &(*link)->next;
  write = *link;
  *link = write->next;
  write->next = p->spare;
  p->spare = write;
  for (x = pending_first_in (p, start, end); x; x = next) {
    next = pending_next_in (x, end);
    if (x->state != PENDING_COVERED)
      continue;
    if (error || write->doubts != p->doubts || x->again) {
      x->state = PENDING_UNSENT;
      again = true;
      if (x->awaited) {
        pending_dequeue (p, x);
        pending_enqueue_first (p, x);
      }
    }
    else {
      pending_drop (p, x);
      p->written |= !write->taken;
    }
  }
  return again;
}
