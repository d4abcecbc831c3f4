/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Random requests to an NBD store: see nbd-load.h.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/nbd-load.h"

#define SLOTS LOAD_MOST
#define SLOT (LOAD_DISK / SLOTS)
#define WORKERS 4u
#define PER_WORKER (SLOTS / WORKERS)
#define MAX_IOV 64

/* One slot of the disk belongs to one request at a time. */
struct job {
  struct store_req req;
  struct iovec iov[MAX_IOV];
  struct nbd_rig *rig;
  struct completion done;
  int error;
  uint64_t slot;   /* where it begins */
  uint8_t *memory; /* SLOT bytes */
  uint8_t *shadow; /* what the slot is to hold */
};

/* A thread, with slots of its own. */
struct worker {
  pthread_t thread;
  struct rng rng;
  struct nbd_load *load;
  struct job *jobs; /* PER_WORKER */
  unsigned rounds;
  const char *failure;
};

struct nbd_load {
  struct nbd_rig *rig;
  uint8_t *memory, *shadow; /* LOAD_DISK bytes each */
  struct job jobs[SLOTS];
  struct worker workers[WORKERS];
  _Atomic bool stop;
  _Atomic uint64_t done;
};

static void
job_done (struct store_req *req, int error)
{
  struct job *job = (struct job *) req; /* its first member */

  job->error = error;
  completion_signal (&job->rig->env, &job->done);
}

/* Half of the time in many elements. */
static void
job_memory (struct rng *rng, struct job *job, uint64_t length)
{
  uint8_t *base = job->memory;
  bool many = rng_chance (rng, 50);
  uint64_t n;
  int i = 0;

  for (; length > 0; length -= n, base += n) {
    n = length;
    if (many && i < MAX_IOV - 1 && length > 512)
      n = 512 * (1 + rng_below (rng, length / 512));
    job->iov[i++] = (struct iovec) { base, n };
  }
  job->req.iov = job->iov;
  job->req.niov = i;
}

static unsigned
random_flags (struct rng *rng, enum store_op op)
{
  unsigned flags = rng_chance (rng, 50) ? STORE_BACKGROUND : 0;

  if (op == STORE_WRITE && rng_chance (rng, 20))
    flags |= STORE_FUA;
  return flags;
}

static void
fill_random (struct rng *rng, uint8_t *p, uint64_t n)
{
  uint64_t x;

  for (; n >= sizeof x; n -= sizeof x, p += sizeof x) {
    x = rng_next (rng);
    memcpy (p, &x, sizeof x);
  }
}

static void
job_make (struct rng *rng, struct job *job)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_WRITE,
                                       STORE_ZERO, STORE_TRIM,  STORE_FLUSH };
  uint32_t min_io = job->rig->store->geo.min_io;
  uint64_t from = rng_below (rng, SLOT / min_io);
  uint64_t n = rng_log (rng, SLOT / min_io - from) * min_io;
  enum store_op op = ops[rng_below (rng, 6)];

  from *= min_io;
  job->req.op = op;
  job->req.flags = random_flags (rng, op);
  job->req.offset = job->slot + from;
  job->req.length = n;
  job->req.done = job_done;
  atomic_store (&job->done.word, 0);
  job_memory (rng, job, n);
  if (op == STORE_READ)
    memset (job->memory, 0xee, n);
  else if (op == STORE_WRITE) {
    fill_random (rng, job->memory, n);
    memcpy (job->shadow + from, job->memory, n);
  }
  else if (op != STORE_FLUSH)
    memset (job->shadow + from, 0, n);
}

/* What was wrong, or NULL. */
static const char *
job_wait (struct job *job)
{
  const struct store_req *req = &job->req;

  completion_wait (&job->rig->env, &job->done);
  if (req->op == STORE_FLUSH && job->error == -ECONNRESET)
    return NULL;
  if (job->error)
    return strerror (-job->error);
  if (req->op == STORE_READ &&
      memcmp (job->memory, job->shadow + req->offset - job->slot,
              req->length) != 0)
    return "a read that is not as its shadow";
  return NULL;
}

static void
work_round (struct worker *w)
{
  struct store *store = w->load->rig->store;
  struct store_req *batch[PER_WORKER];
  const char *failure;
  unsigned i, n = 0;

  for (i = 0; i < PER_WORKER; i++)
    if (rng_chance (&w->rng, 70)) {
      job_make (&w->rng, &w->jobs[i]);
      batch[n++] = &w->jobs[i].req;
    }
  store->ops->submit (store, batch, n);
  for (i = 0; i < n; i++) {
    failure = job_wait ((struct job *) batch[i]);
    if (failure)
      w->failure = failure;
  }
  atomic_fetch_add (&w->load->done, n);
}

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  unsigned i;

  for (i = 0; !w->failure && (w->rounds == 0 || i < w->rounds); i++) {
    if (w->load->stop)
      break;
    work_round (w);
  }
  return NULL;
}

struct nbd_load *
nbd_load_start (struct nbd_rig *rig, struct rng *rng, unsigned rounds)
{
  struct nbd_load *load = xcalloc (1, sizeof *load);
  unsigned i;

  load->rig = rig;
  load->memory = xcalloc (1, LOAD_DISK);
  load->shadow = xcalloc (1, LOAD_DISK);
  for (i = 0; i < SLOTS; i++) {
    load->jobs[i].rig = rig;
    load->jobs[i].slot = i * SLOT;
    load->jobs[i].memory = load->memory + i * SLOT;
    load->jobs[i].shadow = load->shadow + i * SLOT;
  }
  for (i = 0; i < WORKERS; i++) {
    struct worker *w = &load->workers[i];

    w->rng.state = rng_next (rng);
    w->load = load;
    w->jobs = &load->jobs[i * PER_WORKER];
    w->rounds = rounds;
    assert_int_equal (pthread_create (&w->thread, NULL, work, w), 0);
  }
  return load;
}

uint64_t
nbd_load_done (struct nbd_load *load)
{
  return load->done;
}

void
nbd_load_stop (struct nbd_load *load)
{
  unsigned i;

  for (i = 0; i < WORKERS; i++)
    load->stop |= load->workers[i].rounds == 0;
  for (i = 0; i < WORKERS; i++)
    pthread_join (load->workers[i].thread, NULL);
  for (i = 0; i < WORKERS; i++)
    if (load->workers[i].failure)
      fail_msg ("%s", load->workers[i].failure);
  assert_int_equal (
    store_io (load->rig->store, STORE_READ, 0, 0, load->memory, LOAD_DISK), 0);
  assert_memory_equal (load->memory, load->shadow, LOAD_DISK);
  free (load->memory);
  free (load->shadow);
  free (load);
}
