/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A loop for a real store: see store-loop.h.
 */

#include "tests/unit/store-loop.h"
#include "tests/unit/test.h"

static void
stop_loop (struct ev_loop *loop, ev_async *async, int revents)
{
  (void) async;
  (void) revents;
  ev_break (loop, EVBREAK_ALL);
}

static void *
run_loop (void *opaque)
{
  struct store_loop *loop = opaque;

  ev_run (loop->ev, 0);
  return NULL;
}

void
store_loop_make (struct store_loop *loop)
{
  loop->running = false;
  loop->ev = ev_loop_new (EVFLAG_AUTO);
  assert_non_null (loop->ev);
  ev_async_init (&loop->stop, stop_loop);
  ev_async_start (loop->ev, &loop->stop);
}

void
store_loop_start (struct store_loop *loop, struct store *store)
{
  assert_int_equal (store->ops->attach (store, loop->ev), 0);
  assert_int_equal (pthread_create (&loop->thread, NULL, run_loop, loop), 0);
  loop->running = true;
}

void
store_loop_end (struct store_loop *loop, struct store *store)
{
  if (loop->running) {
    ev_async_send (loop->ev, &loop->stop);
    pthread_join (loop->thread, NULL);
    store->ops->detach (store);
    loop->running = false;
  }
  store->ops->close (store);
  ev_loop_destroy (loop->ev);
}

int
store_io (struct store *store, enum store_op op, unsigned flags,
          uint64_t offset, void *buf, uint64_t length)
{
  struct iovec iov = { buf, length };
  struct store_req req = {
    .op = op,
    .flags = flags,
    .offset = offset,
    .length = length,
    .iov = buf ? &iov : NULL,
    .niov = buf ? 1 : 0,
  };

  return store_submit_wait (store, &req);
}
