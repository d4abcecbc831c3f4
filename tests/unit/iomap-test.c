/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The iterator: which begin and end calls a walk over a range makes.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fs/iomap.h"
#include "tests/unit/test.h"

/* Mappings of 100 bytes each, at multiples of 100; all calls are counted. */
struct test_fs {
  struct fs fs;
  uint64_t cookie;
  int begins, ends;
  int fail_at; /* the begin that fails; 0: none */
  uint64_t end_pos, end_length, end_written;
  unsigned begin_flags, end_flags;
};

static int
test_begin (struct fs *fs, uint64_t pos, uint64_t length, unsigned flags,
            struct iomap *iomap)
{
  struct test_fs *t = (struct test_fs *) fs;

  (void) length;
  assert_int_equal (t->begins, t->ends);
  if (t->begins + 1 == t->fail_at)
    return -ENOSPC;
  t->begins++;
  t->begin_flags = flags;
  *iomap = (struct iomap) {
    .type = IOMAP_MAPPED,
    .offset = pos / 100 * 100,
    .length = 100,
    .addr = pos / 100 * 100,
    .cookie = t->cookie,
  };
  return 0;
}

static int
test_end (struct fs *fs, uint64_t pos, uint64_t length, uint64_t written,
          unsigned flags, const struct iomap *iomap)
{
  struct test_fs *t = (struct test_fs *) fs;

  assert_true (iomap->offset <= pos);
  t->ends++;
  t->end_pos = pos;
  t->end_length = length;
  t->end_written = written;
  t->end_flags = flags;
  return 0;
}

static bool
test_valid (struct fs *fs, const struct iomap *iomap)
{
  return ((struct test_fs *) fs)->cookie == iomap->cookie;
}

static const struct iomap_ops test_ops = {
  .begin = test_begin,
  .end = test_end,
  .valid = test_valid,
};

TEST (a_range_is_walked_mapping_by_mapping)
{
  struct test_fs t = { .fs.ops = &test_ops };
  const uint64_t lengths[] = { 50, 100, 75 };
  struct iomap_iter iter;
  int r, i = 0;

  iomap_iter_init (&iter, &t.fs, 150, 225, IOMAP_WRITE);
  while ((r = iomap_iter_next (&iter)) > 0) {
    assert_int_equal (iomap_iter_length (&iter), lengths[i]);
    assert_int_equal (iter.pos, i == 0 ? 150 : 100 + 100 * i);
    assert_int_equal (t.begin_flags, IOMAP_WRITE);
    iter.processed = lengths[i++];
  }
  assert_int_equal (r, 0);
  assert_int_equal (i, 3);
  assert_int_equal (t.begins, 3);
  assert_int_equal (t.ends, 3);
  assert_int_equal (t.end_pos, 300);
  assert_int_equal (t.end_length, 75);
  assert_int_equal (t.end_written, 75);
  assert_int_equal (t.end_flags, IOMAP_WRITE);
  assert_int_equal (iomap_iter_next (&iter), 0); /* still at the end */
  assert_int_equal (t.ends, 3);
}

TEST (nothing_done_asks_for_the_same_place_again)
{
  struct test_fs t = { .fs.ops = &test_ops };
  struct iomap_iter iter;

  iomap_iter_init (&iter, &t.fs, 10, 20, 0);
  assert_int_equal (iomap_iter_next (&iter), 1);
  assert_true (iomap_iter_valid (&iter));
  t.cookie++;
  assert_false (iomap_iter_valid (&iter));
  assert_int_equal (iomap_iter_next (&iter), 1);
  assert_true (iomap_iter_valid (&iter));
  assert_int_equal (t.end_written, 0);
  assert_int_equal (iter.pos, 10);
  iter.processed = 5; /* and part of it goes on from there */
  assert_int_equal (iomap_iter_next (&iter), 1);
  assert_int_equal (iter.pos, 15);
  assert_int_equal (iter.processed, 0);
  assert_int_equal (iomap_iter_length (&iter), 15);
  iter.processed = 15;
  assert_int_equal (iomap_iter_next (&iter), 0);
  assert_int_equal (t.ends, 3);
}

TEST (stopping_ends_the_mapping_once)
{
  struct test_fs t = { .fs.ops = &test_ops };
  struct iomap_iter iter;

  iomap_iter_init (&iter, &t.fs, 0, 500, 0);
  iomap_iter_stop (&iter); /* before the first: nothing to end */
  assert_int_equal (t.ends, 0);
  assert_int_equal (iomap_iter_next (&iter), 1);
  iter.processed = 30;
  iomap_iter_stop (&iter);
  iomap_iter_stop (&iter);
  assert_int_equal (t.ends, 1);
  assert_int_equal (t.end_length, 100);
  assert_int_equal (t.end_written, 30);
}

TEST (an_error_of_begin_is_returned_with_nothing_open)
{
  struct test_fs t = { .fs.ops = &test_ops, .fail_at = 2 };
  struct iomap_iter iter;

  iomap_iter_init (&iter, &t.fs, 0, 500, 0);
  assert_int_equal (iomap_iter_next (&iter), 1);
  iter.processed = 100;
  assert_int_equal (iomap_iter_next (&iter), -ENOSPC);
  assert_int_equal (t.ends, 1);
  iomap_iter_stop (&iter);
  assert_int_equal (t.ends, 1);
  assert_int_equal (iter.pos, 100);
}

TEST (end_is_optional)
{
  const struct iomap_ops no_end = { .begin = test_begin };
  struct test_fs t = { .fs.ops = &no_end };
  struct iomap_iter iter;

  iomap_iter_init (&iter, &t.fs, 0, 50, 0);
  assert_int_equal (iomap_iter_next (&iter), 1);
  iter.processed = 50;
  assert_int_equal (iomap_iter_next (&iter), 0);
}

RUN_TESTS ()
