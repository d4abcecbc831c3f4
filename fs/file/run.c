/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: requests into an engine and out of it.
 *
 * Any thread submits, under the lock.  Results are taken by the loop thread,
 * which the engine wakes by an eventfd.  As many requests as the queue lets
 * through are with the engine.  done is called without the lock.
 *
 *   a request is  linked by    goes on by
 *   waiting       queue        start_waiting, in its turn: under way, or held
 *   held          queue.held   file_resume, the lease being renewed: waiting; being lost: done
 *   under way     the engine   its result, by file_advance: under way again, put off, done
 *   put off       later        on_retry: under way
 *   done          a done list  store_done_call
 *
 * Instead of being under way (again) it is done, in vain, if it is cut off; and waits, to
 * be held, if the lease has ended.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/file/cut.h"
#include "fs/file/engine.h"
#include "fs/file/request.h"
#include "fs/file/ring.h"
#include "fs/file/run.h"
#include "fs/file/threads.h"

/* Results taken before other watchers of the loop get their turn. */
#define BUDGET 32

/* -------------------------------------------------------- under the lock */

static void
add_call (struct file_store *file, struct store_req *req)
{
  struct file_call call;

  file_prepare (file, req, &call);
  file->engine->add (file, req, &call);
}

static void
finish (struct file_store *file, struct store_req *req, int error,
        struct store_list *done)
{
  store_queue_done (&file->queue, req);
  store_done_add (done, req, error);
}

/* Make the calls of these requests, by req->next, which have had their turn;
 * but those that change something not without a look at the store's size.
 */
static void
start (struct file_store *file, struct store_req *reqs, struct store_list *done)
{
  struct store_req *req;
  bool looked = false;

  while ((req = reqs) != NULL) {
    reqs = req->next;
    if (req->op != STORE_READ && !looked) {
      file_look (file);
      looked = true;
    }
    if (file_is_cut (file, req))
      finish (file, req, -EIO, done);
    else
      add_call (file, req);
  }
  file->engine->kick (file);
}

static void
start_waiting (struct file_store *file, struct store_list *done)
{
  struct store_req *reqs = NULL, **end = &reqs;

  while ((*end = store_queue_take (&file->queue)) != NULL)
    end = &(*end)->next;
  start (file, reqs, done);
}

static void
put_off (struct file_store *file, struct store_req *req)
{
  req->next = file->later;
  file->later = req;
  if (ev_is_active (&file->retry))
    return;
  ev_timer_set (&file->retry, (double) FILE_PAUSE / NSEC_PER_SEC, 0);
  ev_timer_start (file->loop, &file->retry);
}

/* On the loop thread, which owns the timer. */
static void
take_result (struct file_store *file, const struct file_result *result,
             struct store_list *done)
{
  struct store_req *req = result->req;
  int r = file_advance (file, req, result->res);

  switch (r) {
  case FILE_AGAIN:
    if (store_queue_goes_on (&file->queue, req))
      add_call (file, req);
    break;
  case FILE_LATER: put_off (file, req); break;
  default: finish (file, req, r, done);
  }
}

/* The store's size, as it was after all that is now taken was done. */
static void
look_after (struct file_store *file, const struct file_result *results,
            unsigned n)
{
  unsigned i;

  for (i = 0; i < n; i++) {
    if (results[i].req->op == STORE_READ)
      continue;
    file_look (file);
    return;
  }
}

static void
take_results (struct file_store *file, struct store_list *done)
{
  struct file_result results[BUDGET];
  unsigned i, n = file->engine->reap (file, results, BUDGET);

  look_after (file, results, n);
  for (i = 0; i < n; i++)
    take_result (file, &results[i], done);
}

/* ------------------------------------------------------------ entry points */

static void
on_event (struct ev_loop *loop, ev_io *watcher, int revents)
{
  struct file_store *file = watcher->data;
  struct store_list done = { 0 };
  eventfd_t value;

  (void) loop;
  (void) revents;
  eventfd_read (file->event_fd,
                &value); /* before looking, lest one be missed */
  pthread_mutex_lock (&file->lock);
  take_results (file, &done);
  start_waiting (file, &done);
  if (file->engine->ready (file))
    file_wake_loop (file);
  pthread_mutex_unlock (&file->lock);
  store_done_call (&done);
}

/* What was put off has its turn again, if it may go. */
static struct store_req *
take_later (struct file_store *file)
{
  struct store_req *req, *next, *reqs = NULL, **end = &reqs;

  for (req = file->later; req; req = next) {
    next = req->next;
    if (!store_queue_goes_on (&file->queue, req))
      continue;
    *end = req;
    end = &req->next;
  }
  *end = NULL;
  file->later = NULL;
  return reqs;
}

static void
on_retry (struct ev_loop *loop, ev_timer *timer, int revents)
{
  struct file_store *file = timer->data;
  struct store_list done = { 0 };

  (void) loop;
  (void) revents;
  pthread_mutex_lock (&file->lock);
  start (file, take_later (file), &done);
  start_waiting (file, &done);
  pthread_mutex_unlock (&file->lock);
  store_done_call (&done);
}

/* Make the calls on this thread, which would sleep otherwise: no one has to be
 * woken, first to take the result, then to hear of it.  What is to be tried again
 * later goes the way of all others.  The lock is held, but not meanwhile.
 */
static void
run_here (struct file_store *file, struct store_req *req,
          struct store_list *done)
{
  struct file_call call;
  int r, res;

  do {
    file_prepare (file, req, &call);
    pthread_mutex_unlock (&file->lock);
    res = file_make_call (&call);
    pthread_mutex_lock (&file->lock);
    if (req->op != STORE_READ)
      file_look (file);
    r = file_advance (file, req, res);
    if (r > 0 && !store_queue_goes_on (&file->queue, req))
      return;
  } while (r == FILE_AGAIN);
  if (r != FILE_LATER) {
    finish (file, req, r, done);
    return;
  }
  add_call (file, req);
  file->engine->kick (file);
}

static bool
may_run_here (struct file_store *file, const struct store_req *req)
{
  if (!(req->flags & STORE_AWAITED))
    return false;
  if (req->op != STORE_READ)
    file_look (file);
  return !file_is_cut (file, req) && store_queue_pass (&file->queue, req);
}

void
file_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct file_store *file = file_store_of (store);
  struct store_list done = { 0 };
  unsigned i;
  int r;

  pthread_mutex_lock (&file->lock);
  for (i = 0; i < n; i++) {
    r = file_begin (file, reqs[i]);
    if (r != FILE_AGAIN)
      store_done_add (&done, reqs[i], r);
    else if (may_run_here (file, reqs[i]))
      run_here (file, reqs[i], &done);
    else
      store_queue_add (&file->queue, reqs[i]);
  }
  start_waiting (file, &done);
  pthread_mutex_unlock (&file->lock);
  store_done_call (&done);
}

void
file_resume (struct store *store, int error)
{
  struct file_store *file = file_store_of (store);
  struct store_list done = { 0 };

  pthread_mutex_lock (&file->lock);
  store_queue_resume (&file->queue, error, &done);
  start_waiting (file, &done);
  pthread_mutex_unlock (&file->lock);
  store_done_call (&done);
}

static int
cannot_attach (struct file_store *file, int error, const char *why)
{
  env_log (file->store.env, LOG_ERROR, "%s: cannot do asynchronous I/O: %s",
           file->path, why);
  return error;
}

static int
choose_engine (struct file_store *file)
{
  int r;

  if (file->io != FILE_IO_THREADS) {
    file->engine = &file_ring;
    r = file->engine->start (file);
    if (r == 0)
      return 0;
    if (file->io == FILE_IO_URING)
      return cannot_attach (file, r, file_ring_explain (r));
    env_log (file->store.env, LOG_INFO, "%s: io=auto goes without io_uring: %s",
             file->path, file_ring_explain (r));
  }
  file->engine = &file_threads;
  r = file->engine->start (file);
  return r < 0 ? cannot_attach (file, r, strerror (-r)) : 0;
}

int
file_attach (struct store *store, struct ev_loop *loop)
{
  struct file_store *file = file_store_of (store);
  int r;

  file->event_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (file->event_fd < 0)
    return cannot_attach (file, -errno, strerror (errno));
  r = choose_engine (file);
  if (r < 0) {
    close (file->event_fd);
    return r;
  }
  env_log (file->store.env, LOG_DEBUG, "%s: I/O by %s, %u requests at once",
           file->path, file->engine->name, file->queue.depth);
  file->loop = loop;
  ev_io_init (&file->watcher, on_event, file->event_fd, EV_READ);
  file->watcher.data = file;
  ev_io_start (loop, &file->watcher);
  ev_init (&file->retry, on_retry);
  file->retry.data = file;
  file->created = false; /* from now on it is there to stay */
  return 0;
}

void
file_detach (struct store *store)
{
  struct file_store *file = file_store_of (store);

  assert (file->queue.in_flight == 0 && store_queue_empty (&file->queue));
  ev_io_stop (file->loop, &file->watcher);
  ev_timer_stop (file->loop, &file->retry);
  file->engine->stop (file);
  close (file->event_fd);
}
