/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: requests into an io_uring and out of it.
 *
 * Any thread submits, under the lock.  Completions are taken by the loop
 * thread, which the ring's eventfd wakes.  As many requests as the queue lets
 * through are in flight: in the kernel, or with an entry in the submission
 * queue.  done is called without the lock.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/store-file-impl.h"

/* Completions taken before other watchers of the loop get their turn. */
#define BUDGET 32

/* Requests that are done, by req->next, the error in req->state. */
struct done_list {
  struct store_req *head, **tail;
};

static void
done_add (struct done_list *done, struct store_req *req, int error)
{
  req->state = error;
  req->next = NULL;
  *done->tail = req;
  done->tail = &req->next;
}

static void
done_call (struct done_list *done)
{
  struct store_req *req;

  while ((req = done->head) != NULL) {
    done->head = req->next;
    req->done (req, req->state);
  }
}

/* Wake the loop thread. */
static void
poke (struct store_file *sf)
{
  ssize_t n = eventfd_write (sf->event_fd, 1);

  (void) n; /* fails only when the counter is full: it is awake then */
}

/* --------------------------------- one request, by its kind; under the lock */

/* FILE_AGAIN if the request is to go to the kernel, else its result. */
static int
request_begin (struct store_file *sf, struct store_req *req)
{
  bool empty = file_req_end (sf, req) == req->offset;

  req->progress = 0;
  req->state = 0;
  switch (req->op) {
  case STORE_FLUSH: req->progress = sf->flush_errors; return FILE_AGAIN;
  case STORE_READ: return empty ? file_rw_advance (sf, req, 0) : FILE_AGAIN;
  case STORE_WRITE:
    if (sf->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : FILE_AGAIN;
  default:
    if (sf->store.geo.readonly)
      return -EROFS;
    return empty ? 0 : file_zero_begin (sf, req);
  }
}

static void
request_prepare (struct store_file *sf, struct store_req *req)
{
  struct io_uring_sqe *sqe = io_uring_get_sqe (&sf->ring);

  assert (sqe); /* the queue has depth entries */
  switch (req->op) {
  case STORE_FLUSH:
    io_uring_prep_fsync (sqe, sf->sync_fd, IORING_FSYNC_DATASYNC);
    break;
  case STORE_READ:
  case STORE_WRITE: file_rw_prepare (sf, req, sqe); break;
  default: file_zero_prepare (sf, req, sqe);
  }
  io_uring_sqe_set_data (sqe, req);
}

/* The kernel reports a failed write-back to one of several concurrent flushes
 * only: all that were under way with it fail too.  The same goes for a cut, with
 * which went what had been written and not flushed.
 */
static int
flush_advance (struct store_file *sf, struct store_req *req, int res)
{
  if (file_transient (req, res))
    return FILE_AGAIN;
  if (res == 0 && atomic_exchange (&sf->cut_unreported, false))
    res = -EIO;
  if (res < 0) {
    sf->flush_errors++;
    return res;
  }
  return req->progress == sf->flush_errors ? 0 : -EIO;
}

static int
request_advance (struct store_file *sf, struct store_req *req, int res)
{
  int r;

  switch (req->op) {
  case STORE_FLUSH: return flush_advance (sf, req, res);
  case STORE_READ:
  case STORE_WRITE: r = file_rw_advance (sf, req, res); break;
  default: r = file_zero_advance (sf, req, res);
  }
  return file_is_cut (sf, req) ? -EIO : r;
}

/* ------------------------------------------------ the ring; under the lock */

/* Tell the kernel of new entries.  What it does not take now, for lack of
 * memory, it is offered again by the loop thread.
 */
static void
ring_submit (struct store_file *sf)
{
  int r = 0;

  while (io_uring_sq_ready (&sf->ring) > 0 && r >= 0)
    r = io_uring_submit (&sf->ring);
  if (r < 0)
    poke (sf);
}

static void
start_waiting (struct store_file *sf, struct done_list *done)
{
  struct store_req *req;
  bool looked = false;

  while ((req = store_queue_take (&sf->queue)) != NULL) {
    if (req->op != STORE_READ && !looked)
      file_look (sf);
    looked |= req->op != STORE_READ;
    if (!file_is_cut (sf, req)) {
      request_prepare (sf, req);
      continue;
    }
    store_queue_done (&sf->queue, req);
    done_add (done, req, -EIO);
  }
  ring_submit (sf);
}

static void
take_completion (struct store_file *sf, const struct io_uring_cqe *cqe,
                 struct done_list *done)
{
  struct store_req *req = io_uring_cqe_get_data (cqe);
  int r = request_advance (sf, req, cqe->res);

  if (r == FILE_AGAIN) {
    request_prepare (sf, req);
    return;
  }
  store_queue_done (&sf->queue, req);
  done_add (done, req, r);
}

/* The store's size, as it was after all that is now taken was done. */
static void
look_after (struct store_file *sf, struct io_uring_cqe **cqes, unsigned n)
{
  const struct store_req *req;
  unsigned i;

  for (i = 0; i < n; i++) {
    req = io_uring_cqe_get_data (cqes[i]);
    if (req->op == STORE_READ)
      continue;
    file_look (sf);
    return;
  }
}

static void
take_completions (struct store_file *sf, struct done_list *done)
{
  struct io_uring_cqe *cqes[BUDGET];
  unsigned i, n = io_uring_peek_batch_cqe (&sf->ring, cqes, BUDGET);

  look_after (sf, cqes, n);
  for (i = 0; i < n; i++)
    take_completion (sf, cqes[i], done);
  io_uring_cq_advance (&sf->ring, n);
}

/* ------------------------------------------------------------ entry points */

static void
on_event (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct store_file *sf = watcher->data;
  struct done_list done = { NULL, &done.head };
  eventfd_t value;

  (void) loop;
  (void) revents;
  eventfd_read (sf->event_fd, &value); /* before looking, lest one be missed */
  pthread_mutex_lock (&sf->lock);
  take_completions (sf, &done);
  start_waiting (sf, &done);
  if (io_uring_cq_ready (&sf->ring) > 0)
    poke (sf);
  pthread_mutex_unlock (&sf->lock);
  done_call (&done);
}

void
file_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct store_file *sf = store_file_of (store);
  struct done_list done = { NULL, &done.head };
  unsigned i;
  int r;

  pthread_mutex_lock (&sf->lock);
  for (i = 0; i < n; i++) {
    r = request_begin (sf, reqs[i]);
    if (r == FILE_AGAIN)
      store_queue_add (&sf->queue, reqs[i]);
    else
      done_add (&done, reqs[i], r);
  }
  start_waiting (sf, &done);
  pthread_mutex_unlock (&sf->lock);
  done_call (&done);
}

static const char *
explain_no_ring (int error)
{
  switch (error) {
  case -ENOSYS:
    return "this kernel has no io_uring (Linux 5.6 or later is needed)";
  case -EPERM:
    return "io_uring is not permitted here (see the sysctl "
           "kernel.io_uring_disabled, or the container's seccomp profile)";
  case -ENOMEM:
    return "too little locked memory is allowed for an io_uring (see "
           "ulimit -l)";
  default: return strerror (-error);
  }
}

int
file_ring_probe (const struct store_message *m)
{
  struct io_uring ring;
  int r = io_uring_queue_init (4, &ring, 0);

  if (r < 0)
    return store_refuse (m, r, "cannot do asynchronous I/O: %s",
                         explain_no_ring (r));
  io_uring_queue_exit (&ring);
  return 0;
}

static int
cannot_attach (struct store_file *sf, int error, const char *why)
{
  env_log (sf->store.env, LOG_ERROR, "%s: cannot do asynchronous I/O: %s",
           sf->path, why);
  return error;
}

static int
make_ring (struct store_file *sf)
{
  int r = io_uring_queue_init (sf->queue.depth, &sf->ring, 0);

  if (r < 0)
    return cannot_attach (sf, r, explain_no_ring (r));
  sf->event_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  r = sf->event_fd < 0 ? -errno
                       : io_uring_register_eventfd (&sf->ring, sf->event_fd);
  if (r == 0)
    return 0;
  if (sf->event_fd >= 0)
    close (sf->event_fd);
  io_uring_queue_exit (&sf->ring);
  return cannot_attach (sf, r, strerror (-r));
}

int
file_attach (struct store *store, struct ev_loop *loop)
{
  struct store_file *sf = store_file_of (store);
  int r = make_ring (sf);

  if (r < 0)
    return r;
  sf->loop = loop;
  ev_io_init (&sf->watcher, on_event, sf->event_fd, EV_READ);
  sf->watcher.data = sf;
  ev_io_start (loop, &sf->watcher);
  return 0;
}

void
file_detach (struct store *store)
{
  struct store_file *sf = store_file_of (store);

  assert (sf->queue.in_flight == 0 && store_queue_empty (&sf->queue));
  ev_io_stop (sf->loop, &sf->watcher);
  io_uring_queue_exit (&sf->ring);
  close (sf->event_fd);
}
