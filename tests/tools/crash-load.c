/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The crash test: the load.  One thread keeps many requests in flight on
 * all connections, so that it sees one order of issues and answers: a
 * flush covers what was acknowledged before it was issued.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

/* Bytes of a place that is written again and again. */
#define HOT_SIZE (128 * 1024)

struct slot {
  bool busy;
  struct request req;
  size_t covered; /* of a flush: acknowledged before it */
};

/* Changes in the order in which they were acknowledged. */
struct acks {
  struct op *ops;
  size_t n, room;
  size_t durable; /* so many are */
};

struct load {
  struct crash *crash;
  struct rng rng;
  struct slot *slots;
  struct acks acks;
  uint64_t *hot; /* first sector of each place */
  uint64_t finished, flushes;
  uint64_t kill_at; /* requests issued when to kill, or 0 */
  uint64_t issued;
  bool killed, failed;
};

static void
acks_add (struct acks *acks, const struct op *op)
{
  if (acks->n == acks->room) {
    acks->room = 2 * acks->room + 1024;
    acks->ops = realloc (acks->ops, acks->room * sizeof *acks->ops);
    if (acks->ops == NULL)
      die ("out of memory");
  }
  acks->ops[acks->n++] = *op;
}

static void
acks_flushed (struct acks *acks, struct sectors *sectors, size_t covered)
{
  for (; acks->durable < covered; acks->durable++)
    sectors_durable (sectors, &acks->ops[acks->durable]);
}

static bool
conflicts (const struct load *load, const struct op *op)
{
  unsigned i;

  for (i = 0; i < load->crash->depth; i++) {
    const struct slot *slot = &load->slots[i];

    if (slot->busy && op_overlaps (op, &slot->req.op) &&
        (op_modifies (op) || op_modifies (&slot->req.op)))
      return true;
  }
  return false;
}

static void
pick_kind (struct load *load, struct op *op)
{
  const struct target *target = &load->crash->target;
  uint64_t what = rng_below (&load->rng, 100);

  memset (op, 0, sizeof *op);
  op->connection = (uint16_t) rng_below (&load->rng, target->n);
  op->kind = OP_WRITE;
  if (what < load->crash->flush)
    op->kind = OP_FLUSH;
  else if (what >= 94)
    op->kind = OP_READ;
  else if (what >= 94 - load->crash->holes / 2 && target->can_zero) {
    op->kind = OP_ZERO;
    op->flags = rng_chance (&load->rng, 50) ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
  }
  else if (what >= 94 - load->crash->holes && target->can_trim)
    op->kind = OP_TRIM;
  if (op_modifies (op) && target->can_fua &&
      rng_chance (&load->rng, load->crash->fua))
    op->flags |= LIBNBD_CMD_FLAG_FUA;
}

static void
pick_range (struct load *load, struct op *op)
{
  const struct crash *crash = load->crash;
  uint64_t n = rng_log (&load->rng, crash->max_len / SECTOR);
  uint64_t first;

  if (op->kind == OP_FLUSH)
    return;
  n = n < crash->sectors.n ? n : crash->sectors.n;
  first = rng_below (&load->rng, crash->sectors.n - n + 1);
  if (crash->hot > 0 && rng_chance (&load->rng, 80))
    first = load->hot[rng_below (&load->rng, crash->hot)] +
            rng_below (&load->rng, HOT_SIZE / SECTOR);
  if (first + n > crash->sectors.n)
    first = crash->sectors.n - n;
  op->offset = first * SECTOR;
  op->length = n * SECTOR;
}

static void
prepare_data (struct load *load, struct request *req)
{
  uint64_t first = req->op.offset / SECTOR;
  uint64_t i, n = req->op.length / SECTOR;

  for (i = 0; i < n; i++)
    sectors_fill (&load->crash->sectors, first + i, req->op.id,
                  req->buf + i * SECTOR);
}

static void
start (struct load *load, struct slot *slot, const struct op *op)
{
  struct crash *crash = load->crash;
  struct request *req = &slot->req;

  req->op = *op;
  history_begin (&crash->sectors.history, &req->op);
  if (op->kind == OP_WRITE)
    prepare_data (load, req);
  if (op_modifies (op))
    sectors_issued (&crash->sectors, &req->op);
  slot->covered = load->acks.n;
  slot->busy = true;
  load->issued++;
  request_issue (&crash->target, req);
}

/* Is it right that the server is dead? */
static bool
may_be_dead (const struct load *load)
{
  return load->crash->kill_pid ? load->killed : load->crash->expect_death;
}

static void
refused (struct load *load, const struct request *req)
{
  if (req->error == ENOTCONN && may_be_dead (load))
    return;
  if (req->error == ESHUTDOWN && load->killed)
    return;
  fprintf (stderr, "FAILED: %s: ", strerror (req->error));
  op_print (stderr, &req->op);
  fputc ('\n', stderr);
  load->failed = true;
}

static void
check_read (struct load *load, const struct request *req)
{
  struct tally tally = { 0 };

  sectors_check (&load->crash->sectors, req->op.offset / SECTOR,
                 req->op.length / SECTOR, req->buf, true, &tally);
  if (tally.wrong == 0)
    return;
  fprintf (stderr, "found by request #%" PRIu64 " on connection %u\n",
           req->op.id, req->op.connection);
  load->failed = true;
}

static void
finish (struct load *load, struct slot *slot)
{
  struct sectors *sectors = &load->crash->sectors;
  struct request *req = &slot->req;

  slot->busy = false;
  if (req->error) {
    refused (load, req);
    return;
  }
  history_end (&sectors->history, &req->op);
  load->finished++;
  if (op_modifies (&req->op)) {
    acks_add (&load->acks, &req->op);
    if (req->op.flags & LIBNBD_CMD_FLAG_FUA)
      sectors_durable (sectors, &req->op);
  }
  else if (req->op.kind == OP_FLUSH) {
    acks_flushed (&load->acks, sectors, slot->covered);
    load->flushes++;
  }
  else
    check_read (load, req);
}

static unsigned
reap (struct load *load)
{
  unsigned i, busy = 0;

  for (i = 0; i < load->crash->depth; i++) {
    struct slot *slot = &load->slots[i];

    if (slot->busy && slot->req.done)
      finish (load, slot);
    busy += slot->busy;
  }
  return busy;
}

static struct slot *
free_slot (struct load *load)
{
  unsigned i;

  for (i = 0; i < load->crash->depth; i++)
    if (!load->slots[i].busy)
      return &load->slots[i];
  return NULL;
}

/* Kill the server some requests after the agreed number has finished, so
 * that it dies in the middle of anything.
 */
static void
maybe_kill (struct load *load)
{
  const struct crash *crash = load->crash;
  int sig = crash->abort ? SIGABRT : crash->terminate ? SIGTERM : SIGKILL;

  if (crash->kill_pid == 0 || load->killed || load->finished < crash->after_ops)
    return;
  if (load->kill_at == 0)
    load->kill_at = load->issued + rng_below (&load->rng, 2 * crash->depth);
  if (load->issued < load->kill_at)
    return;
  if (kill (crash->kill_pid, sig) < 0)
    die ("kill %ld: %s", (long) crash->kill_pid, strerror (errno));
  load->killed = true;
}

/* Issue a request if there is room for it.  Flushes go out although all
 * else may have to wait for a place that is being written.
 */
static bool
issue_one (struct load *load)
{
  struct slot *slot = free_slot (load);
  struct op op;
  unsigned tries;

  if (slot == NULL)
    return false;
  pick_kind (load, &op);
  for (tries = 0; tries < 8; tries++) {
    pick_range (load, &op);
    if (!conflicts (load, &op)) {
      start (load, slot, &op);
      return true;
    }
  }
  return false;
}

static bool
goes_on (const struct load *load)
{
  return !load->failed && !load->killed &&
         (load->crash->ops == 0 || load->finished < load->crash->ops);
}

static void
load_init (struct load *load, struct crash *crash)
{
  unsigned i;

  memset (load, 0, sizeof *load);
  load->crash = crash;
  load->rng.state = mix64 (crash->seed);
  load->slots = xcalloc (crash->depth, sizeof *load->slots);
  for (i = 0; i < crash->depth; i++)
    load->slots[i].req.buf = xcalloc (crash->max_len, 1);
  load->hot = xcalloc (crash->hot, sizeof *load->hot);
  for (i = 0; i < crash->hot; i++)
    load->hot[i] = rng_below (&load->rng, crash->sectors.n);
}

static void
load_free (struct load *load)
{
  unsigned i;

  for (i = 0; i < load->crash->depth; i++)
    free (load->slots[i].req.buf);
  free (load->slots);
  free (load->acks.ops);
  free (load->hot);
}

bool
crash_load (struct crash *crash)
{
  struct load load;
  unsigned alive = crash->target.n, in_flight;
  bool ok;

  load_init (&load, crash);
  while (alive > 0 && goes_on (&load)) {
    bool issued = issue_one (&load);

    maybe_kill (&load);
    if (!load.killed)
      alive = target_poll (&crash->target, issued ? 0 : -1);
    reap (&load);
  }
  in_flight = reap (&load);
  while (reap (&load) > 0 && alive > 0)
    alive = target_poll (&crash->target, -1);
  if (load.killed && crash->terminate)
    acks_flushed (&load.acks, &crash->sectors, load.acks.n);
  printf ("load: %" PRIu64 " requests finished, %" PRIu64 " of them flushes; "
          "%u in flight at the end; %zu of %zu changes durable\n",
          load.finished, load.flushes, in_flight, load.acks.durable,
          load.acks.n);
  ok = !load.failed && (alive > 0 || may_be_dead (&load));
  if (alive == 0 && !may_be_dead (&load))
    fprintf (stderr, "FAILED: the server died by itself\n");
  load_free (&load);
  return ok;
}
