/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pending zeroes, case by case: what becomes one, who waits for what, and no room.
 */

#include <errno.h>
#include <stdint.h>

#include "fs/raw/pending.h"
#include "tests/unit/test.h"

static struct iomap_range
add (struct pending *p, uint64_t start, uint64_t end, bool keep)
{
  struct iomap_range zeroing = { .start = start, .end = end };

  assert_true (pending_add (p, &zeroing, keep, 1));
  assert_false (pending_added (p, &zeroing));
  return zeroing;
}

/* One after the other, forwards, backwards, or with a gap that is filled: one. */
TEST (merge)
{
  struct pending p;
  uint64_t i;

  assert_true (pending_init (&p, 1000));
  for (i = 0; i < 10000; i++)
    add (&p, i, i + 1, false);
  for (i = 30000; i > 20000; i--)
    add (&p, i - 1, i, false);
  assert_int_equal (p.count, 2);
  add (&p, 0, 30000, false);
  assert_int_equal (p.count, 1);
  assert_int_equal (p.bytes, 30000);
  add (&p, 10, 20, true);
  assert_int_equal (p.count, 3);
  for (i = 40000; i < 40500; i += 2)
    add (&p, i, i + 1, false);
  add (&p, 0, 50000, false);
  assert_int_equal (p.count, 3); /* the kept one had become a hole's again */
  pending_destroy (&p);
}

/* In any order, and though each was wanted as it came: they are sent as one. */
TEST (merge_late)
{
  static const unsigned order[] = { 3, 0, 2, 5, 1, 6 };
  uint64_t start, end;
  struct pending p;
  unsigned i;
  bool keep;

  assert_true (pending_init (&p, 1000));
  for (i = 0; i < sizeof order / sizeof order[0]; i++) {
    add (&p, order[i] * 10, order[i] * 10 + 10, false);
    pending_want_all (&p);
  }
  add (&p, 70, 80, false); /* nobody wants it */
  assert_true (pending_next (&p, 30, &start, &end, &keep));
  assert_int_equal (end - start, 30);
  pending_sent (&p, start, end, keep, 0);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 50);
  assert_int_equal (end, 70);
  assert_false (pending_next (&p, 1000, &start, &end, &keep));

  /* What has failed goes alone. */
  pending_sent (&p, 50, 70, false, -EIO);
  pending_retry (&p);
  pending_want_all (&p);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 50);
  assert_int_equal (end, 70);
  pending_destroy (&p);
}

/* What is sent while others come is done without them: nobody waits for ever. */
TEST (ticket)
{
  uint64_t ticket, start, end;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 1000));
  add (&p, 0, 10, false);
  ticket = pending_want (&p, 0, UINT64_MAX);
  add (&p, 5, 20, false);
  add (&p, 100, 110, false);
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), -EAGAIN);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 0);
  assert_int_equal (end, 10);
  assert_false (pending_next (&p, 1000, &start, &end, &keep));
  add (&p, 0, 30, false);
  pending_sent (&p, 0, 10, false, 0);
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), 0);

  /* Of the rest, only what is asked for. */
  ticket = pending_want (&p, 15, 16);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 15);
  assert_int_equal (end, 16);
  assert_false (pending_next (&p, 1000, &start, &end, &keep));
  pending_sent (&p, 15, 16, false, -EIO);
  assert_int_equal (pending_settled (&p, 15, 16, ticket), -EIO);
  assert_int_equal (pending_settled (&p, 16, 17, ticket), -EAGAIN);
  pending_destroy (&p);
}

/* Parts that somebody waits for, until there is no room for more: all is sent, and
 * what is written meanwhile gets its turn.
 */
TEST (full)
{
  uint64_t ticket, start, end, i, sent = 0;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 10));
  add (&p, 0, 100000, false);
  for (i = 0; i < 1000; i++)
    pending_want (&p, 100 + 2 * i, 101 + 2 * i);
  ticket = pending_want (&p, 0, UINT64_MAX);
  while (pending_next (&p, 1000, &start, &end, &keep)) {
    pending_sent (&p, start, end, keep, 0);
    sent += end - start;
  }
  assert_int_equal (sent, 100000);
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), 0);
  pending_flush_begin (&p);
  pending_flush_end (&p, 0);
  assert_int_equal (p.count, 0);

  add (&p, 0, 100000, false);
  for (i = 0; pending_map (&p, 100 + 2 * i, 101 + 2 * i, true); i++)
    pending_written (&p, 100 + 2 * i, 101 + 2 * i, 0);
  assert_true (p.overtaken);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  pending_sent (&p, start, end, keep, 0);
  pending_flush_begin (&p);
  pending_flush_end (&p, 0);
  pending_destroy (&p);
}

/* Who has no room waits for a flush, or fails as that did; but not for a loss, after
 * which the next will do.
 */
TEST (stuck)
{
  struct pending p;

  assert_true (pending_init (&p, 10));
  pending_flush_begin (&p);
  pending_flush_end (&p, -EIO);
  assert_int_equal (pending_stuck (&p), -EIO);
  pending_flush_begin (&p);
  pending_flush_end (&p, -ECONNRESET);
  assert_int_equal (pending_stuck (&p), 0);
  pending_destroy (&p);
}

/* All room is taken, but none is needed: data goes where no zero is, and where it
 * takes the place of whole ones.
 */
TEST (full_elsewhere)
{
  struct pending p;
  uint64_t i;

  assert_true (pending_init (&p, 10));
  add (&p, 0, 100000, false);
  for (i = 0; pending_map (&p, 100 + 2 * i, 101 + 2 * i, true); i++)
    pending_written (&p, 100 + 2 * i, 101 + 2 * i, 0);
  assert_true (pending_map (&p, 200000, 200010, true));
  pending_written (&p, 200000, 200010, 0);
  pending_destroy (&p);
}

/* What is zeroed where data is being written is sent around it, and there after it. */
TEST (around_data)
{
  uint64_t start, end;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 1000));
  pending_take (&p);
  assert_true (pending_map (&p, 10, 12, true));
  add (&p, 5, 20, false);
  pending_want (&p, 0, UINT64_MAX);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 5);
  assert_int_equal (end, 10);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 12);
  assert_int_equal (end, 20);
  assert_false (pending_next (&p, 1000, &start, &end, &keep));
  pending_written (&p, 10, 12, 0);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (start, 10);
  assert_int_equal (end, 12);
  pending_destroy (&p);
}

/* One that fails and is tried again and again, for others, and whose turn it is just
 * when somebody looks, has failed for who waited for that.
 */
TEST (tried_again_for_ever)
{
  uint64_t ticket, start, end;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 1000));
  add (&p, 0, 1, false);
  ticket = pending_want (&p, 0, UINT64_MAX);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  pending_sent (&p, start, end, keep, -EIO);
  assert_true (pending_map (&p, 0, 1, true)); /* data in its place, */
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), -EIO);
  pending_written (&p, 0, 1, -EIO); /* which fails as well */
  pending_want (&p, 0, UINT64_MAX);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), -EIO);
  assert_int_equal (pending_settled (&p, 0, 1, ticket), -EIO);
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, UINT64_MAX), -EAGAIN);
  pending_sent (&p, start, end, keep, 0);
  assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), 0);
  pending_destroy (&p);
}

/* Who waits for a range need not wait until others want what was zeroed there again
 * while data was written over it.
 */
TEST (zeroed_again_while_written)
{
  uint64_t ticket, start, end;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 1000));
  add (&p, 0, 10, false);
  pending_take (&p);
  assert_true (pending_map (&p, 0, 4, true));
  add (&p, 0, 10, false);
  ticket = pending_want (&p, 0, 10);
  assert_true (pending_next (&p, 100, &start, &end, &keep));
  assert_true (start == 4 && end == 10);
  assert_false (pending_next (&p, 100, &start, &end, &keep));
  assert_true (pending_written (&p, 0, 4, 0));
  assert_true (pending_next (&p, 100, &start, &end, &keep));
  assert_true (start == 0 && end == 4);
  pending_sent (&p, 0, 4, false, 0);
  pending_sent (&p, 4, 10, false, 0);
  assert_int_equal (pending_settled (&p, 0, 10, ticket), 0);
  pending_destroy (&p);
}

/* Zeroes that are done, and data over them all the time: who waits for them does not
 * wait for data that comes later.
 */
TEST (written_over_for_ever)
{
  uint64_t ticket, start, end, i;
  struct pending p;
  bool keep;

  assert_true (pending_init (&p, 1000));
  add (&p, 0, 1000, false);
  ticket = pending_want (&p, 0, UINT64_MAX);
  assert_true (pending_next (&p, 1000, &start, &end, &keep));
  pending_sent (&p, 0, 1000, false, 0);
  assert_true (pending_map (&p, 0, 1, true));
  for (i = 1; i < 100; i++) {
    assert_true (pending_map (&p, i, i + 1, true));
    pending_written (&p, i - 1, i, 0);
    assert_int_equal (pending_settled (&p, 0, UINT64_MAX, ticket), 0);
  }
  pending_written (&p, i - 1, i, 0);
  pending_destroy (&p);
}

RUN_TESTS ()
