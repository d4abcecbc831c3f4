/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw over a fake store: see raw-bench.h.
 */

#include <errno.h>

#include "fs/raw/raw-impl.h"
#include "raw-bench.h"
#include "tests/unit/map-run.h"

struct bench *
bench_open (uint64_t size)
{
  struct bench *b = calloc (1, sizeof *b);

  assert_non_null (b);
  env_init (&b->env);
  b->fake = fake_store_create (&b->env, size);
  fake_store_set_status (b->fake, 0, size, STORE_HOLE);
  return b;
}

void
bench_start (struct bench *b)
{
  assert_int_equal (raw_open (&b->fake->store, &b->fs), 0);
}

void
bench_close (struct bench *b)
{
  b->fs->ops->close (b->fs);
  b->fake->store.ops->close (&b->fake->store);
  free (b);
}

void
bench_learn (struct bench *b)
{
  struct iomap iomap;
  uint64_t pos;

  for (pos = 0; pos < b->fs->size; pos = iomap.offset + iomap.length)
    assert_int_equal (
      b->fs->ops->begin (b->fs, pos, b->fs->size - pos, IOMAP_REPORT, &iomap),
      0);
}

struct iomap
mapped (struct bench *b, uint64_t pos, uint64_t length, unsigned flags,
        enum iomap_type type, uint64_t from_pos)
{
  struct iomap iomap;

  assert_int_equal (b->fs->ops->begin (b->fs, pos, length, flags, &iomap), 0);
  assert_int_equal (iomap.type, type);
  assert_true (iomap.offset <= pos);
  assert_int_equal (iomap.offset + iomap.length - pos, from_pos);
  if (type == IOMAP_MAPPED)
    assert_int_equal (iomap.addr, iomap.offset);
  return iomap;
}

bool
valid (struct bench *b, const struct iomap *iomap)
{
  return b->fs->ops->valid (b->fs, iomap);
}

void
zero (struct bench *b, uint64_t offset, uint64_t length, bool trim)
{
  struct iomap_range range = { .start = offset, .end = offset + length };

  assert_int_equal (b->fs->ops->zero (b->fs, &range, !trim), 0);
  b->fs->ops->zero_end (b->fs, &range);
}

/* What is done within a step is seen in the next. */
void
step (struct bench *b)
{
  uint64_t now = b->env.now (&b->env);

  while (b->fs->ops->step (b->fs, now) || b->fs->ops->step (b->fs, now))
    ;
}

void
forget (struct bench *b, uint64_t offset, uint64_t length)
{
  struct raw *raw = (struct raw *) b->fs;

  extents_forget (raw->extents, offset, length);
}

int
settle_zeroes (struct bench *b, uint64_t start, uint64_t end)
{
  uint64_t ticket = b->fs->ops->settle (b->fs, start, end);
  int r;

  do {
    step (b);
    r = b->fs->ops->settled (b->fs, start, end, ticket);
  } while (r == -EAGAIN);
  return r;
}

/* What a flush has come to; 1: nothing yet. */
static int flushed;

static void
note_flushed (struct store_req *req, int error)
{
  (void) req;
  flushed = error;
}

int
flush (struct bench *b)
{
  struct store_req req = { .op = STORE_FLUSH, .done = note_flushed };

  flushed = 1;
  b->fs->ops->flush (b->fs, &req);
  assert_int_not_equal (flushed, 1);
  return flushed;
}

int
try_map (struct bench *b, uint64_t offset, uint64_t length)
{
  return map_run (b->fs, b->fs->ops, offset, length);
}

void
writeback_begin (struct bench *b, uint64_t offset, uint64_t length)
{
  struct iomap_run run = { .start = offset, .end = offset + length };
  struct iomap_place place;

  assert_int_equal (b->fs->ops->map_for_writeback (b->fs, &run, 1, &place), 0);
  assert_int_equal (place.addr, offset);
  assert_int_equal (place.length, length);
}

void
writeback (struct bench *b, uint64_t offset, uint64_t length)
{
  writeback_begin (b, offset, length);
  fake_store_set_status (b->fake, offset, length, STORE_DATA);
  run_done (b->fs, b->fs->ops, offset, length, 0);
}
