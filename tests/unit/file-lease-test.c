/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store when its lease has ended: nothing is changed before it is renewed.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

#define NR_REQS 4

/* A file, and requests: a write, one whose thread would wait, a zero and a flush. */
struct bench {
  struct rig rig;
  struct store_req req[NR_REQS];
  struct iovec iov;
  uint8_t *buf;
  int error[NR_REQS];
  unsigned done, asked;
};

static struct bench *bench;
static uint8_t fill; /* of the test before: the file stays */

static void
count_asked (void *opaque)
{
  struct bench *b = opaque;

  b->asked++;
}

static void
note_done (struct store_req *req, int error)
{
  bench->error[req - bench->req] = error;
  bench->done++;
}

static void
note_read (struct store_req *req, int error)
{
  (void) req;
  assert_int_equal (error, 0);
  bench->done++;
}

/* Its loop runs when the test has it run. */
static struct bench *
start (void)
{
  struct file_store_options o = options_for (first_place ());
  struct store *store;

  bench = calloc (1, sizeof *bench);
  assert_non_null (bench);
  bench->buf = aligned_memory (4096, ++fill);
  bench->iov = (struct iovec) { bench->buf, 4096 };
  rig_open (&bench->rig, &o);
  store = bench->rig.store;
  assert_int_equal (store->ops->attach (store, bench->rig.on.ev), 0);
  store->lease.ask = count_asked;
  store->lease.opaque = bench;
  atomic_store (&store->lease.until, 1);
  return bench;
}

static void
stop (struct bench *b)
{
  b->rig.store->ops->detach (b->rig.store);
  rig_close (&b->rig);
  free (b->buf);
  free (b);
}

static void
run (struct bench *b, unsigned n)
{
  while (b->done < n)
    ev_run (b->rig.on.ev, EVRUN_ONCE);
}

static void
submit (struct bench *b)
{
  static const struct store_req kinds[NR_REQS] = {
    { .op = STORE_WRITE, .length = 4096, .niov = 1 },
    { .op = STORE_WRITE,
      .flags = STORE_AWAITED,
      .offset = 4096,
      .length = 4096,
      .niov = 1 },
    { .op = STORE_ZERO, .offset = 8192, .length = 4096 },
    { .op = STORE_FLUSH },
  };
  struct store_req *req;
  int i;

  for (i = 0; i < NR_REQS; i++) {
    req = &b->req[i];
    *req = kinds[i];
    req->iov = req->niov ? &b->iov : NULL;
    req->done = note_done;
    b->rig.store->ops->submit (b->rig.store, &req, 1);
  }
}

/* What is at the start of the file, read by who renews the lease. */
static uint8_t
look (struct bench *b)
{
  void *buf = aligned_memory (4096, 0x55);
  struct iovec iov = { buf, 4096 };
  struct store_req req = { .op = STORE_READ,
                           .flags = STORE_RENEWS,
                           .length = 4096,
                           .iov = &iov,
                           .niov = 1,
                           .done = note_read },
                   *reqs[] = { &req };
  unsigned n = b->done + 1;
  uint8_t byte;

  b->rig.store->ops->submit (b->rig.store, reqs, 1);
  run (b, n);
  byte = *(uint8_t *) buf;
  free (buf);
  return byte;
}

TEST_WITH (changes_wait_until_it_is_renewed, struct bench *b, start (), stop)
{
  struct store *store = b->rig.store;
  int i;

  submit (b);
  assert_int_not_equal (look (b), b->buf[0]);
  assert_int_equal (b->done, 1);
  assert_true (b->asked > 0);
  atomic_store (&store->lease.until, UINT64_MAX);
  store->ops->resume (store, 0);
  run (b, 1 + NR_REQS);
  for (i = 0; i < NR_REQS; i++)
    assert_int_equal (b->error[i], 0);
  assert_int_equal (look (b), b->buf[0]);
}

TEST_WITH (they_fail_if_it_is_lost, struct bench *b, start (), stop)
{
  struct store *store = b->rig.store;
  int i;

  submit (b);
  store->ops->resume (store, -EBUSY);
  assert_int_equal (b->done, NR_REQS);
  for (i = 0; i < NR_REQS; i++)
    assert_int_equal (b->error[i], -EBUSY);
  assert_int_not_equal (look (b), b->buf[0]);
}

RUN_WITH_ENGINES ()
