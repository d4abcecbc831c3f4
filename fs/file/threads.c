/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store's second engine: threads that make the calls, one for each
 * that may be under way, for where there is no io_uring.
 *
 * Nobody wakes a crowd.  What is to be done stands in one list, of which a thread
 * that has made a call takes the next; a thread is woken only if none is on its
 * way already, and wakes another before its call if it leaves something.  So none
 * waits in the list while a thread is idle and none is coming, the loop thread
 * pays for one wake-up at most, and when there is much to do, few are needed.
 *
 * Lock order: the store's lock, then the pool's.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "fs/file/threads.h"

#define MAX_THREADS 256u
#define STACK_SIZE ((size_t) 128 << 10) /* of a thread, bytes */

struct job {
  struct file_call call;
  struct store_req *req;
  int res;
  STAILQ_ENTRY (job) link;
};

STAILQ_HEAD (job_list, job);

struct pool;

/* A thread. */
struct worker {
  struct pool *pool;
  pthread_t thread;
  struct worker *next; /* idle: the next that is */
  _Atomic uint32_t go; /* it sleeps on this until it is 1 */
};

struct pool {
  struct file_store *file;
  struct job *jobs; /* as many as there are threads */
  struct worker *workers;
  unsigned nr_threads;

  /* Protected by the store's lock. */
  struct job_list unused;
  struct job_list added; /* since the last kick */

  pthread_mutex_t lock; /* protects what follows */
  struct job_list todo, done;
  struct worker
    *idle;     /* the last first: its stack is in the processor's cache */
  bool waking; /* one is no longer idle, and has not looked at todo since */
  bool stop;
};

/* The first, taken out; NULL: there is none. */
static struct job *
take_job (struct job_list *list)
{
  struct job *job = STAILQ_FIRST (list);

  if (job)
    STAILQ_REMOVE_HEAD (list, link);
  return job;
}

/* ------------------------------------------------------------------- calls */

static int
result (ssize_t n)
{
  return n < 0 ? -errno : (int) n;
}

/* Some sandboxes know no flags of writes: as durable, by two calls. */
static int
write_durably (const struct file_call *call, const struct iovec *iov, int n)
{
  off_t offset = (off_t) call->offset;
  int r = result (pwritev2 (call->fd, iov, n, offset, call->flags));

  if (r != -EOPNOTSUPP && r != -ENOSYS)
    return r;
  r = result (pwritev (call->fd, iov, n, offset));
  if (r > 0 && fdatasync (call->fd) < 0)
    return -errno;
  return r;
}

int
file_make_call (const struct file_call *call)
{
  const struct iovec one = { call->base, call->length };
  const struct iovec *iov = call->n > 0 ? call->iov : &one;
  int n = call->n > 0 ? (int) call->n : 1;
  off_t offset = (off_t) call->offset;

  switch (call->kind) {
  case CALL_READ: return result (preadv (call->fd, iov, n, offset));
  case CALL_WRITE:
    if (call->flags)
      return write_durably (call, iov, n);
    return result (pwritev (call->fd, iov, n, offset));
  case CALL_ALLOCATE:
    return result (
      fallocate (call->fd, call->flags, offset, (off_t) call->length));
  case CALL_SYNC: return result (fdatasync (call->fd));
  }
  return -EINVAL;
}

/* ----------------------------------------------------------------- threads */

/* Take an idle worker to be woken, if there is something to do for it and none is
 * being woken already, who will see to the rest.  Pool locked.
 */
static struct worker *
take_idle (struct pool *pool)
{
  struct worker *worker = pool->idle;

  if (STAILQ_EMPTY (&pool->todo) || worker == NULL || pool->waking)
    return NULL;
  pool->idle = worker->next;
  pool->waking = true;
  return worker;
}

/* Wake a worker that is idle no more, if any.  Not with the pool locked, which is
 * the first thing that it wants.
 */
static void
worker_go (struct worker *worker)
{
  struct env *env;

  if (worker == NULL)
    return;
  env = worker->pool->file->store.env;
  /* Relaxed, here and below: all else passes under the pool's lock. */
  atomic_store_explicit (&worker->go, 1, memory_order_relaxed);
  env->wake (env, &worker->go);
}

static void
worker_sleep (struct worker *worker)
{
  struct env *env = worker->pool->file->store.env;

  while (atomic_load_explicit (&worker->go, memory_order_relaxed) == 0)
    env->wait (env, &worker->go, 0, ENV_FOREVER);
}

/* Nothing is to be done: let go of the lock, and come back with it when there may
 * be.
 */
static void
worker_idle (struct worker *worker)
{
  struct pool *pool = worker->pool;

  atomic_store_explicit (&worker->go, 0, memory_order_relaxed);
  worker->next = pool->idle;
  pool->idle = worker;
  pthread_mutex_unlock (&pool->lock);
  worker_sleep (worker);
  pthread_mutex_lock (&pool->lock);
  pool->waking = false;
}

/* The next thing to do, waited for; NULL if there will be none.  Who takes one and
 * leaves more has another worker come.
 */
static struct job *
next_job (struct worker *worker)
{
  struct pool *pool = worker->pool;
  struct worker *other;
  struct job *job;

  pthread_mutex_lock (&pool->lock);
  while ((job = take_job (&pool->todo)) == NULL && !pool->stop)
    worker_idle (worker);
  other = take_idle (pool);
  pthread_mutex_unlock (&pool->lock);
  worker_go (other);
  return job;
}

/* The loop thread takes all that is done when it is woken. */
static void
hand_in (struct pool *pool, struct job *job)
{
  bool first;

  pthread_mutex_lock (&pool->lock);
  first = STAILQ_EMPTY (&pool->done);
  STAILQ_INSERT_TAIL (&pool->done, job, link);
  pthread_mutex_unlock (&pool->lock);
  if (first)
    file_wake_loop (pool->file);
}

/* It may have stood in the list for long, if we were stopped. */
static int
do_job (const struct worker *worker, const struct job *job)
{
  if (job->call.kind != CALL_READ &&
      !store_may_change (&worker->pool->file->store))
    return -ECANCELED;
  return file_make_call (&job->call);
}

static void *
work (void *opaque)
{
  struct worker *worker = opaque;
  struct job *job;

  while ((job = next_job (worker)) != NULL) {
    job->res = do_job (worker, job);
    hand_in (worker->pool, job);
  }
  return NULL;
}

/* As many of the threads as can be had.  Returns 0, or a negative errno if not
 * even one.
 */
static int
start_threads (struct pool *pool, unsigned wanted)
{
  struct worker *worker;
  int r = 0;

  while (r == 0 && pool->nr_threads < wanted) {
    worker = &pool->workers[pool->nr_threads];
    worker->pool = pool;
    r = env_thread (&worker->thread, STACK_SIZE, work, worker);
    pool->nr_threads += r == 0;
  }
  return pool->nr_threads > 0 ? 0 : r;
}

static void
stop_threads (struct pool *pool)
{
  struct worker *idle, *next;
  unsigned i;

  pthread_mutex_lock (&pool->lock);
  pool->stop = true;
  idle = pool->idle;
  pool->idle = NULL;
  pthread_mutex_unlock (&pool->lock);
  for (; idle; idle = next) {
    next = idle->next; /* its own again once it goes */
    worker_go (idle);
  }
  for (i = 0; i < pool->nr_threads; i++)
    pthread_join (pool->workers[i].thread, NULL);
}

/* -------------------------------------------------------------- the engine */

static void
pool_free (struct pool *pool)
{
  pthread_mutex_destroy (&pool->lock);
  free (pool->workers);
  free (pool->jobs);
  free (pool);
}

static struct pool *
pool_new (struct file_store *file, unsigned depth)
{
  struct pool *pool = calloc (1, sizeof *pool);
  unsigned i;

  if (pool == NULL)
    return NULL;
  pool->file = file;
  pthread_mutex_init (&pool->lock, NULL);
  STAILQ_INIT (&pool->unused);
  STAILQ_INIT (&pool->added);
  STAILQ_INIT (&pool->todo);
  STAILQ_INIT (&pool->done);
  pool->jobs = calloc (depth, sizeof *pool->jobs);
  pool->workers = calloc (depth, sizeof *pool->workers);
  if (pool->jobs == NULL || pool->workers == NULL) {
    pool_free (pool);
    return NULL;
  }
  for (i = 0; i < depth; i++)
    STAILQ_INSERT_HEAD (&pool->unused, &pool->jobs[i], link);
  return pool;
}

static int
threads_start (struct file_store *file)
{
  unsigned depth =
    file->queue.depth < MAX_THREADS ? file->queue.depth : MAX_THREADS;
  struct pool *pool = pool_new (file, depth);
  int r;

  if (pool == NULL)
    return -ENOMEM;
  r = start_threads (pool, depth);
  if (r < 0) {
    pool_free (pool);
    return r;
  }
  file->queue.depth = pool->nr_threads;
  file->backend = pool;
  return 0;
}

static void
threads_stop (struct file_store *file)
{
  stop_threads (file->backend);
  pool_free (file->backend);
}

static void
threads_add (struct file_store *file, struct store_req *req,
             const struct file_call *call)
{
  struct pool *pool = file->backend;
  struct job *job = take_job (&pool->unused);

  job->call = *call;
  job->req = req;
  STAILQ_INSERT_TAIL (&pool->added, job, link);
}

static void
threads_kick (struct file_store *file)
{
  struct pool *pool = file->backend;
  struct worker *worker;

  if (STAILQ_EMPTY (&pool->added))
    return;
  pthread_mutex_lock (&pool->lock);
  STAILQ_CONCAT (&pool->todo, &pool->added);
  worker = take_idle (pool);
  pthread_mutex_unlock (&pool->lock);
  worker_go (worker);
}

static unsigned
threads_reap (struct file_store *file, struct file_result *results,
              unsigned max)
{
  struct pool *pool = file->backend;
  struct job *job;
  unsigned n;

  pthread_mutex_lock (&pool->lock);
  for (n = 0; n < max && (job = take_job (&pool->done)) != NULL; n++) {
    results[n] = (struct file_result) { job->req, job->res };
    STAILQ_INSERT_HEAD (&pool->unused, job, link);
  }
  pthread_mutex_unlock (&pool->lock);
  return n;
}

static bool
threads_ready (struct file_store *file)
{
  struct pool *pool = file->backend;
  bool yes;

  pthread_mutex_lock (&pool->lock);
  yes = !STAILQ_EMPTY (&pool->done);
  pthread_mutex_unlock (&pool->lock);
  return yes;
}

const struct file_engine file_threads = {
  .name = "threads",
  .start = threads_start,
  .stop = threads_stop,
  .add = threads_add,
  .kick = threads_kick,
  .reap = threads_reap,
  .ready = threads_ready,
};
