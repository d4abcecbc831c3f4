/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: asking the store for readers.  Some clients never ask for a report; so a
 * read of what is not known leaves a hint of where it was, goes on, and a thread
 * asks what there is from there on, for the reads that will follow.
 *
 * That has to cost next to nothing where it is of no use: where holes are small
 * or where reads go to data.  So it goes on asking at once only
 *
 *   - where the last answer ends, and was worth its price: for who reads in
 *     order, and is likely to read all of it;
 *   - or anywhere, when the last answer was much for little.
 *
 * All other hints are let pass, as many as the last answer was dear, and twice as
 * many after each that was no better.
 *
 *   OFF    -- raw_lookahead -->                  AWAKE
 *   ASLEEP -- a hint is wanted, and left -->     AWAKE
 *   AWAKE  -- there is no hint (any more) -->    ASLEEP
 *   any    -- raw_lookahead_stop -->             STOP, and OFF in the end
 *
 * A hint is left before it is looked whether the thread is asleep, and the thread
 * is asleep before it looks for a hint; so none stays there unseen.
 */

#include "fs/raw/raw-impl.h"

/* Runs that an answer should hold: few, as nobody has asked for it, and fewer still
 * where it is not known whether it will be of use.
 */
#define WANTED_IN_ORDER 256
#define WANTED_ELSEWHERE 32

/* Bytes. */
#define FIRST_IN_ORDER (UINT64_C (1) << 20)

/* How far from where the last answer ends a hint may be: a reader has gone on while
 * the store was asked.  Bytes.
 */
#define NEAR (UINT64_C (4) << 20)

/* What a question costs: as much as so many runs, and those that it finds.  A run
 * costs as much as reading so many bytes.
 */
#define QUESTION_RUNS 16
#define RUN_BYTES (WORTH_A_CUT / QUESTION_RUNS)

/* Bytes of zeroes, a run, that are much for little; or of anything, as it need
 * not be asked for again.
 */
#define MUCH RAW_MIN_WINDOW

/* How often what is let pass is doubled, at most. */
#define MAX_DISAPPOINTING 5

void
raw_lookahead_init (struct raw *raw)
{
  struct lookahead *la = &raw->lookahead;

  atomic_init (&la->in_order.window, FIRST_IN_ORDER);
  la->in_order.wanted = WANTED_IN_ORDER;
  atomic_init (&la->elsewhere.window, RAW_MIN_WINDOW);
  la->elsewhere.wanted = WANTED_ELSEWHERE;
  la->able = raw->fs.store->geo.can_extents;
  atomic_init (&la->hint, NOWHERE);
  atomic_init (&la->next, NOWHERE);
}

static bool
is_near (struct lookahead *la, uint64_t pos)
{
  uint64_t next = atomic_load (&la->next);

  return pos >= next && pos - next < NEAR;
}

/* ------------------------------------------------------------- any thread */

void
raw_lookahead_hint (struct raw *raw, uint64_t pos)
{
  struct lookahead *la = &raw->lookahead;
  struct env *env = raw->fs.store->env;
  uint32_t word = LOOKAHEAD_ASLEEP;

  if (atomic_load (&la->word) == LOOKAHEAD_OFF)
    return;
  if (!is_near (la, pos) && atomic_load (&la->pause) > 0) {
    atomic_fetch_sub (&la->pause, 1);
    return;
  }
  atomic_store (&la->hint, pos);
  if (atomic_load (&la->word) == LOOKAHEAD_ASLEEP &&
      atomic_compare_exchange_strong (&la->word, &word, LOOKAHEAD_AWAKE))
    env->wake (env, &la->word);
}

/* ------------------------------------------------------------- the thread */

static bool
is_known (struct raw *raw, uint64_t pos)
{
  enum iomap_type type;
  uint64_t length = 1;

  return extents_lookup (raw->extents, pos, &length, &type);
}

/* What follows from an answer that was asked for at a place near to the last. */
static void
judge (struct lookahead *la, const struct raw_found *found, bool near,
       bool kept)
{
  uint64_t bytes = found->end - found->start, much = found->runs * MUCH;
  uint64_t price = (QUESTION_RUNS + found->runs) * RUN_BYTES;
  bool good =
    kept && found->runs > 0 && (found->worth >= price || bytes >= much);

  if (good && found->worth >= much) {
    la->disappointing = 0;
    atomic_store (&la->pause, (int64_t) (found->runs / 4));
  }
  else if (!good || !near) {
    atomic_store (&la->pause, (int64_t) ((QUESTION_RUNS + found->runs) / 2
                                         << la->disappointing));
    if (la->disappointing < MAX_DISAPPOINTING)
      la->disappointing++;
  }
  atomic_store (&la->next, good ? found->end : NOWHERE);
}

/* The hint may have been left before the last answer was there. */
static void
look_at (struct raw *raw, uint64_t pos)
{
  struct lookahead *la = &raw->lookahead;
  bool near = is_near (la, pos);
  struct raw_found found;

  if (is_known (raw, pos) || (!near && atomic_load (&la->pause) > 0))
    return;
  raw_ask (raw, near ? &la->in_order : &la->elsewhere, pos, &found);
  judge (la, &found, near, is_known (raw, pos));
}

/* Sleep until there is a hint, perhaps, or the thread is to end. */
static void
wait_for_hint (struct raw *raw)
{
  struct lookahead *la = &raw->lookahead;
  struct env *env = raw->fs.store->env;
  uint32_t word = LOOKAHEAD_AWAKE;

  if (!atomic_compare_exchange_strong (&la->word, &word, LOOKAHEAD_ASLEEP))
    return;
  if (atomic_load (&la->hint) == NOWHERE)
    env->wait (env, &la->word, LOOKAHEAD_ASLEEP, ENV_FOREVER);
  word = LOOKAHEAD_ASLEEP;
  atomic_compare_exchange_strong (&la->word, &word, LOOKAHEAD_AWAKE);
}

void
raw_lookahead (struct raw *raw)
{
  struct lookahead *la = &raw->lookahead;
  uint32_t word = LOOKAHEAD_OFF;
  uint64_t pos;

  if (!la->able)
    return;
  atomic_compare_exchange_strong (&la->word, &word, LOOKAHEAD_AWAKE);
  while (atomic_load (&la->word) != LOOKAHEAD_STOP) {
    pos = atomic_exchange (&la->hint, NOWHERE);
    if (pos != NOWHERE)
      look_at (raw, pos);
    else
      wait_for_hint (raw);
  }
  atomic_store (&la->word, LOOKAHEAD_OFF);
}

void
raw_lookahead_stop (struct raw *raw)
{
  struct lookahead *la = &raw->lookahead;
  struct env *env = raw->fs.store->env;

  atomic_store (&la->word, LOOKAHEAD_STOP);
  env->wake (env, &la->word);
}
