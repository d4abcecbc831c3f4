/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in memory for the unit tests: see fake-store.h.
 *
 * A request travels: submit -> (held, or timed, or neither) -> finish.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "fake-store-state.h"

static const struct store_ops fake_ops;

static struct fake_store *
fake_of (struct store *store)
{
  return (struct fake_store *) store; /* its first member */
}

void *
fake_must (void *p)
{
  if (p == NULL || p == MAP_FAILED) {
    perror ("fake-store");
    exit (EXIT_FAILURE);
  }
  return p;
}

uint8_t *
fake_map_zeroes (uint64_t size)
{
  return fake_must (mmap (NULL, size ? size : 1, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

void
fake_unmap (uint8_t *p, uint64_t size)
{
  if (p)
    munmap (p, size ? size : 1);
}

static uint64_t
real_now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

struct fake_store *
fake_store_create (struct env *env, uint64_t size)
{
  struct fake_store *fake = fake_must (calloc (1, sizeof *fake));
  struct fake_state *s = fake_must (calloc (1, sizeof *s));
  pthread_condattr_t attr;

  fake->store.ops = &fake_ops;
  fake->store.env = env;
  fake->store.geo = (struct store_geometry) {
    .size = size,
    .min_io = 512,
    .best_io = 1 << 20,
    .max_io = 2 << 20,
    .can_fua = true,
    .can_zero = true,
    .can_trim = true,
    .can_extents = true,
  };
  fake->content = fake_map_zeroes (size);
  fake->state = s;
  s->status = fake_map_zeroes (units (size, FAKE_STATUS_GRAIN));
  pthread_mutex_init (&s->lock, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&s->changed, &attr);
  pthread_condattr_destroy (&attr);
  return fake;
}

static void
fake_close (struct store *store)
{
  struct fake_store *fake = fake_of (store);
  struct fake_state *s = fake->state;
  uint64_t size = store->geo.size;
  int i;

  pthread_mutex_lock (&s->lock);
  for (i = 0; i < FAKE_OPS; i++)
    assert (s->held[i].count == 0);
  s->stopping = true;
  pthread_cond_broadcast (&s->changed);
  pthread_mutex_unlock (&s->lock);
  if (s->running)
    pthread_join (s->thread, NULL);
  assert (s->timed == NULL);

  fake_unmap (fake->content, size);
  fake_unmap (s->status, units (size, FAKE_STATUS_GRAIN));
  fake_unmap (s->durable, size);
  fake_unmap (s->unstable, units (size, SECTOR));
  pthread_cond_destroy (&s->changed);
  pthread_mutex_destroy (&s->lock);
  free (s->records);
  free (s);
  free (fake);
}

void
fake_fifo_push (struct fifo *f, struct store_req *req)
{
  req->next = NULL;
  if (f->tail)
    f->tail->next = req;
  else
    f->head = req;
  f->tail = req;
  f->count++;
}

struct store_req *
fake_fifo_pop (struct fifo *f)
{
  struct store_req *req = f->head;

  if (req == NULL)
    return NULL;
  f->head = req->next;
  if (f->head == NULL)
    f->tail = NULL;
  f->count--;
  return req;
}

static void
add_timed (struct fake_state *s, struct store_req *req)
{
  struct timed *t = fake_must (malloc (sizeof *t));
  struct timed **at = &s->timed;
  uint64_t start = real_now ();

  if (s->serial[req->op] && s->last_due[req->op] > start)
    start = s->last_due[req->op];
  t->req = req;
  t->due = s->last_due[req->op] = start + s->latency[req->op];
  while (*at && (*at)->due <= t->due)
    at = &(*at)->next;
  t->next = *at;
  *at = t;
  pthread_cond_broadcast (&s->changed);
}

static void *
timed_thread (void *opaque)
{
  struct fake_store *fake = opaque;
  struct fake_state *s = fake->state;
  struct timed *t;

  pthread_mutex_lock (&s->lock);
  while (!s->stopping || s->timed) {
    t = s->timed;
    if (t == NULL)
      pthread_cond_wait (&s->changed, &s->lock);
    else if (t->due > real_now ()) {
      struct timespec ts = { .tv_sec = t->due / NSEC_PER_SEC,
                             .tv_nsec = t->due % NSEC_PER_SEC };

      pthread_cond_timedwait (&s->changed, &s->lock, &ts);
    }
    else {
      s->timed = t->next;
      pthread_mutex_unlock (&s->lock);
      fake_finish (fake, t->req);
      free (t);
      pthread_mutex_lock (&s->lock);
    }
  }
  pthread_mutex_unlock (&s->lock);
  return NULL;
}

static void
fake_submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct fake_store *fake = fake_of (store);
  struct fake_state *s = fake->state;
  bool now;
  unsigned i;

  for (i = 0; i < n; i++) {
    struct store_req *req = reqs[i];

    pthread_mutex_lock (&s->lock);
    fake_record_start (fake, req);
    now = !s->holding[req->op] && s->latency[req->op] == 0;
    if (s->holding[req->op]) {
      fake_fifo_push (&s->held[req->op], req);
      pthread_cond_broadcast (&s->changed);
    }
    else if (!now)
      add_timed (s, req);
    pthread_mutex_unlock (&s->lock);
    if (now)
      fake_finish (fake, req);
  }
}

static int
fake_block_status (struct store *store, uint64_t offset, uint64_t length,
                   store_extent_fn *fn, void *opaque)
{
  struct fake_store *fake = fake_of (store);
  struct fake_state *s = fake->state;
  uint64_t end = offset + fake_inside (fake, offset, length), next;
  uint8_t *status;
  uint64_t first = offset / FAKE_STATUS_GRAIN;
  uint64_t n = units (end, FAKE_STATUS_GRAIN) - first;
  int error;

  pthread_mutex_lock (&s->lock);
  s->status_count++;
  error = s->status_error;
  status = fake_must (malloc (n + 1));
  memcpy (status, s->status + first, n);
  pthread_mutex_unlock (&s->lock);
  if (fake->status_hook)
    fake->status_hook (fake, fake->status_opaque);

  for (; error == 0 && offset < end; offset = next) {
    uint64_t i = offset / FAKE_STATUS_GRAIN - first, j = i + 1;

    while (j < n && status[j] == status[i])
      j++;
    next = (first + j) * FAKE_STATUS_GRAIN;
    if (next > end)
      next = end;
    fn (opaque, offset, next - offset, STORE_DATA - status[i]);
  }
  free (status);
  return error;
}

static int
fake_attach (struct store *store, struct ev_loop *loop)
{
  (void) store;
  (void) loop;
  return 0;
}

static void
fake_detach (struct store *store)
{
  (void) store;
}

static const struct store_ops fake_ops = {
  .name = "fake",
  .attach = fake_attach,
  .detach = fake_detach,
  .submit = fake_submit,
  .block_status = fake_block_status,
  .close = fake_close,
};

void
fake_store_latency (struct fake_store *fake, enum store_op op, uint64_t ns,
                    bool serial)
{
  struct fake_state *s = fake->state;

  pthread_mutex_lock (&s->lock);
  s->latency[op] = ns;
  s->serial[op] = serial;
  if (ns > 0 && !s->running) {
    fake_must (
      pthread_create (&s->thread, NULL, timed_thread, fake) == 0 ? s : NULL);
    s->running = true;
  }
  pthread_mutex_unlock (&s->lock);
}
