/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: asking the store what it knows.  What that costs the store goes with the
 * runs that it finds, and a round trip besides; so the window that is asked about
 * follows what the answers hold.
 */

#include "fs/num.h"
#include "fs/raw/raw-impl.h"

/* Of one question, bytes: what NBD's 32 bits hold. */
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
  struct raw_found *found; /* so far */
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
  struct raw_found *found = answer->found;
  const struct fs *fs = &answer->raw->fs;
  uint64_t bs = fs->block_size, end = offset + length;
  uint64_t first = round_up (offset, bs);
  uint64_t last = end == fs->size ? end : round_down (end, bs);

  found->end = end;
  found->runs++;
  if (type != STORE_DATA && length >= WORTH_A_CUT)
    found->worth += length;
  if (offset <= answer->pos && answer->pos < end)
    found->pos_end = end;
  if (type == STORE_DATA || first >= last)
    take (answer, offset, end, IOMAP_MAPPED);
  else {
    take (answer, offset, first, IOMAP_MAPPED);
    take (answer, first, last, types[type]);
    take (answer, last, end, IOMAP_MAPPED);
  }
}

/* Set the window for the next question after an answer to one of so many bytes. */
static void
set_window (struct raw_asker *asker, uint64_t window, uint64_t asked,
            const struct raw_found *found)
{
  uint64_t bytes = found->end - found->start;
  uint64_t wanted = bytes * asker->wanted / found->runs;
  bool whole = bytes >= asked;

  if (!whole)
    atomic_store (&asker->cautious, true);
  if (whole && found->runs <= asker->wanted)
    wanted = min_u64 (
      max_u64 (wanted, window),
      window * (atomic_load (&asker->cautious) ? CAUTIOUS_GROWTH : GROWTH));
  else
    wanted = min_u64 (wanted, bytes);
  wanted = max_u64 (round_down (wanted, RAW_MIN_WINDOW), RAW_MIN_WINDOW);
  atomic_store (&asker->window, min_u64 (wanted, MAX_WINDOW));
}

void
raw_ask (struct raw *raw, struct raw_asker *asker, uint64_t pos,
         struct raw_found *found)
{
  struct store *store = raw->fs.store;
  struct answer answer = { .raw = raw, .pos = pos, .found = found };
  uint64_t start = round_down (pos, raw->fs.block_size);
  uint64_t window = atomic_load (&asker->window);
  uint64_t length = min_u64 (window, raw->fs.size - start);

  *found = (struct raw_found) { .start = start, .end = start };
  extents_ask (raw->extents, &answer.question, start, length);
  store->ops->block_status (store, start, length, take_run, &answer);
  extents_answered (raw->extents, &answer.question);
  if (found->runs > 0)
    set_window (asker, window, length, found);
}
