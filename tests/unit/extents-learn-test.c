/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The extent map: what is learned of a store's answer, and what is not.
 */

#include "tests/unit/extents-expect.h"
#include "tests/unit/test.h"

/* What is a hole, and forgotten for lack of room, may be written then, of which no
 * one is told.
 */
TEST (cookie_changes_when_holes_are_forgotten_for_room)
{
  struct extents *e = extents_create (64);
  uint64_t cookie, i;

  extents_set (e, 0, 100, IOMAP_HOLE);
  cookie = extents_cookie (e);
  for (i = 1; i < 100; i++)
    extents_set (e, i * 200, 100, IOMAP_MAPPED);
  expect (e, 0, UNKNOWN, 100);
  assert_true (bumped (e, &cookie));
  extents_destroy (e);
}

TEST (only_what_was_asked_for_is_learned)
{
  struct extents *e = extents_create (100);
  struct extents_question q;

  extents_ask (e, &q, 100, 100);
  extents_learn (e, &q, 50, 100, IOMAP_HOLE);
  extents_learn (e, &q, 150, 100, IOMAP_MAPPED);
  extents_answered (e, &q);
  expect (e, 0, UNKNOWN, 100);
  expect (e, 100, IOMAP_HOLE, 50);
  expect (e, 150, IOMAP_MAPPED, 50);
  expect (e, 200, UNKNOWN, 100);
  extents_destroy (e);
}

/* What was written and forgotten since the store was asked is not a hole; what
 * is elsewhere, or was learned before, has nothing to do with it.
 */
TEST (what_was_forgotten_meanwhile_is_not_learned)
{
  struct extents *e = extents_create (100);
  struct extents_question q, other;

  extents_ask (e, &q, 0, 1000);
  extents_ask (e, &other, 5000, 1000);
  extents_set (e, 100, 100, IOMAP_MAPPED);
  extents_set (e, 300, 100, IOMAP_MAPPED);
  extents_forget (e, 150, 10);
  extents_forget (e, 300, 100);
  extents_learn (e, &q, 0, 800, IOMAP_HOLE);
  extents_learn (e, &other, 5000, 1000, IOMAP_HOLE);
  expect (e, 0, IOMAP_HOLE, 100);
  expect (e, 100, IOMAP_MAPPED, 50);
  expect (e, 150, UNKNOWN, 10);
  expect (e, 160, IOMAP_MAPPED, 40);
  expect (e, 200, UNKNOWN, 200);
  expect (e, 400, IOMAP_HOLE, 400);
  expect (e, 5000, IOMAP_HOLE, 1000);
  extents_forget (e, 0, 400); /* learned already: of no interest */
  extents_learn (e, &q, 800, 200, IOMAP_HOLE);
  expect (e, 400, IOMAP_HOLE, 600);
  extents_answered (e, &q);
  extents_answered (e, &other);
  learn (e, 0, 1000, IOMAP_HOLE);
  expect (e, 0, IOMAP_HOLE, 1000);
  extents_destroy (e);
}

/* Neither if it was forgotten for want of room. */
TEST (what_had_no_room_is_not_learned)
{
  struct extents *e = extents_create (64);
  struct extents_question q;
  enum iomap_type type;
  uint64_t n, i;

  extents_ask (e, &q, 0, 1000 * 200);
  for (i = 0; i < 1000; i++)
    extents_set (e, i * 200, 100, IOMAP_MAPPED);
  extents_learn (e, &q, 0, 1000 * 200, IOMAP_HOLE);
  extents_answered (e, &q);
  for (i = 0; i < 1000; i++) {
    n = 100;
    if (extents_lookup (e, i * 200, &n, &type))
      assert_int_equal (type, IOMAP_MAPPED);
  }
  extents_destroy (e);
}

/* What is looked at stays, and so does what an answer is awaited for; the oldest of
 * the rest goes.
 */
TEST (the_oldest_is_forgotten_first)
{
  struct extents *e = extents_create (512);
  struct extents_question q;
  uint64_t i;

  for (i = 0; i < 512; i++)
    extents_set (e, i * 200, 100, IOMAP_MAPPED);
  extents_ask (e, &q, 20 * 200, 200);
  expect (e, 10 * 200, IOMAP_MAPPED, 100);
  for (; i < 540; i++)
    extents_set (e, i * 200, 100, IOMAP_MAPPED);
  extents_answered (e, &q);
  for (i = 0; i <= 20; i++)
    expect (e, i * 200, i == 10 || i == 20 ? IOMAP_MAPPED : UNKNOWN, 100);
  for (i = 50; i < 540; i++)
    expect (e, i * 200, IOMAP_MAPPED, 100);
  extents_destroy (e);
}

/* A full map, and writers that go on meanwhile: all of an answer is kept. */
TEST (an_answer_of_many_runs_is_learned_even_when_full)
{
  struct extents *e = extents_create (6400);
  const uint64_t base = 1 << 30;
  struct extents_question q;
  uint64_t i;

  for (i = 0; i < 10000; i++)
    extents_set (e, i * 200, 100, IOMAP_MAPPED);
  extents_ask (e, &q, base, 4000 * 100);
  for (i = 0; i < 4000; i++) {
    if (i % 4 == 0)
      extents_set (e, (10000 + i) * 200, 100, IOMAP_MAPPED);
    extents_learn (e, &q, base + i * 100, 100,
                   i % 2 ? IOMAP_HOLE : IOMAP_MAPPED);
  }
  extents_answered (e, &q);
  for (i = 0; i < 4000; i++)
    expect (e, base + i * 100, i % 2 ? IOMAP_HOLE : IOMAP_MAPPED, 100);
  assert_true (extents_count (e) <= 6400);
  extents_destroy (e);
}

RUN_TESTS ()
