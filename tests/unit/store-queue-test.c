/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order in which a store's requests have their turn.
 */

#include <stdint.h>
#include <stdlib.h>

#include "fs/store-queue.h"
#include "tests/unit/test.h"

#define N 100

static struct store_req urgent[N], background[N];
static struct store store; /* without a lease, but where a test gives it one */

/* A queue with that many of each kind waiting. */
static void
fill (struct store_queue *queue, unsigned depth, int nr_urgent,
      int nr_background)
{
  int i;

  store_queue_init (queue, &store, depth);
  for (i = 0; i < nr_background; i++) {
    background[i] = (struct store_req) { .flags = STORE_BACKGROUND };
    store_queue_add (queue, &background[i]);
  }
  for (i = 0; i < nr_urgent; i++) {
    urgent[i] = (struct store_req) { .flags = STORE_FUA };
    store_queue_add (queue, &urgent[i]);
  }
}

static void
takes (struct store_queue *queue, struct store_req *expected)
{
  assert_ptr_equal (store_queue_take (queue), expected);
}

static void
takes_and_does (struct store_queue *queue, struct store_req *expected)
{
  takes (queue, expected);
  store_queue_done (queue, expected);
}

TEST (what_somebody_waits_for_goes_first)
{
  struct store_queue queue;
  int i;

  fill (&queue, 1, 3, 3);
  assert_false (store_queue_empty (&queue));
  for (i = 0; i < 3; i++)
    takes_and_does (&queue, &urgent[i]);
  for (i = 0; i < 3; i++)
    takes_and_does (&queue, &background[i]);
  takes (&queue, NULL);
  assert_true (store_queue_empty (&queue));
  assert_int_equal (queue.in_flight, 0);
  assert_int_equal (queue.background, 0);
}

TEST (no_more_is_in_flight_than_the_depth)
{
  struct store_queue queue;
  int i;

  fill (&queue, 5, 7, 0);
  for (i = 0; i < 5; i++)
    takes (&queue, &urgent[i]);
  takes (&queue, NULL);
  store_queue_done (&queue, &urgent[2]);
  takes (&queue, &urgent[5]);
  takes (&queue, NULL);
  assert_false (store_queue_empty (&queue));
}

/* Of depth, the background gets share. */
static void
background_share (unsigned depth, int share)
{
  struct store_queue queue;
  int i;

  fill (&queue, depth, 0, N);
  for (i = 0; i < share; i++)
    takes (&queue, &background[i]);
  takes (&queue, NULL);
  urgent[0] = (struct store_req) { .op = STORE_READ };
  store_queue_add (&queue, &urgent[0]);
  takes (&queue, queue.in_flight < queue.depth ? &urgent[0] : NULL);
  store_queue_done (&queue, &background[0]);
  if (queue.depth == 1)
    takes_and_does (&queue, &urgent[0]);
  takes (&queue, &background[share]);
}

TEST (the_background_leaves_room)
{
  background_share (0, 1);
  background_share (1, 1);
  background_share (2, 1);
  background_share (3, 2);
  background_share (4, 3);
  background_share (5, 3);
  background_share (32, 24);
  background_share (64, 48);
}

/* However much is urgent. */
TEST (the_background_does_not_starve)
{
  struct store_queue queue;
  int i, turns;

  fill (&queue, 1, 40, 3);
  for (i = turns = 0; i < 3; turns++) {
    struct store_req *req = store_queue_take (&queue);

    assert_non_null (req);
    assert_true (turns < 9 * 3);
    i += req == &background[i];
    store_queue_done (&queue, req);
  }
  assert_int_equal (turns, 9 * 3);

  /* What has no share left is not passed over. */
  fill (&queue, 2, 40, 3);
  takes (&queue, &urgent[0]);
  queue.passed = 0;
  takes (&queue, &urgent[1]);
  assert_int_equal (queue.passed, 1);
  store_queue_done (&queue, &urgent[0]);
  store_queue_done (&queue, &urgent[1]);
  queue.background = 1;
  takes (&queue, &urgent[2]);
  assert_int_equal (queue.passed, 1);
}

TEST (what_had_its_turn_has_it_again_first)
{
  struct store_queue queue;

  fill (&queue, 4, 2, 2);
  takes (&queue, &urgent[0]);
  takes (&queue, &urgent[1]);
  takes (&queue, &background[0]);
  store_queue_done (&queue, &urgent[0]);
  store_queue_done (&queue, &background[0]);
  store_queue_done (&queue, &urgent[1]);
  store_queue_add_first (&queue, &urgent[1]);
  store_queue_add_first (&queue, &urgent[0]);
  store_queue_add_first (&queue, &background[0]);
  takes_and_does (&queue, &urgent[0]);
  takes_and_does (&queue, &urgent[1]);
  takes_and_does (&queue, &background[0]);
  takes_and_does (&queue, &background[1]);

  /* Into a list that was empty, and behind it. */
  store_queue_add_first (&queue, &background[1]);
  store_queue_add (&queue, &background[0]);
  takes_and_does (&queue, &background[1]);
  takes_and_does (&queue, &background[0]);
  assert_true (store_queue_empty (&queue));
}

/* Others of both kinds have come meanwhile. */
TEST (what_was_held_goes_first_in_its_order)
{
  struct store_list held = { 0 };
  struct store_queue queue;
  int i;

  fill (&queue, 1, 3, 3);
  for (i = 0; i < 2; i++) {
    takes_and_does (&queue, &urgent[i]);
    store_list_add (&held, &urgent[i]);
  }
  store_queue_add_all_first (&queue, &held);
  assert_null (store_list_take (&held));
  for (i = 0; i < 3; i++)
    takes_and_does (&queue, &urgent[i]);

  for (i = 0; i < 2; i++) {
    takes_and_does (&queue, &background[i]);
    store_list_add (&held, &background[i]);
  }
  store_queue_add_all_first (&queue, &held);
  for (i = 0; i < 3; i++)
    takes_and_does (&queue, &background[i]);
  store_queue_add_all_first (&queue, &held);
  assert_true (store_queue_empty (&queue));
}

static int nr_done;

static void
expect_in_order (struct store_req *req, int error)
{
  assert_ptr_equal (req, &urgent[nr_done]);
  assert_int_equal (error, -nr_done);
  nr_done++;
  *req = (struct store_req) { 0 }; /* it may be used again */
}

TEST (what_is_done_is_told_its_error)
{
  struct store_list done = { 0 };
  int i;

  nr_done = 0;
  for (i = 0; i < 3; i++) {
    urgent[i] = (struct store_req) { .done = expect_in_order };
    store_done_add (&done, &urgent[i], -i);
  }
  store_done_call (&done);
  assert_int_equal (nr_done, 3);
  assert_null (store_list_take (&done));
}

TEST (a_depth_out_of_bounds_is_made_to_fit)
{
  struct store_queue queue;

  store_queue_init (&queue, &store, 0);
  assert_int_equal (queue.depth, 1);
  store_queue_init (&queue, &store, 4096);
  assert_int_equal (queue.depth, 4096);
  store_queue_init (&queue, &store, UINT32_MAX);
  assert_int_equal (queue.depth, 4096);
}

TEST (who_passes_by_counts)
{
  struct store_queue queue;

  fill (&queue, 2, 0, 1);
  urgent[0] = urgent[1] = (struct store_req) { 0 };
  assert_true (
    store_queue_pass (&queue, &urgent[0])); /* the background waits */
  assert_true (store_queue_pass (&queue, &urgent[0]));
  assert_false (
    store_queue_pass (&queue, &urgent[0])); /* that would be three */
  takes (&queue, NULL);
  store_queue_done (&queue, &urgent[0]);
  store_queue_add (&queue, &urgent[1]);
  assert_false (
    store_queue_pass (&queue, &urgent[0])); /* it was there before */
  takes (&queue, &urgent[1]);
  store_queue_done (&queue, &urgent[0]);
  store_queue_done (&queue, &urgent[1]);
  assert_int_equal (queue.in_flight, 0);
  takes_and_does (&queue, &background[0]);
}

/* --- with a lease */

static uint64_t now;
static unsigned asked;

static uint64_t
test_now (struct env *env)
{
  (void) env;
  return now;
}

static void
count_asked (void *opaque)
{
  (void) opaque;
  asked++;
}

/* Four that wait: a write, a read, a flush, a write; the lease has ended. */
static void
fill_with_lease (struct store_queue *queue)
{
  static const enum store_op ops[] = { STORE_WRITE, STORE_READ, STORE_FLUSH,
                                       STORE_WRITE };
  static struct env env = { .now = test_now };
  int i;

  now = 100;
  asked = 0;
  store = (struct store) { .env = &env };
  store.lease.ask = count_asked;
  atomic_store (&store.lease.until, 100);
  store_queue_init (queue, &store, N);
  for (i = 0; i < 4; i++) {
    urgent[i] = (struct store_req) { .op = ops[i] };
    store_queue_add (queue, &urgent[i]);
  }
}

TEST (while_a_lease_lasts_nothing_is_held)
{
  struct store_queue queue;
  int i;

  fill_with_lease (&queue);
  now = 99;
  for (i = 0; i < 4; i++)
    takes_and_does (&queue, &urgent[i]);
  assert_int_equal (asked, 0);
  store = (struct store) { 0 };
}

/* The read could fill the line in which the one that renews it stands. */
TEST (when_the_lease_has_ended_changes_are_held_and_what_comes_behind_them)
{
  struct store_req look = { .op = STORE_READ, .flags = STORE_RENEWS };
  struct store_list done = { 0 };
  struct store_queue queue;
  int i;

  fill_with_lease (&queue);
  takes (&queue, NULL);
  assert_true (asked > 0);
  assert_int_equal (queue.in_flight, 0);
  assert_false (store_queue_empty (&queue));
  store_queue_add (&queue, &look);
  takes_and_does (&queue, &look);
  store_queue_resume (&queue, 0, &done); /* but it has not been renewed */
  takes (&queue, NULL);
  atomic_store (&store.lease.until, 101);
  store_queue_resume (&queue, 0, &done);
  for (i = 0; i < 4; i++)
    takes_and_does (&queue, &urgent[i]);
  assert_true (store_queue_empty (&queue));
  assert_null (done.head);
  store = (struct store) { 0 };
}

TEST (what_is_held_fails_but_for_reads)
{
  struct store_list done = { 0 };
  struct store_queue queue;

  fill_with_lease (&queue);
  takes (&queue, NULL);
  store_queue_resume (&queue, -5, &done);
  takes_and_does (&queue, &urgent[1]);
  assert_true (store_queue_empty (&queue));
  assert_ptr_equal (store_list_take (&done), &urgent[0]);
  assert_ptr_equal (store_list_take (&done), &urgent[2]);
  assert_ptr_equal (store_list_take (&done), &urgent[3]);
  assert_int_equal (urgent[3].error, -5);
  store = (struct store) { 0 };
}

/* In the midst of a request, or when it would have passed by the queue. */
TEST (what_goes_on_is_held_too)
{
  struct store_list done = { 0 };
  struct store_queue queue;

  fill_with_lease (&queue);
  now = 99;
  takes (&queue, &urgent[0]);
  assert_true (store_queue_goes_on (&queue, &urgent[0]));
  now = 100;
  assert_false (store_queue_goes_on (&queue, &urgent[0]));
  assert_int_equal (queue.in_flight, 0);
  now = 99;
  takes_and_does (&queue, &urgent[0]);
  takes_and_does (&queue, &urgent[1]);
  takes_and_does (&queue, &urgent[2]);
  takes_and_does (&queue, &urgent[3]);
  now = 100;
  assert_false (store_queue_pass (&queue, &urgent[0]));
  assert_true (store_queue_pass (&queue, &urgent[1]));
  store_queue_resume (&queue, 0, &done);
  store = (struct store) { 0 };
}

TEST (while_holding_reads_go_on)
{
  struct store_list done = { 0 };
  struct store_queue queue;

  fill_with_lease (&queue);
  now = 99;
  queue.holding = true;
  takes_and_does (&queue, &urgent[1]);
  takes (&queue, NULL);
  assert_int_equal (asked, 0);
  store_queue_resume (&queue, 0, &done); /* for the lease */
  takes (&queue, NULL);
  queue.holding = false;
  store_queue_resume (&queue, 0, &done);
  takes_and_does (&queue, &urgent[0]);
  takes_and_does (&queue, &urgent[2]);
  takes_and_does (&queue, &urgent[3]);
  store = (struct store) { 0 };
}

RUN_TESTS ()
