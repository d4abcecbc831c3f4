/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store's first engine: an io_uring, whose eventfd wakes the loop
 * thread.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <liburing.h>

#include "fs/file/ring.h"
#include "fs/file/state.h"

static struct io_uring *
ring_of (const struct file_store *file)
{
  return file->backend;
}

static void
prepare_sqe (struct io_uring_sqe *sqe, const struct file_call *call)
{
  unsigned length = (unsigned) call->length;

  switch (call->kind) {
  case CALL_READ:
    if (call->n > 0)
      io_uring_prep_readv (sqe, call->fd, call->iov, call->n, call->offset);
    else
      io_uring_prep_read (sqe, call->fd, call->base, length, call->offset);
    break;
  case CALL_WRITE:
    if (call->n > 0)
      io_uring_prep_writev (sqe, call->fd, call->iov, call->n, call->offset);
    else
      io_uring_prep_write (sqe, call->fd, call->base, length, call->offset);
    sqe->rw_flags = call->flags;
    break;
  case CALL_ALLOCATE:
    io_uring_prep_fallocate (sqe, call->fd, call->flags, call->offset,
                             call->length);
    break;
  case CALL_SYNC: io_uring_prep_fsync (sqe, call->fd, IORING_FSYNC_DATASYNC);
  }
}

static void
ring_add (struct file_store *file, struct store_req *req,
          const struct file_call *call)
{
  struct io_uring_sqe *sqe = io_uring_get_sqe (ring_of (file));

  assert (sqe); /* the queue has depth entries */
  prepare_sqe (sqe, call);
  io_uring_sqe_set_data (sqe, req);
}

/* Tell the kernel of new entries.  What it does not take now, for lack of
 * memory, it is offered again by the loop thread.
 */
static void
ring_kick (struct file_store *file)
{
  struct io_uring *ring = ring_of (file);
  int r = 0;

  while (io_uring_sq_ready (ring) > 0 && r >= 0)
    r = io_uring_submit (ring);
  if (r < 0)
    file_wake_loop (file);
}

static unsigned
ring_reap (struct file_store *file, struct file_result *results, unsigned max)
{
  struct io_uring *ring = ring_of (file);
  struct io_uring_cqe *cqe;
  unsigned n;

  for (n = 0; n < max && io_uring_peek_cqe (ring, &cqe) == 0; n++) {
    results[n].req = io_uring_cqe_get_data (cqe);
    results[n].res = cqe->res;
    io_uring_cqe_seen (ring, cqe);
  }
  return n;
}

static bool
ring_ready (struct file_store *file)
{
  return io_uring_cq_ready (ring_of (file)) > 0;
}

const char *
file_ring_explain (int error)
{
  switch (error) {
  case -ENOSYS:
    return "there is no io_uring here (Linux 5.6 or later is needed, and some "
           "containers' seccomp profiles hide it)";
  case -EPERM:
  case -EACCES:
    return "io_uring is not permitted here (see the sysctl "
           "kernel.io_uring_disabled, or the container's seccomp profile)";
  case -ENOMEM:
    return "too little locked memory is allowed for an io_uring (see "
           "ulimit -l)";
  default: return strerror (-error);
  }
}

/* A sandbox may allow to make a ring and not to use it. */
static int
ring_runs (struct io_uring *ring)
{
  int r;

  io_uring_prep_nop (io_uring_get_sqe (ring));
  r = io_uring_submit_and_wait (ring, 1);
  if (r < 0)
    return r;
  io_uring_cq_advance (ring, 1);
  return 0;
}

/* The first kernels with io_uring lack some of the calls. */
static int
ring_has_all (struct io_uring *ring)
{
  static const int ops[] = { IORING_OP_READ,  IORING_OP_WRITE,
                             IORING_OP_READV, IORING_OP_WRITEV,
                             IORING_OP_FSYNC, IORING_OP_FALLOCATE };
  struct io_uring_probe *probe = io_uring_get_probe_ring (ring);
  bool all = probe != NULL;
  size_t i;

  for (i = 0; i < sizeof ops / sizeof ops[0]; i++)
    all = all && io_uring_opcode_supported (probe, ops[i]);
  io_uring_free_probe (probe);
  return all ? 0 : -ENOSYS;
}

static int
make_ring (struct io_uring *ring, unsigned depth)
{
  int r = io_uring_queue_init (depth, ring, 0);

  if (r < 0)
    return r;
  r = ring_runs (ring);
  if (r == 0)
    r = ring_has_all (ring);
  if (r < 0)
    io_uring_queue_exit (ring);
  return r;
}

int
file_ring_probe (const struct store_message *m)
{
  struct io_uring ring;
  int r = make_ring (&ring, 4);

  if (r < 0)
    return store_refuse (m, r, "io=uring: %s; use io=auto or io=threads",
                         file_ring_explain (r));
  io_uring_queue_exit (&ring);
  return 0;
}

static int
ring_start (struct file_store *file)
{
  struct io_uring *ring = malloc (sizeof *ring);
  int r;

  if (ring == NULL)
    return -ENOMEM;
  r = make_ring (ring, file->queue.depth);
  if (r == 0) {
    r = io_uring_register_eventfd (ring, file->event_fd);
    if (r == 0) {
      file->backend = ring;
      return 0;
    }
    io_uring_queue_exit (ring);
  }
  free (ring);
  return r;
}

static void
ring_stop (struct file_store *file)
{
  io_uring_queue_exit (ring_of (file));
  free (file->backend);
}

const struct file_engine file_ring = {
  .name = "io_uring",
  .start = ring_start,
  .stop = ring_stop,
  .add = ring_add,
  .kick = ring_kick,
  .reap = ring_reap,
  .ready = ring_ready,
};
