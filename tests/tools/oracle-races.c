/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test, third part: races.  Some requests that meet
 * each other are in flight together on all connections.  Nobody knows who
 * wins, but when all have ended each byte is what one of those who changed
 * it left there, and from then on it stays like that, for everybody and
 * for the file.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

#define RACERS_MAX 12

/* Bytes that a race is about, at most. */
#define PLACE_MAX (64 * 1024)

struct race {
  struct oracle *oracle;
  struct rng rng;
  uint64_t from, to; /* the place */
  unsigned n;
  struct request racers[RACERS_MAX];
  uint8_t *left[RACERS_MAX]; /* what each change leaves */
  struct request look;       /* afterwards */
};

static void
pick_place (struct race *race)
{
  uint64_t size = race->oracle->target.size;
  uint64_t max = size < PLACE_MAX ? size : PLACE_MAX;
  uint64_t length = rng_log (&race->rng, max);

  if (length > race->oracle->max_len)
    length = race->oracle->max_len;
  race->from = rng_below (&race->rng, size - length + 1);
  race->to = race->from + length;
}

static void
pick_racers (struct race *race)
{
  struct oracle *oracle = race->oracle;
  unsigned i;

  race->n = 2 + (unsigned) rng_below (&race->rng, RACERS_MAX - 1);
  for (i = 0; i < race->n; i++) {
    struct request *req = &race->racers[i];

    oracle_pick (oracle, &race->rng, rng_chance (&race->rng, 70), race->from,
                 race->to, &req->op);
    /* Who declines leaves the result open. */
    req->op.flags &= ~(uint32_t) LIBNBD_CMD_FLAG_FAST_ZERO;
    req->op.connection = (uint16_t) rng_below (&race->rng, oracle->target.n);
    if (op_modifies (&req->op))
      op_content (&req->op, req->op.offset, race->left[i], req->op.length);
    if (req->op.kind == OP_WRITE)
      memcpy (req->buf, race->left[i], req->op.length);
  }
}

static bool
all_done (const struct race *race)
{
  unsigned i;

  for (i = 0; i < race->n; i++)
    if (!race->racers[i].done)
      return false;
  return true;
}

static bool
run (struct race *race)
{
  struct oracle *oracle = race->oracle;
  unsigned i;
  bool ok = true;

  for (i = 0; i < race->n; i++)
    history_begin (&oracle->image.history, &race->racers[i].op);
  for (i = 0; i < race->n; i++)
    request_issue (&oracle->target, &race->racers[i]);
  while (!all_done (race))
    if (target_poll (&oracle->target, -1) == 0)
      die ("the server is gone");
  for (i = 0; i < race->n; i++) {
    history_end (&oracle->image.history, &race->racers[i].op);
    if (race->racers[i].error) {
      oracle_refused (oracle, &race->racers[i]);
      ok = false;
    }
  }
  return ok;
}

/* Can the byte at offset be got?  After the race (before is then false)
 * what was there before it must be gone where somebody changed it.
 */
static bool
is_possible (const struct race *race, uint64_t offset, uint8_t got, bool before)
{
  bool changed = false;
  unsigned i;

  for (i = 0; i < race->n; i++) {
    const struct op *op = &race->racers[i].op;

    if (op_modifies (op) && op->offset <= offset &&
        offset < op->offset + op->length) {
      if (race->left[i][offset - op->offset] == got)
        return true;
      changed = true;
    }
  }
  return (before || !changed) && race->oracle->image.bytes[offset] == got;
}

static bool
check_bytes (struct race *race, const struct request *req, bool before)
{
  const struct op *op = &req->op;
  uint64_t i = 0;

  while (i < op->length &&
         is_possible (race, op->offset + i, req->buf[i], before))
    i++;
  if (i == op->length)
    return true;
  fprintf (stderr,
           "MISMATCH at offset %" PRIu64 ", found by request #%" PRIu64
           " on connection %u: nobody left the byte %02x there\n"
           "  it held %02x before the race, which began with #%" PRIu64 "\n",
           op->offset + i, op->id, op->connection, req->buf[i],
           race->oracle->image.bytes[op->offset + i], race->racers[0].op.id);
  history_tell (&race->oracle->image.history, stderr, op->offset + i,
                req->buf + i, op->length - i);
  atomic_store (&race->oracle->failed, true);
  return false;
}

/* Read the place. */
static bool
look (struct race *race)
{
  struct oracle *oracle = race->oracle;
  struct request *req = &race->look;

  memset (&req->op, 0, sizeof req->op);
  req->op.kind = OP_READ;
  req->op.offset = race->from;
  req->op.length = race->to - race->from;
  req->op.connection = (uint16_t) rng_below (&race->rng, oracle->target.n);
  memset (req->buf, 0xee, req->op.length);
  history_begin (&oracle->image.history, &req->op);
  request_run (&oracle->target, req);
  history_end (&oracle->image.history, &req->op);
  if (req->error)
    oracle_refused (oracle, req);
  return !req->error;
}

static void
one_race (struct race *race)
{
  struct oracle *oracle = race->oracle;
  unsigned i;

  pick_place (race);
  pick_racers (race);
  if (!run (race))
    return;
  for (i = 0; i < race->n; i++) {
    if (race->racers[i].op.kind == OP_EXTENTS)
      oracle_check_extents_shape (oracle, &race->racers[i]);
    if (race->racers[i].op.kind == OP_READ &&
        !check_bytes (race, &race->racers[i], true))
      return;
  }
  if (!look (race) || !check_bytes (race, &race->look, false))
    return;
  memcpy (oracle->image.bytes + race->from, race->look.buf,
          race->to - race->from);
  if (look (race))
    oracle_check_answer (oracle, &race->look, race->from,
                         oracle->image.bytes + race->from,
                         race->to - race->from);
}

void
oracle_run_races (struct oracle *oracle, uint64_t seed, uint64_t ops)
{
  struct race race = { .oracle = oracle, .rng = { mix64 (seed + 1) } };
  uint64_t made = 0;
  unsigned i;

  for (i = 0; i < RACERS_MAX; i++) {
    race.racers[i].buf = xcalloc (PLACE_MAX, 1);
    race.left[i] = xcalloc (PLACE_MAX, 1);
  }
  race.look.buf = xcalloc (PLACE_MAX, 1);
  while (oracle_goes_on (oracle, made, ops)) {
    one_race (&race);
    made += race.n + 2;
    atomic_fetch_add (&oracle->done, race.n + 2);
  }
  for (i = 0; i < RACERS_MAX; i++) {
    request_clear (&race.racers[i]);
    free (race.racers[i].buf);
    free (race.left[i]);
  }
  free (race.look.buf);
}
