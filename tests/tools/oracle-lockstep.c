/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test, second half: one thread issues requests to
 * all connections, many in flight, none of which meets a change in
 * flight (but many lie side by side), so there is one order of all
 * changes and each answer is known byte by byte.
 */

#include <stdlib.h>
#include <string.h>

#include "oracle.h"

struct slot {
  bool busy;
  struct request req;
  uint8_t *expected; /* what a read must return */
};

struct run {
  struct oracle *oracle;
  struct rng rng;
  unsigned depth;
  struct slot *slots;
  struct op last_change; /* the latest one that is finished */
  uint64_t issued;
};

static bool
conflicts (const struct run *run, const struct op *op)
{
  unsigned i;

  for (i = 0; i < run->depth; i++)
    if (run->slots[i].busy &&
        (op_modifies (op) || op_modifies (&run->slots[i].req.op)) &&
        op_overlaps (op, &run->slots[i].req.op))
      return true;
  return false;
}

/* A window right before or right after a request in flight, so that both
 * share a sector or a page.
 */
static void
next_to (struct run *run, uint64_t *from, uint64_t *to)
{
  const struct slot *slot = &run->slots[rng_below (&run->rng, run->depth)];
  const struct op *op = &slot->req.op;
  uint64_t reach = rng_log (&run->rng, 65536);

  if (!slot->busy || op->length == 0)
    return;
  if (rng_chance (&run->rng, 50)) {
    uint64_t size = run->oracle->target.size;

    *from = op->offset + op->length;
    *to = *from + reach < size ? *from + reach : size;
  }
  else {
    *to = op->offset;
    *from = reach < *to ? *to - reach : 0;
  }
  if (*from == *to) {
    *from = 0;
    *to = run->oracle->target.size;
  }
}

static void
pick (struct run *run, struct op *op)
{
  struct oracle *oracle = run->oracle;
  const struct op *last = &run->last_change;
  bool modify = rng_chance (&run->rng, ORACLE_MODIFY_PERCENT);
  uint64_t from = 0, to = oracle->target.size;

  if (!modify && last->length > 0 && rng_chance (&run->rng, 50)) {
    /* Look at what another connection has just changed. */
    from = last->offset;
    to = last->offset + last->length;
  }
  else if (rng_chance (&run->rng, 50))
    next_to (run, &from, &to);
  oracle_pick (oracle, &run->rng, modify, from, to, op);
  op->connection = (uint16_t) rng_below (&run->rng, oracle->target.n);
  if (from == last->offset && op->connection == last->connection)
    op->connection = (uint16_t) ((op->connection + 1U) % oracle->target.n);
}

static void
start (struct run *run, struct slot *slot, const struct op *op)
{
  struct oracle *oracle = run->oracle;
  struct request *req = &slot->req;

  req->op = *op;
  if (op->kind == OP_WRITE)
    op_content (op, op->offset, req->buf, op->length);
  if (op->kind == OP_READ)
    memset (req->buf, 0xee, op->length);
  if (op->kind == OP_READ || op->kind == OP_EXTENTS)
    memcpy (slot->expected, oracle->image.bytes + op->offset, op->length);
  history_begin (&oracle->image.history, &req->op);
  slot->busy = true;
  run->issued++;
  request_issue (&oracle->target, req);
}

static void
finish (struct run *run, struct slot *slot)
{
  struct oracle *oracle = run->oracle;
  struct request *req = &slot->req;
  const struct op *op = &req->op;

  slot->busy = false;
  history_end (&oracle->image.history, &req->op);
  atomic_fetch_add (&oracle->done, 1);
  if (oracle_declined (req))
    return;
  if (req->error) {
    oracle_refused (oracle, req);
    return;
  }
  if (op_modifies (op)) {
    image_apply (&oracle->image, op);
    run->last_change = *op;
    return;
  }
  if (op->kind == OP_EXTENTS)
    oracle_check_extents_shape (oracle, req);
  oracle_check_answer (oracle, req, op->offset, slot->expected, op->length);
}

/* Finish what is done.  Returns the number of requests in flight. */
static unsigned
reap (struct run *run)
{
  unsigned i, busy = 0;

  for (i = 0; i < run->depth; i++) {
    if (run->slots[i].busy && run->slots[i].req.done)
      finish (run, &run->slots[i]);
    busy += run->slots[i].busy;
  }
  return busy;
}

static struct slot *
free_slot (struct run *run)
{
  unsigned i;

  for (i = 0; i < run->depth; i++)
    if (!run->slots[i].busy)
      return &run->slots[i];
  return NULL;
}

static void
wait_for_some (struct run *run)
{
  unsigned before = reap (run);

  while (before > 0 && reap (run) == before)
    if (target_poll (&run->oracle->target, -1) == 0)
      die ("the server is gone");
}

static void
issue_one (struct run *run)
{
  struct slot *slot;
  struct op op;

  while ((slot = free_slot (run)) == NULL)
    wait_for_some (run);
  pick (run, &op);
  while (conflicts (run, &op))
    wait_for_some (run);
  start (run, slot, &op);
  target_poll (&run->oracle->target, 0);
  reap (run);
}

void
oracle_run_lockstep (struct oracle *oracle, uint64_t seed, uint64_t ops)
{
  struct run run = { .oracle = oracle, .rng = { mix64 (seed) } };
  unsigned i;

  run.depth = oracle->depth;
  run.slots = xcalloc (run.depth, sizeof *run.slots);
  for (i = 0; i < run.depth; i++) {
    run.slots[i].req.buf = xcalloc (oracle->max_len, 1);
    run.slots[i].expected = xcalloc (oracle->max_len, 1);
  }
  while (oracle_goes_on (oracle, run.issued, ops))
    issue_one (&run);
  while (reap (&run) > 0)
    wait_for_some (&run);
  for (i = 0; i < run.depth; i++) {
    request_clear (&run.slots[i].req);
    free (run.slots[i].req.buf);
    free (run.slots[i].expected);
  }
  free (run.slots);
}
