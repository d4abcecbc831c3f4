/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that behave: all operations, with and without what a
 * server may lack, of several threads.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/nbd-rig.h"
#include "tests/unit/seed.h"

#define SLOTS 16u
#define DISK (16 * MIB)
#define SLOT (DISK / SLOTS)

/* ---------------------------------------------------------------- random I/O */

/* One slot of the disk belongs to one request at a time. */
struct job {
  struct store_req req;
  struct iovec iov[64];
  struct nbd_rig *rig;
  struct completion done;
  int error;
  uint8_t *memory; /* SLOT bytes */
  uint8_t *shadow; /* what the slot is to hold */
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
    if (many && i < 63 && length > 512)
      n = 512 * (1 + rng_below (rng, length / 512));
    job->iov[i++] = (struct iovec) { base, n };
  }
  job->req.iov = job->iov;
  job->req.niov = i;
}

static void
job_make (struct rng *rng, struct job *job, unsigned slot, uint32_t min_io)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_WRITE,
                                       STORE_ZERO, STORE_TRIM,  STORE_FLUSH };
  uint64_t from = rng_below (rng, SLOT / min_io);
  uint64_t n = rng_log (rng, SLOT / min_io - from);
  uint64_t i;

  job->req.op = ops[rng_below (rng, 6)];
  job->req.flags = rng_chance (rng, 50) ? STORE_BACKGROUND : 0;
  if (job->req.op != STORE_READ && rng_chance (rng, 20))
    job->req.flags |= STORE_FUA;
  if (job->req.op == STORE_ZERO && rng_chance (rng, 50))
    job->req.flags |= STORE_MAY_TRIM;
  job->req.offset = slot * SLOT + from * min_io;
  job->req.length = n * min_io;
  job->req.done = job_done;
  atomic_store (&job->done.word, 0);
  job_memory (rng, job, n * min_io);

  if (job->req.op == STORE_READ)
    memset (job->memory, 0xee, n * min_io);
  else if (job->req.op == STORE_WRITE) {
    for (i = 0; i < n * min_io; i++)
      job->memory[i] = (uint8_t) mix64 (job->req.offset + i + rng->state);
    memcpy (job->shadow + from * min_io, job->memory, n * min_io);
  }
  else if (job->req.op != STORE_FLUSH)
    memset (job->shadow + from * min_io, 0, n * min_io);
}

static void
job_wait (struct job *job)
{
  completion_wait (&job->rig->env, &job->done);
  assert_int_equal (job->error, 0);
  if (job->req.op == STORE_READ)
    assert_memory_equal (job->memory, job->shadow + job->req.offset % SLOT,
                         job->req.length);
}

/* Of several threads: each has slots of its own. */
struct worker {
  pthread_t thread;
  struct rng rng;
  struct job *jobs;
  unsigned first, n; /* slots */
  int rounds;
};

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  struct store *store = w->jobs[w->first].rig->store;
  struct store_req *batch[SLOTS];
  unsigned i, n;

  for (; w->rounds > 0; w->rounds--) {
    for (n = 0, i = w->first; i < w->first + w->n; i++)
      if (rng_chance (&w->rng, 70)) {
        job_make (&w->rng, &w->jobs[i], i, store->geo.min_io);
        batch[n++] = &w->jobs[i].req;
      }
    store->ops->submit (store, batch, n);
    for (i = 0; i < n; i++)
      job_wait ((struct job *) batch[i]);
  }
  return NULL;
}

#define WORKERS 4u

static void
check_random_io (struct nbd_rig *rig, const struct store_nbd_options *o,
                 int rounds)
{
  struct rng rng = test_rng ("check_random_io");
  struct job *jobs = xcalloc (SLOTS, sizeof *jobs);
  uint8_t *memory = xcalloc (2, DISK), *all = xcalloc (1, DISK);
  struct worker workers[WORKERS];
  unsigned i;

  nbd_rig_open (rig, o);
  for (i = 0; i < SLOTS; i++) {
    jobs[i].rig = rig;
    jobs[i].memory = memory + i * SLOT;
    jobs[i].shadow = memory + DISK + i * SLOT;
  }
  for (i = 0; i < WORKERS; i++) {
    workers[i] = (struct worker) {
      .rng = { rng_next (&rng) },
      .jobs = jobs,
      .first = i * SLOTS / WORKERS,
      .n = SLOTS / WORKERS,
      .rounds = rounds,
    };
    assert_int_equal (
      pthread_create (&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (i = 0; i < WORKERS; i++)
    pthread_join (workers[i].thread, NULL);
  assert_int_equal (nbd_rig_io (rig, STORE_READ, 0, 0, all, DISK), 0);
  assert_memory_equal (all, memory + DISK, DISK);
  nbd_rig_close (rig);
  free (all);
  free (memory);
  free (jobs);
}

static void
check_with (const char *const *args, unsigned connections, int rounds)
{
  struct nbd_rig rig;
  struct store_nbd_options o;

  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  o.connections = connections;
  check_random_io (&rig, &o, rounds);
  assert_int_equal (rig.errors, 0);
  nbd_rig_exit (&rig);
}

static void
random_requests_agree_with_a_shadow (void **state)
{
  static const char *const args[] = { "memory", "16M", NULL };

  (void) state;
  check_with (args, 4, 40);
  check_with (args, 1, 20);
}

static void
small_requests_and_large_blocks_are_respected (void **state)
{
  static const char *const args[] = { "--filter=blocksize-policy",
                                      "memory",
                                      "16M",
                                      "blocksize-minimum=4096",
                                      "blocksize-preferred=4096",
                                      "blocksize-maximum=64K",
                                      "blocksize-error-policy=error",
                                      NULL };

  (void) state;
  check_with (args, 4, 20);
}

static void
what_a_server_lacks_is_made_up_for (void **state)
{
  static const char *const args[] = { "--filter=nozero", "--filter=fua",
                                      "memory",          "16M",
                                      "zeromode=none",   NULL };

  (void) state;
  check_with (args, 4, 20);
}

/* ------------------------------------------------------------- in particular */

static void
an_odd_end_is_kept (void **state)
{
  static const char *const args[] = { "memory", "10001", NULL };
  uint8_t buf[16384], zero[16384] = { 0 };
  struct store_nbd_options o;
  struct nbd_rig rig;

  (void) state;
  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  nbd_rig_open (&rig, &o);
  assert_int_equal (rig.store->geo.size, 10001);
  memset (buf, 0xaa, sizeof buf);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, 0, 8192, buf, 4096), 0);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, STORE_FUA, 0, buf, 8192), 0);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, 0, 12288, buf, 4096), 0);
  memset (buf, 0xee, sizeof buf);
  assert_int_equal (nbd_rig_io (&rig, STORE_READ, 0, 0, buf, 16384), 0);
  assert_int_equal (buf[0], 0xaa);
  assert_int_equal (buf[10000], 0xaa);
  assert_memory_equal (buf + 10001, zero, 16384 - 10001);
  memset (buf, 0xee, sizeof buf);
  assert_int_equal (nbd_rig_io (&rig, STORE_READ, 0, 12288, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
  assert_int_equal (nbd_rig_io (&rig, STORE_TRIM, STORE_FUA, 8192, NULL, 8192),
                    0);
  assert_int_equal (nbd_rig_io (&rig, STORE_READ, 0, 8192, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
  nbd_rig_close (&rig);
  nbd_rig_exit (&rig);
}

struct found {
  uint64_t pos;
  enum store_extent type[16];
  uint64_t length[16];
  unsigned n;
};

static void
found_one (void *opaque, uint64_t offset, uint64_t length,
           enum store_extent type)
{
  struct found *found = opaque;

  assert_int_equal (offset, found->pos);
  assert_true (length > 0 && found->n < 16);
  found->pos += length;
  found->type[found->n] = type;
  found->length[found->n++] = length;
}

static void
holes_are_reported (void **state)
{
  static const char *const args[] = { "memory", "16M", NULL };
  struct found found = { .pos = MIB };
  uint8_t buf[65536];
  struct store_nbd_options o;
  struct nbd_rig rig;

  (void) state;
  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  nbd_rig_open (&rig, &o);
  assert_true (rig.store->geo.can_extents);
  memset (buf, 0xaa, sizeof buf);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, 0, 2 * MIB, buf, 65536), 0);
  assert_int_equal (
    rig.store->ops->block_status (rig.store, MIB, 2 * MIB, found_one, &found),
    0);
  assert_int_equal (found.n, 3);
  assert_int_equal (found.type[0], STORE_HOLE);
  assert_int_equal (found.length[0], MIB);
  assert_int_equal (found.type[1], STORE_DATA);
  assert_int_equal (found.length[1], 65536);
  assert_int_equal (found.type[2], STORE_HOLE);
  assert_int_equal (found.pos, 3 * MIB);
  assert_int_equal (
    rig.store->ops->block_status (rig.store, 16 * MIB, 1, found_one, &found),
    -EINVAL);
  nbd_rig_close (&rig);
  nbd_rig_exit (&rig);
}

static void
a_read_only_export_needs_to_be_asked_for (void **state)
{
  static const char *const args[] = { "-r", "memory", "1M", NULL };
  char message[300] = "", buf[512];
  struct store_nbd_options o;
  struct nbd_rig rig;

  (void) state;
  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  assert_int_equal (
    store_nbd_open (&rig.env, &o, &rig.store, message, sizeof message), -EROFS);
  assert_non_null (strstr (message, "-r"));
  o.readonly = true;
  nbd_rig_open (&rig, &o);
  assert_true (rig.store->geo.readonly);
  assert_int_equal (nbd_rig_io (&rig, STORE_READ, 0, 0, buf, 512), 0);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, 0, 0, buf, 512), -EROFS);
  assert_int_equal (nbd_rig_io (&rig, STORE_ZERO, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (nbd_rig_io (&rig, STORE_FLUSH, 0, 0, NULL, 0), 0);
  nbd_rig_close (&rig);
  nbd_rig_exit (&rig);
}

static void
nobody_there_is_said_at_once (void **state)
{
  char message[300] = "";
  struct store_nbd_options o;
  struct nbd_rig rig;

  (void) state;
  nbd_rig_init (&rig);
  o = nbd_rig_options (&rig);
  assert_int_equal (
    store_nbd_open (&rig.env, &o, &rig.store, message, sizeof message),
    -ENOENT);
  assert_non_null (strstr (message, rig.uri));
  assert_non_null (strstr (message, "No such file"));
  nbd_rig_exit (&rig);
}

static void
a_store_closes_without_having_been_attached (void **state)
{
  static const char *const args[] = { "memory", "1M", NULL };
  char message[300] = "";
  struct store_nbd_options o;
  struct nbd_rig rig;

  (void) state;
  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  assert_int_equal (
    store_nbd_open (&rig.env, &o, &rig.store, message, sizeof message), 0);
  rig.store->ops->close (rig.store);
  nbd_rig_exit (&rig);
}

static void
errors_of_the_server_are_passed_on (void **state)
{
  static const char *const args[] = {
    "eval",
    "get_size=echo 1M",
    "pread=echo EPERM Operation not permitted >&2; exit 1",
    "pwrite=echo ENOSPC No space >&2; exit 1",
    "can_write=exit 0",
    "can_zero=exit 0",
    "zero=echo EOPNOTSUPP no >&2; exit 1",
    "can_fast_zero=exit 0",
    NULL
  };
  struct store_nbd_options o;
  struct nbd_rig rig;
  char buf[512] = "";

  (void) state;
  nbd_rig_init (&rig);
  nbd_rig_serve (&rig, args);
  o = nbd_rig_options (&rig);
  nbd_rig_open (&rig, &o);
  assert_int_equal (
    nbd_rig_io (&rig, STORE_ZERO, STORE_FAST_ZERO, 0, NULL, 512), -ENOTSUP);
  assert_int_equal (rig.errors, 0);
  assert_int_equal (nbd_rig_io (&rig, STORE_READ, 0, 0, buf, 512), -EPERM);
  assert_int_equal (rig.errors, 1);
  assert_int_equal (nbd_rig_io (&rig, STORE_WRITE, 0, 0, buf, 512), -ENOSPC);
  /* It cannot flush, either. */
  assert_int_equal (nbd_rig_io (&rig, STORE_FLUSH, 0, 0, NULL, 0), 0);
  assert_int_equal (rig.store->losses, 0);
  nbd_rig_close (&rig);
  nbd_rig_exit (&rig);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (random_requests_agree_with_a_shadow),
    cmocka_unit_test (small_requests_and_large_blocks_are_respected),
    cmocka_unit_test (what_a_server_lacks_is_made_up_for),
    cmocka_unit_test (an_odd_end_is_kept),
    cmocka_unit_test (holes_are_reported),
    cmocka_unit_test (a_read_only_export_needs_to_be_asked_for),
    cmocka_unit_test (nobody_there_is_said_at_once),
    cmocka_unit_test (a_store_closes_without_having_been_attached),
    cmocka_unit_test (errors_of_the_server_are_passed_on),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
