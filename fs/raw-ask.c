/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: asking the store what it knows, for a report.  What that costs the store
 * goes with the runs that it finds, and a round trip besides; so the window that
 * is asked about follows what the answers hold.
 */

#include "fs/raw-impl.h"

/* Runs that an answer should hold: so many that the round trip is little beside
 * finding them, and so few that the map keeps several answers.
 */
#define WANTED_RUNS 2048

/* Of one question, bytes; the largest is what NBD's 32 bits hold. */
#define MIN_WINDOW (UINT64_C (1) << 20)
#define MAX_WINDOW UINT64_C (0xffff0000)

/* The window grows by this at most, until an answer was cut for the first time;
 * from then on less, for the rest of it may have cost the store as much.
 */
#define GROWTH 8
#define CAUTIOUS_GROWTH 2

/* An answer as it comes in. */
struct answer {
  struct raw *raw;
  struct extents_question question;
  uint64_t pos;
  uint64_t pos_end;    /* of the run with pos in it; 0: there is none */
  uint64_t start, end; /* so far */
  uint64_t runs;
};

static void
take (struct answer *answer, uint64_t start, uint64_t end, enum iomap_type type)
{
  if (start < end)
    extents_learn (answer->raw->extents, &answer->question, start, end - start,
                   type);
}

/* A server's runs may begin and end anywhere, but blocks are read and zeroed as a
 * whole: one of which not all is the same kind of zero is MAPPED.
 */
static void
take_run (void *opaque, uint64_t offset, uint64_t length,
          enum store_extent type)
{
  static const enum iomap_type types[] = {
    [STORE_HOLE] = IOMAP_HOLE,
    [STORE_UNWRITTEN] = IOMAP_UNWRITTEN,
    [STORE_DATA] = IOMAP_MAPPED,
  };
  struct answer *answer = opaque;
  const struct fs *fs = &answer->raw->fs;
  uint64_t bs = fs->block_size, end = offset + length;
  uint64_t first = (offset + bs - 1) & ~(bs - 1);
  uint64_t last = end == fs->size ? end : end & ~(bs - 1);

  answer->end = end;
  answer->runs++;
  if (offset <= answer->pos && answer->pos < end)
    answer->pos_end = end;
  if (type == STORE_DATA || first >= last)
    take (answer, offset, end, IOMAP_MAPPED);
  else {
    take (answer, offset, first, IOMAP_MAPPED);
    take (answer, first, last, types[type]);
    take (answer, last, end, IOMAP_MAPPED);
  }
}

static uint64_t
clamp (uint64_t x, uint64_t least, uint64_t most)
{
  return x < least ? least : x > most ? most : x;
}

/* Set the window for the next question after an answer of so many bytes to one
 * of so many.
 */
static void
set_window (struct raw *raw, uint64_t window, uint64_t asked,
            const struct answer *answer)
{
  uint64_t bytes = answer->end - answer->start;
  uint64_t wanted = bytes * WANTED_RUNS / answer->runs;
  bool whole = bytes >= asked;

  if (!whole)
    atomic_store (&raw->cautious, true);
  if (whole && answer->runs <= WANTED_RUNS)
    wanted = clamp (
      wanted, window,
      window * (atomic_load (&raw->cautious) ? CAUTIOUS_GROWTH : GROWTH));
  else if (wanted > bytes)
    wanted = bytes;
  atomic_store (&raw->window,
                clamp (wanted & ~(MIN_WINDOW - 1), MIN_WINDOW, MAX_WINDOW));
}

uint64_t
raw_ask (struct raw *raw, uint64_t pos)
{
  struct store *store = raw->fs.store;
  struct answer answer = { .raw = raw, .pos = pos };
  uint64_t start = pos & ~((uint64_t) raw->fs.block_size - 1);
  uint64_t window = atomic_load (&raw->window);
  uint64_t length =
    window < raw->fs.size - start ? window : raw->fs.size - start;

  answer.start = start;
  extents_ask (raw->extents, &answer.question, start, length);
  store->ops->block_status (store, start, length, take_run, &answer);
  extents_answered (raw->extents, &answer.question);
  if (answer.runs > 0)
    set_window (raw, window, length, &answer);
  return answer.pos_end > pos ? answer.pos_end - pos : UINT64_MAX;
}
