/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: which requests go first.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

/* Requests whose order is watched.  Without a thread that runs the loop they
 * are done when the test says so, and in the order of the queue if only one is
 * in flight.
 */
struct turns {
  struct store_req req[8];
  struct iovec iov[8];
  struct store_req *done[8];
  int nr_done;
};

static void
turn_done (struct store_req *req, int error)
{
  size_t i = req->offset / 4096;
  struct turns *turns =
    (struct turns *) ((char *) req->iov - offsetof (struct turns, iov[i]));

  assert_int_equal (error, 0);
  turns->done[turns->nr_done++] = req;
}

static void
turns_submit (struct turns *turns, struct rig *rig, int first, int n,
              enum store_op op, unsigned flags)
{
  struct store_req *reqs[8];
  int i;

  for (i = 0; i < n; i++) {
    reqs[i] = &turns->req[first + i];
    *reqs[i] = (struct store_req) {
      .op = op,
      .flags = flags,
      .offset = (uint64_t) (first + i) * 4096,
      .length = 4096,
      .iov = &turns->iov[first + i],
      .niov = 1,
      .done = turn_done,
    };
  }
  rig->store->ops->submit (rig->store, reqs, (unsigned) n);
}

static void
turns_begin (struct turns *turns, struct rig *rig, unsigned io_depth, void *buf)
{
  struct file_store_options o = options_for (first_place ());
  size_t i;

  o.io_depth = io_depth;
  rig_open (rig, &o);
  assert_int_equal (rig->store->ops->attach (rig->store, rig->on.ev), 0);
  memset (turns, 0, sizeof *turns);
  for (i = 0; i < 8; i++)
    turns->iov[i] = (struct iovec) { (char *) buf + i * 4096, 4096 };
}

static void
turns_end (struct turns *turns, struct rig *rig, int n)
{
  while (turns->nr_done < n)
    ev_run (rig->on.ev, EVRUN_ONCE);
  rig->store->ops->detach (rig->store);
  rig_close (rig);
}

TEST (reads_go_before_background_writes)
{
  void *buf = aligned_memory (8 * 4096, 0);
  struct turns turns;
  struct rig rig;

  turns_begin (&turns, &rig, 1, buf);
  turns_submit (&turns, &rig, 0, 4, STORE_WRITE, STORE_BACKGROUND);
  turns_submit (&turns, &rig, 4, 2, STORE_READ, 0);
  turns_end (&turns, &rig, 6);
  assert_ptr_equal (turns.done[0], &turns.req[0]); /* it was in flight */
  assert_ptr_equal (turns.done[1], &turns.req[4]);
  assert_ptr_equal (turns.done[2], &turns.req[5]);
  assert_ptr_equal (turns.done[3], &turns.req[1]);
  assert_ptr_equal (turns.done[5], &turns.req[3]);
  free (buf);
}

TEST (background_writes_leave_room_for_reads)
{
  void *buf = aligned_memory (8 * 4096, 0);
  struct store_queue *queue;
  struct turns turns;
  struct rig rig;

  turns_begin (&turns, &rig, 4, buf);
  queue = &file_store_of (rig.store)->queue;
  turns_submit (&turns, &rig, 0, 6, STORE_WRITE, STORE_BACKGROUND);
  assert_int_equal (queue->in_flight, 3);
  turns_submit (&turns, &rig, 6, 1, STORE_READ, 0);
  assert_int_equal (queue->in_flight, 4);
  turns_end (&turns, &rig, 7);
  free (buf);
}

/* Its thread has nothing else to do: it makes the call, and no loop is needed. */
TEST (who_awaits_a_read_does_it)
{
  char *buf = aligned_memory (8 * 4096, 0), *data = aligned_memory (4096, 0x5a);
  struct turns turns;
  struct rig rig;
  int i;

  turns_begin (&turns, &rig, 1, data);
  turns_submit (&turns, &rig, 0, 1, STORE_WRITE, 0);
  turns_end (&turns, &rig, 1);

  turns_begin (&turns, &rig, 1, buf);
  for (i = 0; i < 2; i++) {
    turns_submit (&turns, &rig, i, 1, STORE_READ, STORE_AWAITED);
    assert_int_equal (turns.nr_done, i + 1);
    assert_int_equal (file_store_of (rig.store)->queue.in_flight, 0);
  }
  turns_end (&turns, &rig, 2);
  assert_memory_equal (buf, data, 4096);
  free (buf);
  free (data);
}

/* A write likewise, and with FUA. */
TEST (who_awaits_a_write_does_it)
{
  char *buf = aligned_memory (8 * 4096, 0), *data = aligned_memory (4096, 0x5b);
  unsigned fua;
  struct turns turns;
  struct rig rig;

  turns_begin (&turns, &rig, 1, data);
  fua = rig.store->geo.can_fua ? STORE_FUA : 0;
  turns_submit (&turns, &rig, 0, 1, STORE_WRITE, STORE_AWAITED);
  turns_submit (&turns, &rig, 1, 1, STORE_WRITE, STORE_AWAITED | fua);
  assert_int_equal (turns.nr_done, 2);
  assert_int_equal (file_store_of (rig.store)->queue.in_flight, 0);
  turns_end (&turns, &rig, 2);

  turns_begin (&turns, &rig, 1, buf);
  turns_submit (&turns, &rig, 0, 1, STORE_READ, 0);
  turns_end (&turns, &rig, 1);
  assert_memory_equal (buf, data, 4096);
  free (buf);
  free (data);
}

/* But not out of turn. */
TEST (who_awaits_a_read_may_have_to_queue)
{
  void *buf = aligned_memory (8 * 4096, 0);
  struct turns turns;
  struct rig rig;

  turns_begin (&turns, &rig, 2, buf);
  turns_submit (&turns, &rig, 0, 2, STORE_READ, 0);
  turns_submit (&turns, &rig, 2, 1, STORE_READ, STORE_AWAITED);
  assert_int_equal (turns.nr_done, 0);
  turns_end (&turns, &rig, 3);
  free (buf);
}

RUN_WITH_ENGINES ()
