/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test: which requests are made, and whether one
 * answer is right.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "oracle.h"

/* A range in [from, to): any size is as likely as twice that, and what
 * is aligned as likely as what is not.
 */
static void
pick_range (const struct oracle *oracle, struct rng *rng, uint64_t from,
            uint64_t to, struct op *op)
{
  static const uint32_t aligns[] = { 1, 1, 1, 512, 512, 4096, 4096, 65536 };
  uint64_t align = aligns[rng_below (rng, sizeof aligns / sizeof aligns[0])];
  uint64_t room = to - from;
  uint64_t max = room < oracle->max_len ? room : oracle->max_len;
  uint64_t start, end;

  op->length = rng_chance (rng, 5) ? max : rng_log (rng, max);
  op->offset = from + rng_below (rng, room - op->length + 1);
  if (rng_chance (rng, 5))
    op->offset = to - op->length; /* the end of the disk, maybe */
  start = op->offset / align * align;
  end = (op->offset + op->length) / align * align;
  if (start >= from && end > start && end - start <= oracle->max_len) {
    op->offset = start;
    op->length = end - start;
  }
}

static unsigned
pick_zero_flags (const struct oracle *oracle, struct rng *rng)
{
  unsigned flags = 0;

  if (rng_chance (rng, 50))
    flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (oracle->target.can_fast_zero && rng_chance (rng, 25))
    flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  return flags;
}

static void
pick_change (const struct oracle *oracle, struct rng *rng, struct op *op)
{
  uint64_t what = rng_below (rng, 100);

  if (oracle->target.can_trim && what < oracle->trim)
    op->kind = OP_TRIM;
  else if (oracle->target.can_zero && what < oracle->trim + oracle->zero) {
    op->kind = OP_ZERO;
    op->flags = pick_zero_flags (oracle, rng);
  }
  else {
    op->kind = OP_WRITE;
    op->fill = rng_chance (rng, 80)   ? FILL_RANDOM
               : rng_chance (rng, 50) ? FILL_BYTE
                                      : FILL_ZERO;
  }
  if (oracle->target.can_fua && rng_chance (rng, oracle->fua))
    op->flags |= LIBNBD_CMD_FLAG_FUA;
}

static void
pick_question (const struct oracle *oracle, struct rng *rng, struct op *op)
{
  uint64_t what = rng_below (rng, 100);

  op->kind = OP_READ;
  if (oracle->target.can_flush && what < 5)
    op->kind = OP_FLUSH;
  else if (oracle->target.can_cache && what < 12)
    op->kind = OP_CACHE;
  else if (oracle->target.can_extents && what < 30) {
    op->kind = OP_EXTENTS;
    op->flags = rng_chance (rng, 50) ? LIBNBD_CMD_FLAG_REQ_ONE : 0;
  }
}

void
oracle_pick (const struct oracle *oracle, struct rng *rng, bool modify,
             uint64_t from, uint64_t to, struct op *op)
{
  memset (op, 0, sizeof *op);
  if (modify)
    pick_change (oracle, rng, op);
  else
    pick_question (oracle, rng, op);
  pick_range (oracle, rng, from, to, op);
  if (op->kind == OP_FLUSH)
    op->offset = op->length = 0;
  op->seed = rng_next (rng);
}

bool
oracle_goes_on (struct oracle *oracle, uint64_t done, uint64_t ops)
{
  if (atomic_load (&oracle->failed))
    return false;
  if (ops > 0 && done >= ops)
    return false;
  return oracle->deadline == 0 || now_ns () < oracle->deadline;
}

void
oracle_refused (struct oracle *oracle, const struct request *req)
{
  flockfile (stderr);
  fprintf (stderr, "FAILED: %s: ", strerror (req->error));
  op_print (stderr, &req->op);
  fputc ('\n', stderr);
  funlockfile (stderr);
  atomic_store (&oracle->failed, true);
}

bool
oracle_declined (const struct request *req)
{
  return req->error == EOPNOTSUPP && req->op.kind == OP_ZERO &&
         (req->op.flags & LIBNBD_CMD_FLAG_FAST_ZERO);
}

static bool
check_extents (struct oracle *oracle, const struct request *req, uint64_t from,
               const uint8_t *expected, uint64_t length, const char *who)
{
  uint64_t at = req->op.offset, to = from + length;
  size_t i;

  for (i = 0; i < req->nr_extents && at < to; i++) {
    uint64_t end = at + req->extents[i].length;
    uint64_t start = at > from ? at : from;
    uint64_t stop = end < to ? end : to;

    if (start < stop &&
        !image_check_extent (&oracle->image, start, expected + (start - from),
                             stop - start, req->extents[i].flags, who))
      return false;
    at = end;
  }
  return true;
}

void
oracle_check_answer (struct oracle *oracle, const struct request *req,
                     uint64_t from, const uint8_t *expected, uint64_t length)
{
  const struct op *op = &req->op;
  char who[80];
  bool ok = true;

  snprintf (who, sizeof who, "request #%" PRIu64 " on connection %u", op->id,
            op->connection);
  if (op->kind == OP_READ)
    ok = image_check (&oracle->image, from, expected,
                      req->buf + (from - op->offset), length, who);
  else if (op->kind == OP_EXTENTS)
    ok = check_extents (oracle, req, from, expected, length, who);
  if (!ok)
    atomic_store (&oracle->failed, true);
}

void
oracle_check_extents_shape (struct oracle *oracle, const struct request *req)
{
  uint64_t total = 0;
  size_t i;
  bool ok = req->nr_extents > 0;

  for (i = 0; i < req->nr_extents; i++) {
    ok = ok && req->extents[i].length > 0;
    total += req->extents[i].length;
  }
  ok = ok &&
       total <= oracle->target.disk_size - oracle->target.base - req->op.offset;
  if (req->op.flags & LIBNBD_CMD_FLAG_REQ_ONE)
    ok = ok && req->nr_extents == 1 && total <= req->op.length;
  if (ok)
    return;
  flockfile (stderr);
  fprintf (stderr, "MISMATCH: %zu extents of %" PRIu64 " bytes answer ",
           req->nr_extents, total);
  op_print (stderr, &req->op);
  fputc ('\n', stderr);
  funlockfile (stderr);
  atomic_store (&oracle->failed, true);
}
