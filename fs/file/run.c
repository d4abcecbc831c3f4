/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: requests into an engine and out of it.
 *
 * Any thread submits, under the lock.  Results are taken by the loop thread,
 * which the engine wakes by an eventfd.  As many requests as the queue lets
 * through are with the engine.  done is called without the lock.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/file/file-impl.h"

/* Results taken before other watchers of the loop get their turn. */
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

void
file_wake_loop (const struct store_file *sf)
{
  ssize_t n = eventfd_write (sf->event_fd, 1);

  (void) n; /* fails only when the counter is full: it is awake then */
}

/* -------------------------------------------------------- under the lock */

static void
add_call (struct store_file *sf, struct store_req *req)
{
  struct file_call call;

  file_prepare (sf, req, &call);
  sf->engine->add (sf, req, &call);
}

static void
finish (struct store_file *sf, struct store_req *req, int error,
        struct done_list *done)
{
  store_queue_done (&sf->queue, req);
  done_add (done, req, error);
}

/* Make the calls of these requests, by req->next, which have had their turn;
 * but those that change something not without a look at the store's size.
 */
static void
start (struct store_file *sf, struct store_req *reqs, struct done_list *done)
{
  struct store_req *req;
  bool looked = false;

  while ((req = reqs) != NULL) {
    reqs = req->next;
    if (req->op != STORE_READ && !looked) {
      file_look (sf);
      looked = true;
    }
    if (file_is_cut (sf, req))
      finish (sf, req, -EIO, done);
    else
      add_call (sf, req);
  }
  sf->engine->kick (sf);
}

static void
start_waiting (struct store_file *sf, struct done_list *done)
{
  struct store_req *reqs = NULL, **end = &reqs;

  while ((*end = store_queue_take (&sf->queue)) != NULL)
    end = &(*end)->next;
  start (sf, reqs, done);
}

static void
put_off (struct store_file *sf, struct store_req *req)
{
  req->next = sf->later;
  sf->later = req;
  if (ev_is_active (&sf->retry))
    return;
  ev_timer_set (&sf->retry, (double) FILE_PAUSE / NSEC_PER_SEC, 0);
  ev_timer_start (sf->loop, &sf->retry);
}

/* On the loop thread, which owns the timer. */
static void
take_result (struct store_file *sf, const struct file_result *result,
             struct done_list *done)
{
  struct store_req *req = result->req;
  int r = file_advance (sf, req, result->res);

  switch (r) {
  case FILE_AGAIN: add_call (sf, req); break;
  case FILE_LATER: put_off (sf, req); break;
  default: finish (sf, req, r, done);
  }
}

/* The store's size, as it was after all that is now taken was done. */
static void
look_after (struct store_file *sf, const struct file_result *results,
            unsigned n)
{
  unsigned i;

  for (i = 0; i < n; i++) {
    if (results[i].req->op == STORE_READ)
      continue;
    file_look (sf);
    return;
  }
}

static void
take_results (struct store_file *sf, struct done_list *done)
{
  struct file_result results[BUDGET];
  unsigned i, n = sf->engine->reap (sf, results, BUDGET);

  look_after (sf, results, n);
  for (i = 0; i < n; i++)
    take_result (sf, &results[i], done);
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
  take_results (sf, &done);
  start_waiting (sf, &done);
  if (sf->engine->ready (sf))
    file_wake_loop (sf);
  pthread_mutex_unlock (&sf->lock);
  done_call (&done);
}

/* What was put off has its turn again. */
static void
on_retry (struct ev_loop *loop, ev_timer *timer, int revents)
{
  struct store_file *sf = timer->data;
  struct done_list done = { NULL, &done.head };
  struct store_req *reqs;

  (void) loop;
  (void) revents;
  pthread_mutex_lock (&sf->lock);
  reqs = sf->later;
  sf->later = NULL;
  start (sf, reqs, &done);
  start_waiting (sf, &done);
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
    r = file_begin (sf, reqs[i]);
    if (r == FILE_AGAIN)
      store_queue_add (&sf->queue, reqs[i]);
    else
      done_add (&done, reqs[i], r);
  }
  start_waiting (sf, &done);
  pthread_mutex_unlock (&sf->lock);
  done_call (&done);
}

static int
start_engine (struct store_file *sf, const struct file_engine *engine)
{
  int r = engine->start (sf);

  if (r == 0)
    sf->engine = engine;
  return r;
}

static int
cannot_attach (struct store_file *sf, int error, const char *why)
{
  env_log (sf->store.env, LOG_ERROR, "%s: cannot do asynchronous I/O: %s",
           sf->path, why);
  return error;
}

static int
choose_engine (struct store_file *sf)
{
  int r;

  if (sf->io != FILE_IO_THREADS) {
    r = start_engine (sf, &file_ring);
    if (r == 0)
      return 0;
    if (sf->io == FILE_IO_URING)
      return cannot_attach (sf, r, file_ring_explain (r));
    env_log (sf->store.env, LOG_INFO, "%s: io=auto goes without io_uring: %s",
             sf->path, file_ring_explain (r));
  }
  r = start_engine (sf, &file_threads);
  return r < 0 ? cannot_attach (sf, r, strerror (-r)) : 0;
}

int
file_attach (struct store *store, struct ev_loop *loop)
{
  struct store_file *sf = store_file_of (store);
  int r;

  sf->event_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (sf->event_fd < 0)
    return cannot_attach (sf, -errno, strerror (errno));
  r = choose_engine (sf);
  if (r < 0) {
    close (sf->event_fd);
    return r;
  }
  env_log (sf->store.env, LOG_DEBUG, "%s: I/O by %s, %u requests at once",
           sf->path, sf->engine->name, sf->queue.depth);
  sf->loop = loop;
  ev_io_init (&sf->watcher, on_event, sf->event_fd, EV_READ);
  sf->watcher.data = sf;
  ev_io_start (loop, &sf->watcher);
  ev_init (&sf->retry, on_retry);
  sf->retry.data = sf;
  return 0;
}

void
file_detach (struct store *store)
{
  struct store_file *sf = store_file_of (store);

  assert (sf->queue.in_flight == 0 && store_queue_empty (&sf->queue));
  ev_io_stop (sf->loop, &sf->watcher);
  ev_timer_stop (sf->loop, &sf->retry);
  sf->engine->stop (sf);
  close (sf->event_fd);
}
